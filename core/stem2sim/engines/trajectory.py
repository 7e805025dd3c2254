"""Trajectory files that survive an interruption: frames are only ever appended, each with its step."""

from __future__ import annotations

import errno
import logging
import os
from contextlib import contextmanager, suppress
from hashlib import file_digest
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakValueDictionary

import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.trajectory import TrajectoryReader, TrajectoryWriter

from stem2sim.errors import StageFailed
from stem2sim.files import write_atomically
from stem2sim.geometry.superposition import moved

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from io import BufferedReader
    from pathlib import Path

    from ase import Atoms

log = logging.getLogger("stem2sim")

MOST_OPEN = 200
"""Trajectories that are open to read at a time; a system allows a process about a thousand files."""

_open_now: WeakValueDictionary[int, Trajectory] = WeakValueDictionary()
"""By their identities, the one that was opened first in front."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Trajectory:
    """An ASE trajectory to read: its file is opened once, when a frame is first asked for."""

    def __init__(self, path: Path) -> None:
        """Name the file; one that is missing or unreadable has no frames."""
        self.path = path
        self._file: BufferedReader | None = None
        self._reader: TrajectoryReader | None = None
        self._opened = False

    def frames(self) -> Iterator[Atoms]:
        """Yield the frames up to the first that is damaged, which is logged."""
        reader = self._open()
        for number in range(0 if reader is None else len(reader)):
            try:
                frame = self._frame(number)
                frame.get_positions()
            except Exception:  # whatever ASE raises for a truncated file
                self._damaged(number)
                return
            yield frame

    def second_half(self, most: int) -> Iterator[Atoms]:
        """Yield at most about `most` frames of the second half, evenly spaced, up to the first that is damaged."""
        reader = self._open()
        with suppress(Exception):
            count = 0 if reader is None else len(reader)
            first = count // 2
            for number in range(first, count, max(1, (count - first) // most)):
                yield self._frame(number)

    def mean_structure(self, most: int = 200) -> Atoms | None:
        """Return the mean of about `most` frames of the second half; None without frames.

        Drift and rotation in the plane are removed, in a periodic cell only drift.
        """
        first: Atoms | None = None
        total, count = None, 0
        for atoms in self.second_half(most):
            if first is None:
                first = atoms.copy()
                first.calc = None
                total = np.zeros((len(first), 3))
            total += first.positions + moved(first, atoms, "in plane")
            count += 1
        if first is not None and total is not None:
            first.positions = total / count
        return first

    def sha256(self) -> str:
        """Return the hash of the file's bytes, in hexadecimal digits.

        Raises:
            OSError: there is no such file.
        """
        self._open()
        if self._file is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self.path))
        self._file.seek(0)
        return file_digest(self._file, "sha256").hexdigest()

    def close(self) -> None:
        """Close the file; asked for a frame again, it is opened again."""
        _open_now.pop(id(self), None)
        if self._file is not None:
            self._file.close()
        self._file, self._reader, self._opened = None, None, False

    def _frame(self, number: int) -> Atoms:
        reader = self._open()  # once more, where others were opened in between
        assert reader is not None
        frame: Atoms = reader[number]
        return frame

    def _open(self) -> TrajectoryReader | None:
        if not self._opened and self.path.is_file():
            self._opened = True
            while len(_open_now) >= MOST_OPEN:
                next(_open_now.values()).close()
            _open_now[id(self)] = self
            self._file = self.path.open("rb")
            try:
                self._reader = TrajectoryReader(self._file)
            except Exception:  # as above
                self._damaged(0)
        return self._reader

    def _damaged(self, number: int) -> None:
        log.warning(
            "%s: frame %d is damaged, as after an interrupted write; it is discarded and recomputed",
            self.path.name,
            number,
        )

    def __del__(self) -> None:
        self.close()


def frames(path: Path) -> Iterator[Atoms]:
    """Yield the frames of an ASE trajectory up to the first that is damaged; none where there is no such file."""
    return Trajectory(path).frames()


class TrajectoryFile:
    """An ASE trajectory open for more frames."""

    def __init__(self, path: Path, kept: int) -> None:
        """Open it with its first `kept` frames, discarding the others; those that are there must be whole."""
        self.path = path
        whole = 0
        if kept and path.is_file():
            with TrajectoryReader(path) as reader:
                whole = len(reader)
        if whole != kept or not kept:
            with disk_full_reported(path), write_atomically(path) as part, TrajectoryWriter(part, "w") as writer:
                for _, frame in zip(range(kept), frames(path), strict=False):
                    writer.write(frame)
        self._writer = TrajectoryWriter(path, "a")

    def append(self, atoms: Atoms, results: Mapping[str, Any], **info: Any) -> None:
        """Append one frame with what a calculator gave for it (energy [eV], forces [eV/Å]) and with its step.

        Raises:
            StageFailed: the disk is full.
        """
        frame = atoms.copy()
        frame.info = info
        frame.calc = SinglePointCalculator(atoms, **results)
        with disk_full_reported(self.path):
            self._writer.write(frame)

    def sync(self) -> None:
        """Make sure that what was appended is on the disk."""
        with disk_full_reported(self.path):
            os.fsync(self._writer.backend.fd.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._writer.close()
        except OSError as problem:  # of a full disk, which has been reported
            if problem.errno not in FULL:
                raise


@contextmanager
def disk_full_reported(path: Path) -> Iterator[None]:
    """Turn a full disk into an error message."""
    try:
        yield
    except OSError as problem:
        if problem.errno not in FULL:
            raise
        raise StageFailed(
            f"the disk is full: {path.name} could not be written; free some space, and the same command resumes from "
            "the last checkpoint"
        ) from problem
