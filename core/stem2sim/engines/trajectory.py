"""Trajectory files that survive an interruption: frames are only ever appended, each with its step."""

from __future__ import annotations

import errno
import logging
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.trajectory import TrajectoryReader, TrajectoryWriter

from stem2sim.errors import StageFailed
from stem2sim.files import write_atomically
from stem2sim.geometry.superposition import moved

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from ase import Atoms

log = logging.getLogger("stem2sim")

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def frames(path: Path) -> Iterator[Atoms]:
    """Yield the frames of an ASE trajectory up to the first that is damaged; none where there is no such file."""
    if not path.is_file():
        return
    try:
        reader = TrajectoryReader(path)
    except Exception:  # whatever ASE raises for a truncated file
        _damaged(path, 0)
        return
    with reader:
        for number in range(len(reader)):
            try:
                frame = reader[number]
                frame.get_positions()
            except Exception:  # as above
                _damaged(path, number)
                return
            yield frame


def second_half(path: Path, most: int) -> Iterator[Atoms]:
    """Yield at most about `most` frames of the second half of a trajectory, evenly spaced.

    Of a damaged file only those before the first frame that cannot be read; none where there is no such file, or where
    not even the number of frames can be read.
    """
    with suppress(Exception), TrajectoryReader(path) as reader:
        first = len(reader) // 2
        for number in range(first, len(reader), max(1, (len(reader) - first) // most)):
            yield reader[number]


def mean_structure(path: Path, most: int = 200) -> Atoms | None:
    """Return the mean of about `most` frames of the second half, drift and rotation in the plane removed; else None.

    In a periodic cell only drift is removed.
    """
    first: Atoms | None = None
    total, count = None, 0
    for atoms in second_half(path, most):
        if first is None:
            first = atoms.copy()
            first.calc = None
            total = np.zeros((len(first), 3))
        total += first.positions + moved(first, atoms, "in plane")
        count += 1
    if first is not None and total is not None:
        first.positions = total / count
    return first


def _damaged(path: Path, number: int) -> None:
    log.warning(
        "%s: frame %d is damaged, as after an interrupted write; it is discarded and recomputed", path.name, number
    )


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
