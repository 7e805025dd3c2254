"""Interrupted work: whether it may resume from the files that are there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from stem2sim.errors import BadInput
from stem2sim.files import write_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

CLAIM = ".inputs.json"
"""How the name of a claim ends."""


class Claim:
    """The inputs of a piece of long work, kept beside its files, so that work with other inputs never mixes with it."""

    def __init__(
        self,
        folder: Path,
        stem: str,
        inputs: Mapping[str, Any],
        saved: Path,
        read_only: bool = False,
        before_replacing: Callable[[], object] = lambda: None,
    ) -> None:
        """Claim the files of that stem, to start or to resume.

        Args:
            folder: of the work.
            stem: what the names of its files begin with; also what messages call the work.
            inputs: everything that decides the outcome, as JSON can hold it.
            saved: the file to resume from; without it there is nothing to lose.
            read_only: whether nothing may change; files of other work are refused even where that is complete.
            before_replacing: called where other work is there and may be replaced, before anything changes.

        Raises:
            BadInput: the files belong to interrupted work with other inputs; the message lists what changed.
        """
        self._file = folder / f"{stem}{CLAIM}"
        self._inputs = json.loads(json.dumps(inputs, default=str))
        self._read_only = read_only
        try:
            before = json.loads(self._file.read_text(encoding="utf-8"))
            earlier, done = before["inputs"], before["done"]
        except (OSError, ValueError, KeyError, TypeError):  # none, or not one of ours: there is nothing to resume
            earlier, done = None, True
        self.resumed = earlier == self._inputs
        """Whether the files are those of this very work."""
        changes = "; ".join(_changes(earlier, self._inputs))
        if read_only:
            if earlier is not None and not self.resumed:
                raise BadInput(f"{folder.name} holds a {stem} made with other inputs ({changes})")
            return
        if not self.resumed and not done and saved.is_file():
            raise BadInput(
                f"{folder.name} holds an interrupted {stem} made with other inputs ({changes}); run with those, "
                f"choose another --out, or delete {folder} to start again"
            )
        if not self.resumed:
            before_replacing()
            saved.unlink(missing_ok=True)
        if not self.resumed or done:  # complete work that continues, for more steps, is work to lose again
            self._write(done=False)

    def settle(self) -> None:
        """Record that the work is complete: work with other inputs may replace it."""
        if not self._read_only:
            self._write(done=True)

    def _write(self, done: bool) -> None:
        write_text(self._file, json.dumps({"inputs": self._inputs, "done": done}, indent=1, ensure_ascii=False))


def _changes(before: Any, after: Any, path: str = "") -> list[str]:
    """Describe what differs between two trees, one text per entry."""
    if isinstance(before, dict) and isinstance(after, dict):
        keys = [*before, *(key for key in after if key not in before)]
        return [
            text for key in keys for text in _changes(before.get(key), after.get(key), f"{path}.{key}" if path else key)
        ]
    if before == after:
        return []
    if path == "structure":  # a hash means nothing to a reader
        return ["another structure"]
    return [f"{path} was {_describe(before)}, is {_describe(after)}"]


def _describe(value: Any) -> str:
    return "not set" if value is None else str(value)
