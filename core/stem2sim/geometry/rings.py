"""The rings of a sheet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stem2sim.geometry.bonds import reverse
from stem2sim.geometry.columns import topmost

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

    from stem2sim.geometry.bonds import Bonds
    from stem2sim.geometry.pairs import Pairs

LARGEST_RING = 8
"""Atoms; a wider ring is a hole."""

NOTHING = 1e-6
"""[Å²]; a chain of atoms, walked there and back, encloses no more."""


@dataclass(frozen=True)
class Ring:
    """A face of the sheet: atoms one bond apart, round an empty middle."""

    atoms: tuple[int, ...]
    """In order round the ring, the lowest number first."""
    centre: NDArray[np.float64]
    """(3,) mean position [Å]; across a periodic border it may lie outside the cell."""
    area: float = 0.0
    """Of the polygon through the middles of its atoms, in the x, y plane [Å²]."""
    perimeter: float = 0.0
    """Of the same polygon [Å]."""

    def __len__(self) -> int:
        return len(self.atoms)


@dataclass(frozen=True)
class Faces:
    """Every face of a bond network at once, as arrays; with those that are the outside of it."""

    atoms: NDArray[np.int64]
    """Atoms of one face after those of another, in order round each, from its lowest number on."""
    steps: NDArray[np.float64]
    """(atoms of faces, 3) from each of them to the next [Å]."""
    first: NDArray[np.int64]
    """(faces,) where each begins."""
    size: NDArray[np.int64]
    """(faces,) atoms of each."""
    area: NDArray[np.float64]
    """(faces,) in the x, y plane, by the shoelace formula [Å²]; negative for what is walked from outside."""
    perimeter: NDArray[np.float64]
    """(faces,) in the x, y plane [Å]."""
    centre: NDArray[np.float64]
    """(faces, 3) mean position [Å]; across a periodic border it may lie outside the cell."""
    ring: NDArray[np.bool_]
    """(faces,) whether it is a ring, and not the outside."""

    def members(self, face: int) -> NDArray[np.int64]:
        """Return the atoms of one face."""
        return self.atoms[self.first[face] : self.first[face] + self.size[face]]


def rings(bonds: Bonds) -> list[Ring]:
    """Return every face of the bond network in the x, y plane, holes too, but not what lies outside of it all.

    Hydrogen does not count, and of a column only its topmost atom.
    """
    sheet = np.flatnonzero(of_the_sheet(bonds.atoms))
    return rings_of_pairs(bonds.atoms, sheet, bonds.among(sheet).pairs)


def rings_of_pairs(atoms: Atoms, sheet: NDArray[np.int64], pairs: Pairs) -> list[Ring]:
    """Return the rings that given bonds enclose.

    Args:
        atoms: of the structure.
        sheet: numbers of those that are of its sheet.
        pairs: the bonds between these, as counted among them.
    """
    every = faces(atoms.positions[sheet], pairs)
    return [
        Ring(
            tuple(sheet[every.members(k)].tolist()),
            every.centre[k],
            float(every.area[k]),
            float(every.perimeter[k]),
        )
        for k in np.flatnonzero(every.ring).tolist()
    ]


def of_the_sheet(atoms: Atoms) -> NDArray[np.bool_]:
    """Return (atoms,) which make its rings: not hydrogen, and of a column only the topmost."""
    return np.asarray((atoms.numbers != 1) & topmost(atoms), dtype=bool)


def faces(positions: NDArray[np.float64], pairs: Pairs) -> Faces:
    """Return the faces that bonds enclose in the x, y plane.

    Each bond has two sides, and each side one face: from a bond into an atom, the next bond round that atom goes on
    along the same face. A face that is walked the other way round is the outside; one that goes round the whole cell
    is no ring. All are walked at once, by doubling steps (Wyllie's list ranking).

    Args:
        positions: (atoms, 3) [Å].
        pairs: the bonds between them.
    """
    pairs = pairs.chosen(np.lexsort([np.arctan2(pairs.vectors[:, 1], pairs.vectors[:, 0]), pairs.i]))
    i, j, _, vectors = pairs
    back = reverse(pairs)
    begin = np.searchsorted(i, np.arange(len(positions) + 1))
    low, high = begin[j], begin[j + 1]
    after = low + (back - low - 1) % np.maximum(high - low, 1)
    face, steps_left = _walked(after)
    along = np.lexsort((-steps_left, face))
    i, vectors, face = i[along], vectors[along], face[along]
    first = np.flatnonzero(np.diff(face, prepend=-1))
    size = np.diff(first, append=len(i))
    if len(first) == 0:
        none = np.zeros(0)
        return Faces(i, vectors, first, size, none, none, np.zeros((0, 3)), np.zeros(0, dtype=bool))
    corners = np.cumsum(vectors, axis=0) - vectors
    corners -= np.repeat(corners[first], size, axis=0)  # from the first atom of each face
    doubled = corners[:, 0] * vectors[:, 1] - corners[:, 1] * vectors[:, 0]
    area = 0.5 * np.add.reduceat(doubled, first)
    perimeter = np.add.reduceat(np.hypot(vectors[:, 0], vectors[:, 1]), first)
    closed = np.abs(np.add.reduceat(vectors[:, :2], first, axis=0)).max(axis=1) < 1e-6
    centre = positions[i[first]] + np.add.reduceat(corners, first, axis=0) / size[:, None]
    return Faces(i, vectors, first, size, area, perimeter, centre, closed & (area > NOTHING))


def _walked(after: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(bonds,) the lowest bond of the cycle that each is in, and how many steps before that it is.

    Args:
        after: (bonds,) the one that follows each.
    """
    lowest, jump = np.arange(len(after)), after
    while not np.array_equal(further := np.minimum(lowest, lowest[jump]), lowest):
        lowest, jump = further, jump[jump]
    last = after == lowest  # the walk ends before it comes back
    left, jump = np.where(last, 0, 1), np.where(last, np.arange(len(after)), after)
    for _ in range(len(after).bit_length()):
        left, jump = left + left[jump], jump[jump]
    return lowest, left
