"""What the files of one run folder hold; each is opened once, whatever is asked of it."""

from __future__ import annotations

import io
from hashlib import file_digest, sha256
from typing import TYPE_CHECKING, Any, TypeVar
from zipfile import BadZipFile

import numpy as np

from stem2sim.analysis.evolution import Evolution
from stem2sim.engines.trajectory import Trajectory
from stem2sim.errors import BadInput, damaged
from stem2sim.segmentation import Segmentation
from stem2sim.simulation import SimulationResult
from stem2sim.structure import Structure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from numpy.typing import NDArray

Kept = TypeVar("Kept")

HEAD = 4096
"""Bytes at the beginning of a file that tell text from binary data."""


class Contents:
    """Reads files of a run folder, and remembers what they hold, and their hashes, until they are written again."""

    def __init__(self) -> None:
        self._kept: dict[Path, Any] = {}
        self._hashes: dict[Path, str] = {}
        self._binary: dict[Path, bool] = {}
        self._trajectories: dict[Path, Trajectory] = {}

    def text(self, file: Path) -> str:
        """Return the text of a file.

        Raises:
            BadInput: the file is missing or damaged.
        """
        return self._read(file, lambda content: content.decode())

    def structure(self, file: Path) -> Structure:
        """Return the structure in a file: of any format that ASE reads, not only of those in run folders.

        Raises:
            BadInput: the file is missing or damaged.
        """
        if file.suffix == ".extxyz" and file.is_file():
            return self._read(file, lambda content: Structure.parse(content, file))
        return self.of(file, Structure.read)

    def result(self, file: Path) -> SimulationResult:
        """Return the result of a simulation by its `result*.json`; its structure is read with it.

        Raises:
            BadInput: a file is missing or damaged.
        """
        return self._read(file, lambda content: SimulationResult.parse(content, file, self.structure))

    def segmentation(self, file: Path) -> Segmentation:
        """Return the segmentation in a file.

        Raises:
            BadInput: the file is missing or damaged.
        """
        return self._read(file, lambda content: Segmentation.parse(content, file))

    def evolution(self, file: Path) -> Evolution:
        """Return what was kept of the analysis of a trajectory.

        Raises:
            BadInput: the file is missing or damaged.
        """
        return self._read(file, lambda content: Evolution.parse(content, file))

    def trajectory_of(self, file: Path, result: SimulationResult) -> Trajectory | None:
        """Return the trajectory of a result, by its `result*.json`; None for a result without one."""
        if result.trajectory is None:
            return None
        path = file.parent / result.trajectory
        if path not in self._trajectories:
            self._trajectories[path] = Trajectory(path)
        return self._trajectories[path]

    def arrays(self, file: Path) -> dict[str, NDArray[Any]]:
        """Return the arrays of an .npz file.

        Raises:
            BadInput: the file is missing or damaged.
        """
        return self._read(file, _arrays)

    def sha256(self, file: Path) -> str:
        """Return the hash of a file's bytes, in hexadecimal digits."""
        if file not in self._hashes:
            if file in self._trajectories:
                self._hashes[file], self._binary[file] = self._trajectories[file].sha256(), True
            else:
                with file.open("rb") as opened:
                    self._binary[file] = b"\0" in opened.read(HEAD)
                    opened.seek(0)
                    self._hashes[file] = file_digest(opened, "sha256").hexdigest()
        return self._hashes[file]

    def is_binary(self, file: Path) -> bool:
        """Return whether a file holds anything but text."""
        self.sha256(file)
        return self._binary[file]

    def of(self, file: Path, reader: Callable[[Path], Kept]) -> Kept:
        """Return what a reader makes of a file that has a format of its own, such as a database."""
        if file not in self._kept:
            self._kept[file] = reader(file)
        kept: Kept = self._kept[file]
        return kept

    def written(self, file: Path, content: Path, holds: Any) -> None:
        """Note what a file that is about to be replaced will hold (see `of`), and its hash, from its replacement."""
        self.forget([file])
        self._kept[file] = holds
        self._hashes[file], self._binary[file] = self.sha256(content), self.is_binary(content)
        self.forget([content])

    def forget(self, files: Iterable[Path], folder: Path | None = None) -> None:
        """Forget what files held, and all that lies in a folder: they were written again."""
        forgotten = set(files)
        if folder is not None:
            known = {*self._kept, *self._hashes, *self._trajectories}
            forgotten |= {file for file in known if file.is_relative_to(folder)}
        for file in forgotten:
            for kept in (self._kept, self._hashes, self._binary):
                kept.pop(file, None)
            if file in self._trajectories:
                self._trajectories.pop(file).close()

    def _read(self, file: Path, parse: Callable[[bytes], Kept]) -> Kept:
        if file not in self._kept:
            try:
                content = file.read_bytes()
            except FileNotFoundError as problem:
                raise BadInput(damaged(file)) from problem
            except OSError as problem:
                raise BadInput(f"cannot read {file}: {problem.strerror}") from problem
            self._hashes[file] = sha256(content).hexdigest()
            self._binary[file] = b"\0" in content[:HEAD]
            try:
                self._kept[file] = parse(content)
            except BadInput:
                raise
            except (UnicodeDecodeError, ValueError) as problem:
                raise BadInput(damaged(file)) from problem
        kept: Kept = self._kept[file]
        return kept


def _arrays(content: bytes) -> dict[str, NDArray[Any]]:
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as kept:
            return {name: kept[name] for name in kept.files}
    except (BadZipFile, EOFError, AttributeError) as problem:  # AttributeError: a single array has no files
        raise ValueError(str(problem)) from problem
