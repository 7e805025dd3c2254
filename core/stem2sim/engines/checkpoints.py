"""Work that was cut off: whether it may go on from where it was, and until when it may go on at all."""

from __future__ import annotations

import json
import math
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from stem2sim.errors import BadInput, OutOfTime
from stem2sim.files import write_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

CLAIM = ".inputs.json"
"""How the name of a claim ends."""

_interrupted = False
"""Whether a signal to end has come."""

_end: ContextVar[float | None] = ContextVar("end", default=None)


class Claim:
    """What a piece of long work is made with, kept beside its files, so that nothing else is ever mixed into them."""

    def __init__(
        self,
        folder: Path,
        stem: str,
        inputs: Mapping[str, Any],
        saved: Path,
        only_looked_at: bool = False,
        before_replacing: Callable[[], object] = lambda: None,
    ) -> None:
        """Take the files of that stem, or go on with them.

        Args:
            folder: of the simulation.
            stem: what the names of its files begin with.
            inputs: all that decides how the work goes on; as JSON can say it.
            saved: the file to go on from; where it is not there, there is nothing to lose.
            only_looked_at: whether nothing is to change; files of other work are refused even where that is done.
            before_replacing: called where other work is there and may be replaced, before that is said anywhere.

        Raises:
            BadInput: they belong to work that was cut off and was made with other inputs; what changed is named.
        """
        self._file = folder / f"{stem}{CLAIM}"
        self._inputs = json.loads(json.dumps(inputs, default=str))
        self.resumed = False
        """Whether the files there are are of this very work."""
        try:
            before = json.loads(self._file.read_text(encoding="utf-8"))
            made_with, done = before["inputs"], before["done"]
        except (OSError, ValueError, KeyError, TypeError):  # none, or not one of ours: there is nothing to go on with
            made_with, done = None, True
        self.resumed = made_with == self._inputs
        self._only_looked_at = only_looked_at
        if only_looked_at:
            if made_with is not None and not self.resumed:
                changes = "; ".join(_changes(made_with, self._inputs))
                raise BadInput(f"{folder.name} holds a {stem} made with other inputs ({changes})")
            return
        if not self.resumed and not done and saved.is_file():
            changes = "; ".join(_changes(made_with, self._inputs))
            raise BadInput(
                f"{folder.name} holds a {stem} that was cut off, made with other inputs ({changes}); run with those, "
                f"choose another --out, or delete {folder} to start again"
            )
        if not self.resumed:
            before_replacing()
            saved.unlink(missing_ok=True)
        if not self.resumed or done:  # done work that goes on, for more steps, is work to lose again
            self._write(done=False)

    def settle(self) -> None:
        """Say that the work is done: other inputs may replace it."""
        if not self._only_looked_at:
            self._write(done=True)

    def _write(self, done: bool) -> None:
        write_text(self._file, json.dumps({"inputs": self._inputs, "done": done}, indent=1, ensure_ascii=False))


def _changes(before: Any, after: Any, at: str = "") -> list[str]:
    """Say what differs between two trees, one text per entry."""
    if isinstance(before, dict) and isinstance(after, dict):
        keys = [*before, *(key for key in after if key not in before)]
        return [
            text for key in keys for text in _changes(before.get(key), after.get(key), f"{at}.{key}" if at else key)
        ]
    if before == after:
        return []
    if at == "structure":  # a hash says nothing to anyone
        return ["another structure"]
    return [f"{at} was {_describe(before)}, is {_describe(after)}"]


def _describe(value: Any) -> str:
    return "left out" if value is None else str(value)


@contextmanager
def within(hours: float | None) -> Iterator[None]:
    """Let the work inside end at a checkpoint before this wall-clock time is over [h]; None for no limit."""
    if hours is not None and not hours > 0:
        raise BadInput(f"a wall-clock limit must be positive, got {hours:g} h")
    token = _end.set(None if hours is None else time.monotonic() + 3600 * hours)
    try:
        yield
    finally:
        _end.reset(token)


def interrupt(number: int, frame: object) -> None:
    """Handle a signal to end: now, or, where a destructor swallows the exception, at the next checkpoint."""
    global _interrupted
    _interrupted = True
    raise KeyboardInterrupt


def time_left() -> float:
    """Return how much wall-clock time is left [s]; infinity without a limit."""
    end = _end.get()
    return math.inf if end is None else end - time.monotonic()


def check_time(block: float, where: str) -> None:
    """Stop at this checkpoint if there is no time for another block of work.

    Args:
        block: how long the last one took [s].
        where: what to say of how far the work came.

    Raises:
        OutOfTime: the wall-clock limit comes first.
    """
    if _interrupted:
        raise KeyboardInterrupt
    if block > time_left():
        raise OutOfTime(f"stopped {where}: the wall-clock limit leaves no time for more; the same command goes on")
