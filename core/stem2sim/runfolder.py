"""The run folder: the only state there is, and what of it is up to date."""

from __future__ import annotations

import fcntl
import json
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from stem2sim.errors import BadInput
from stem2sim.files import write_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONFIG, SEGMENTATION, ATOMS, REPORT, LOG = "run.toml", "segmentation.npz", "atoms.csv", "report.html", "run.log"
STATE = "state.json"


class RunFolder:
    """One folder; each step in it is known by name, by the hash of its inputs, and by the files it left."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self._state: dict[str, dict[str, object]] = {}
        if (path / STATE).is_file():
            self._state = json.loads((path / STATE).read_text(encoding="utf-8"))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other runs out of this folder; the lock ends with the process, however it ends."""
        with (self.path / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise BadInput(
                    f"another run is under way in {self.path}; wait for it or choose another --out"
                ) from None
            yield

    def finished(self, step: str, inputs: str) -> list[Path] | None:
        """Return the files of a step if it was done with these inputs and they are all there, else None."""
        record = self._state.get(step)
        if record is None or record["inputs"] != inputs:
            return None
        files = [self.path / str(name) for name in self._listed(record)]
        return files if all(file.is_file() for file in files) else None

    def inputs(self, step: str) -> str:
        """Return the hash of inputs that a finished step was done with."""
        return str(self._state[step]["inputs"])

    def finish(self, step: str, inputs: str, files: list[Path]) -> None:
        """Record that a step is done."""
        names = [str(file.relative_to(self.path)) for file in files]
        self._state[step] = {"inputs": inputs, "files": names}
        self._save()

    def keep_only(self, steps: list[str]) -> None:
        """Forget steps that are no longer part of the pipeline; their files stay."""
        if set(self._state) - set(steps):
            self._state = {step: record for step, record in self._state.items() if step in steps}
            self._save()

    def files(self, prefix: str) -> list[Path]:
        """Return the files of all recorded steps whose name starts so, in the order of the names."""
        return [self.path / name for step in sorted(self._state) if step.startswith(prefix)
                for name in self._listed(self._state[step])]  # fmt: skip

    def simulations(self) -> list[Path]:
        """Return the result files of all recorded simulations, in the order they ran."""
        return [file for file in self.files("") if file.name.startswith("result") and file.suffix == ".json"]

    def workdir(self, step: str, inputs: str) -> Path:
        """Return the folder for a simulation: as it was left if it was cut off with the same inputs, else empty."""
        folder = self.path / step
        mark = folder / ".inputs"
        if folder.exists() and not (mark.is_file() and mark.read_text(encoding="utf-8") == inputs):
            shutil.rmtree(folder)
        folder.mkdir(exist_ok=True)
        write_text(mark, inputs)
        return folder

    @staticmethod
    def _listed(record: dict[str, object]) -> list[str]:
        files = record["files"]
        return [str(name) for name in files] if isinstance(files, list) else []

    def _save(self) -> None:
        write_text(self.path / STATE, json.dumps(self._state, indent=1))
