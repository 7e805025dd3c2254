"""The rings of a sheet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stem2sim.bonds import bond_vectors
from stem2sim.structure import topmost

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray


LARGEST_RING = 8
"""Atoms; a wider ring is a hole."""


@dataclass(frozen=True)
class Ring:
    """A face of the sheet: atoms one bond apart, round an empty middle."""

    atoms: tuple[int, ...]
    """In order round the ring, the lowest number first."""
    centre: NDArray[np.float64]
    """(3,) mean position [Å]; across a periodic border it may lie outside the cell."""

    def __len__(self) -> int:
        return len(self.atoms)


def rings(atoms: Atoms) -> list[Ring]:
    """Return every face of the bond network in the x, y plane, holes too, but not what lies outside of it all.

    Hydrogen is left out, and of a column all but its topmost atom. Each bond has two sides, and each side one face:
    from a bond into an atom, the next bond round that atom goes on along the same face. A face that is walked the other
    way round is the outside.
    """
    heavy = np.flatnonzero((atoms.numbers != 1) & topmost(atoms))
    i, j, shift, vectors = bond_vectors(atoms[heavy])
    order = np.lexsort([np.arctan2(vectors[:, 1], vectors[:, 0]), i])
    i, j, shift, vectors = i[order], j[order], shift[order], vectors[order]
    number = {(int(a), int(b), *map(int, s)): k for k, (a, b, s) in enumerate(zip(i, j, shift, strict=True))}
    back = np.array([number[(int(b), int(a), *map(int, -s))] for a, b, s in zip(i, j, shift, strict=True)], dtype=int)
    first = np.searchsorted(i, np.arange(len(heavy) + 1))
    low, high = first[j], first[j + 1]
    after = low + (back - low - 1) % np.maximum(high - low, 1)
    walked = np.zeros(len(i), dtype=bool)
    found = []
    for start in range(len(i)):
        if walked[start]:
            continue
        path = [start]
        while (k := int(after[path[-1]])) != start:
            path.append(k)
        walked[path] = True
        steps = vectors[path, :2]
        corners = np.cumsum(steps, axis=0) - steps
        area = 0.5 * float((corners[:, 0] * steps[:, 1] - corners[:, 1] * steps[:, 0]).sum())
        closed = np.allclose(steps.sum(axis=0), 0, atol=1e-6)  # one that goes round the whole cell is no ring
        if closed and area > 0:
            members = heavy[i[path]]
            turn = int(np.argmin(members))
            middle = atoms.positions[members[0]] + (np.cumsum(vectors[path], axis=0) - vectors[path]).mean(axis=0)
            found.append(Ring(tuple(int(m) for m in np.roll(members, -turn)), middle))
    return found
