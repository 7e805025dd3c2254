"""What the files of one run folder hold, each read once: structures, results, the segmentation, and their hashes."""

from __future__ import annotations

from hashlib import file_digest
from typing import TYPE_CHECKING, Any, TypeVar
from zipfile import BadZipFile

from stem2sim.errors import BadInput, damaged
from stem2sim.segmentation import Segmentation
from stem2sim.simulation import SimulationResult
from stem2sim.structure import Structure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

Kept = TypeVar("Kept")


class Contents:
    """Reads files of a run folder, and remembers what it read until they are written again."""

    def __init__(self) -> None:
        self._kept: dict[Path, Any] = {}
        self._digests: dict[Path, str] = {}

    def structure(self, file: Path) -> Structure:
        """Return the structure in a file.

        Raises:
            BadInput: the file is missing or damaged.
        """
        return self._read(file, Structure.read)

    def result(self, file: Path) -> SimulationResult:
        """Return the result of a simulation by its `result*.json`; its structure is read with it.

        Raises:
            BadInput: a file is missing or damaged.
        """
        return self._read(file, SimulationResult.read)

    def segmentation(self, file: Path) -> Segmentation:
        """Return the segmentation in a file.

        Raises:
            BadInput: the file is missing or damaged.
        """
        return self._read(file, Segmentation.load)

    def sha256(self, file: Path) -> str:
        """Return the hash of a file's bytes, in hexadecimal digits."""
        if file not in self._digests:
            with file.open("rb") as opened:
                self._digests[file] = file_digest(opened, "sha256").hexdigest()
        return self._digests[file]

    def forget(self, files: Iterable[Path]) -> None:
        """Forget what files held: they were written again."""
        for file in files:
            self._kept.pop(file, None)
            self._digests.pop(file, None)

    def _read(self, file: Path, reader: Callable[[Path], Kept]) -> Kept:
        if file not in self._kept:
            try:
                self._kept[file] = reader(file)
            except BadInput:
                raise
            except (OSError, EOFError, KeyError, ValueError, BadZipFile) as problem:
                raise BadInput(damaged(file)) from problem
        kept: Kept = self._kept[file]
        return kept
