"""What of a run folder is done: each step by name, by the hash of its inputs, and by the files it left."""

from __future__ import annotations

import fcntl
import shutil
import time
from contextlib import contextmanager
from functools import cached_property
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, BaseModel, Field, TypeAdapter, ValidationError

from stem2sim.engines.checkpoints import CLAIM
from stem2sim.errors import BadInput
from stem2sim.files import write_text
from stem2sim.runs.names import INPUTS, LOCK, STATE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path


def _inside(name: str) -> str:
    """Refuse a path that leads out of the run folder: it may come from a stranger."""
    if PurePath(name).is_absolute() or ".." in PurePath(name).parts:
        raise ValueError("leads out of the run folder")
    return name


class Record(BaseModel):
    """What is known of one finished step."""

    inputs: str
    """Hash of everything that went into it."""
    after: str = ""
    """The step it built on, and with which inputs that was done; '' for a start."""
    after_inputs: str = ""
    partial: bool = False
    """Whether it was read while it can still go on: it is shown, and done again."""
    files: list[Annotated[str, AfterValidator(_inside)]] = Field(min_length=1)
    """What it left, relative to the folder."""


_RECORDS = TypeAdapter(dict[str, Record])


class State:
    """The finished steps of one run folder, read once and written at every change."""

    def __init__(self, folder: Path) -> None:
        """Name the folder; its `state.json` is read when it is first needed, and once more when the folder is locked.

        Whatever asks for a record raises BadInput where the file is damaged.
        """
        self.folder = folder

    @cached_property
    def _records(self) -> dict[str, Record]:
        file = self.folder / STATE
        try:
            return _RECORDS.validate_json(file.read_bytes()) if file.is_file() else {}
        except ValidationError:
            raise BadInput(f"{file} is damaged; delete it, and every step runs again") from None

    def names(self) -> list[str]:
        """Return the steps that are recorded, whatever became of what they built on."""
        return list(self._records)

    def record(self, step: str) -> Record | None:
        """Return what is known of a step, None if it is not finished or its files are gone."""
        record = self._records.get(step)
        return record if record is not None and self._whole(record) else None

    def finished(self, step: str, inputs: str) -> list[Path] | None:
        """Return the files of a step if it was done with these inputs and they are all there, else None."""
        record = self.record(step)
        if record is None or record.partial or record.inputs != inputs:
            return None
        return [self.folder / name for name in record.files]

    def inputs(self, step: str) -> str:
        """Return the hash of inputs that a finished step was done with; '' for no such step."""
        return self._records[step].inputs if step in self._records else ""

    def finish(self, step: str, inputs: str, files: list[Path], after: str, partial: bool = False) -> None:
        """Record that a step is done, as far as it has come if `partial`, and which step it built on."""
        names = [str(file.relative_to(self.folder)) for file in files]
        self._records[step] = Record(
            inputs=inputs, after=after, after_inputs=self.inputs(after), partial=partial, files=names
        )
        self._save()

    def take_over(self, step: str, other: State) -> None:
        """Copy a finished step from another run folder, unless it was done here with the same inputs."""
        record = other.record(step)
        if record is None or self.finished(step, record.inputs) is not None:
            return
        self.forget(step)
        shutil.rmtree(self.folder / step, ignore_errors=True)  # of a simulation
        simulated = (other.folder / step).rglob("*") if (other.folder / step).is_dir() else ()
        for file in {*simulated, *(other.folder / name for name in record.files)}:
            if file.is_file() and not file.is_symlink():  # a link may lead to what is no part of the run
                copy = self.folder / file.relative_to(other.folder)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copy)
        self._records[step] = record
        self._save()

    def forget(self, step: str) -> None:
        """Forget that a step was done: its files are about to change."""
        if self._records.pop(step, None):
            self._save()

    def keep_only(self, steps: Collection[str]) -> None:
        """Forget steps that are no longer part of the pipeline; their files stay."""
        if set(self._records) - set(steps):
            for step in set(self._records) - set(steps):
                del self._records[step]
            self._save()

    def current(self) -> dict[str, list[Path]]:
        """Return the files of the steps that belong together: each built on the present outcome of the one before."""
        names = sorted(step for step in self._records if self.is_current(step))
        return {step: [self.folder / name for name in self._records[step].files] for step in names}

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other runs out of this folder; the lock ends with the process, however it ends.

        Raises:
            BadInput: another process has it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / LOCK).open("w") as lock:
            for patience in (*[0.05] * 5, None):  # whoever only asks whether it is locked has it for a moment
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if patience is None:
                        wait = "wait for it or choose another --out"
                        raise BadInput(f"another run is under way in {self.folder}; {wait}") from None
                    time.sleep(patience)
            self.__dict__.pop("_records", None)  # whoever had the lock before may have written since
            yield

    def is_locked(self) -> bool:
        """Return whether a process is at work in this folder."""
        if not (self.folder / LOCK).is_file():
            return False
        with (self.folder / LOCK).open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def workdir(self, step: str, inputs: str) -> Path:
        """Return the folder for a simulation: as it was left if it was interrupted with the same inputs, else empty.

        Where it holds claims (see `engines.checkpoints`) it is left as it is: the claims know whose those files are.

        Raises:
            BadInput: there is a folder of that name that no run of ours made.
        """
        folder = self.folder / step
        mark = folder / INPUTS
        if folder.exists() and not mark.is_file():
            raise BadInput(f"{folder} was not made by a run; choose another --out")
        if mark.is_file() and not self.was_started(step, inputs) and not any(folder.rglob(f"*{CLAIM}")):
            shutil.rmtree(folder)
        folder.mkdir(exist_ok=True)
        write_text(mark, inputs)
        return folder

    def was_started(self, step: str, inputs: str) -> bool:
        """Return whether a simulation was started in its folder with these inputs."""
        mark = self.folder / step / INPUTS
        return mark.is_file() and mark.read_text(encoding="utf-8") == inputs

    def _whole(self, record: Record) -> bool:
        return all((self.folder / name).is_file() for name in record.files)

    def is_current(self, step: str) -> bool:
        """Return whether a step is finished and built on the present outcome of the one before it."""
        seen = {step}
        while (record := self.record(step)) is not None:
            if not record.after:
                return True
            if record.after in seen or record.after_inputs != self.inputs(record.after):
                return False
            step = record.after
            seen.add(step)
        return False

    def _save(self) -> None:
        write_text(self.folder / STATE, _RECORDS.dump_json(self._records, indent=1).decode())
