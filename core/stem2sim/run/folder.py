"""The run folder: the only state there is, and what of it is up to date."""

from __future__ import annotations

import fcntl
import json
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, TypeAdapter, ValidationError

from stem2sim.engines.checkpoints import CLAIM
from stem2sim.errors import BadInput
from stem2sim.files import write_text
from stem2sim.run.sessions import LAST, SESSIONS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

CONFIG, SEGMENTATION, ATOMS, REPORT, LOG = "run.toml", "segmentation.npz", "atoms.csv", LAST, "run.log"
MARKDOWN, FIGURES = "report.md", "figures"
STATE = "state.json"

STATES = {".traj", ".npz", ".json", ".checkpoint"}
"""Suffixes of what simulations keep to go on from; of these, only what a result names is part of the run."""


LICENSED = {"POTCAR"}
"""Files that engines need and whose licence forbids to pass them on: no part of what is recorded or archived."""


def analysis_of(result: Path) -> Path:
    """Return the file, beside a result, of what happened along its trajectory."""
    return result.with_name(result.name.replace("result", "analysis", 1))


class Record(BaseModel):
    """What is known of one finished step."""

    inputs: str
    """Hash of everything that went into it."""
    after: str = ""
    """The step it built on, and with which inputs that was done; '' for a start."""
    after_inputs: str = ""
    partial: bool = False
    """Whether it was read while it can still go on: it is shown, and done again."""
    files: list[str]
    """What it left, relative to the folder."""


_STATE = TypeAdapter(dict[str, Record])


class RunFolder:
    """One folder; each step in it is known by name, by the hash of its inputs, and by the files it left."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self._steps: dict[str, Record] = {}
        if (path / STATE).is_file():
            try:
                self._steps = _STATE.validate_json((path / STATE).read_bytes())
            except ValidationError:
                raise BadInput(f"{path / STATE} is damaged; delete it, and every step runs again") from None

    @classmethod
    def existing(cls, path: Path) -> Self:
        """Return the folder of a run that there is.

        Raises:
            BadInput: no run was ever begun there.
        """
        if not (path / CONFIG).is_file():
            raise BadInput(f"{path} is not a run folder: it has no {CONFIG}")
        return cls(path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other runs out of this folder; the lock ends with the process, however it ends."""
        with (self.path / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                wait = "wait for it or choose another --out"
                raise BadInput(f"another run is under way in {self.path}; {wait}") from None
            yield

    def finished(self, step: str, inputs: str) -> list[Path] | None:
        """Return the files of a step if it was done with these inputs and they are all there, else None."""
        record = self._steps.get(step)
        if record is None or record.partial or record.inputs != inputs or not self._whole(record):
            return None
        return [self.path / name for name in record.files]

    def inputs(self, step: str) -> str:
        """Return the hash of inputs that a finished step was done with; '' for no such step."""
        return self._steps[step].inputs if step in self._steps else ""

    def finish(self, step: str, inputs: str, files: list[Path], after: str, partial: bool = False) -> None:
        """Record that a step is done, as far as it has come if `partial`, and which step it built on."""
        names = [str(file.relative_to(self.path)) for file in files]
        self._steps[step] = Record(
            inputs=inputs, after=after, after_inputs=self.inputs(after), partial=partial, files=names
        )
        self._save()

    def forget(self, step: str) -> None:
        """Forget that a step was done: its files are about to change."""
        if self._steps.pop(step, None):
            self._save()

    def keep_only(self, steps: list[str]) -> None:
        """Forget steps that are no longer part of the pipeline; their files stay."""
        if set(self._steps) - set(steps):
            self._steps = {step: record for step, record in self._steps.items() if step in steps}
            self._save()

    def current(self) -> dict[str, list[Path]]:
        """Return the files of the steps that belong together: each built on the present outcome of the one before."""
        names = sorted(step for step in self._steps if self._is_current(step))
        return {step: [self.path / name for name in self._steps[step].files] for step in names}

    def structures(self, steps: Collection[str] | None = None) -> list[Path]:
        """Return the files of the structures to simulate; of these steps only, where they are given."""
        return [
            file
            for step, files in self.current().items()
            if step.startswith("structure") and (steps is None or step in steps)
            for file in files
        ]

    def simulations(self, steps: Collection[str] | None = None) -> list[Path]:
        """Return the `result*.json` of simulations in their order; of these steps only, where they are given."""
        current = self.current().items()
        return [f for step, files in current if steps is None or step in steps for f in files if f.suffix == ".json"]

    def all_files(self) -> set[Path]:
        """Return every file of the run as it stands, those of simulations included; none left from earlier configs."""
        found = {file for files in self.current().values() for file in files}
        results = self.simulations()
        moving = {file.parent / str(json.loads(file.read_bytes()).get("trajectory")) for file in results}
        moving |= {analysis_of(file) for file in results}
        for folder in {file.parent for file in results}:
            there = {file for file in folder.rglob("*") if file.is_file() and not file.name.startswith(".")}
            other = {file for file in there if file.name.startswith("result") or file.suffix in STATES}
            other -= {file for file in there if file.name.startswith("multislice")}
            other |= {file for file in there if file.name in LICENSED}
            found |= (there - other) | (there & moving)
        top = [self.path / name for name in (CONFIG, LOG, STATE, SESSIONS, REPORT, MARKDOWN, "results.db")]
        top += (self.path / FIGURES).glob("*.png")
        return found | {file for file in top if file.is_file()}

    def workdir(self, step: str, inputs: str) -> Path:
        """Return the folder for a simulation: as it was left if it was cut off with the same inputs, else empty.

        Where it holds claims (see `resume`) it is left as it is: whose files those are, the claims know best.

        Raises:
            BadInput: there is a folder of that name that no run of ours made.
        """
        folder = self.path / step
        mark = folder / ".inputs"
        if folder.exists() and not mark.is_file():
            raise BadInput(f"{folder} was not made by a run; choose another --out")
        changed = mark.is_file() and mark.read_text(encoding="utf-8") != inputs
        if changed and not any(folder.rglob(f"*{CLAIM}")):
            shutil.rmtree(folder)
        folder.mkdir(exist_ok=True)
        write_text(mark, inputs)
        return folder

    def _whole(self, record: Record) -> bool:
        return all((self.path / name).is_file() for name in record.files)

    def _is_current(self, step: str) -> bool:
        record = self._steps.get(step)
        if record is None or not self._whole(record):
            return False
        return not record.after or (record.after_inputs == self.inputs(record.after) and self._is_current(record.after))

    def _save(self) -> None:
        write_text(self.path / STATE, _STATE.dump_json(self._steps, indent=1).decode())
