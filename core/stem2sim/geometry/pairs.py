"""Which atoms are near each other, in a cell or none."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

SLACK = 1e-6
"""[Å]; more than what rounding does to a distance. A distance is under a limit where it is under it by this much, so
that rounding does not decide about one that equals the limit."""

MOST = 12
"""Atoms or pairs listed in one finding; its list of atoms has all of them."""


def nearest_first(distances: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the order of distances [Å], shortest first; of those that only rounding tells apart, the first given."""
    return np.argsort(np.round(distances / SLACK), kind="stable")


class Pairs(NamedTuple):
    """Pairs of atoms as columns of equal length, each pair both ways, sorted by `i`, then `j`."""

    i: NDArray[np.int64]
    """(pairs,) one atom."""
    j: NDArray[np.int64]
    """(pairs,) the other."""
    shift: NDArray[np.int64]
    """(pairs, 3) cells between them: j in that cell is `vectors` away from i."""
    vectors: NDArray[np.float64]
    """(pairs, 3) from i to j [Å]."""

    @property
    def lengths(self) -> NDArray[np.float64]:
        """(pairs,) distances [Å]."""
        return np.asarray(np.sqrt((self.vectors**2).sum(axis=1)))

    def chosen(self, kept: NDArray[np.bool_] | NDArray[np.int64]) -> Self:
        """Return the pairs that a mask or an index array picks."""
        return type(self)(self.i[kept], self.j[kept], self.shift[kept], self.vectors[kept])

    def renumbered(self, number: NDArray[np.int64]) -> Self:
        """Return those pairs of which both atoms have a number (atoms,) of 0 or more, by these numbers."""
        i, j = number[self.i], number[self.j]
        return self._replace(i=i, j=j).chosen((i >= 0) & (j >= 0))


def near_pairs(atoms: Atoms, cutoff: float | NDArray[np.float64]) -> Pairs:
    """Return every pair closer than a cutoff, both ways, sorted by i, then j.

    In a cell smaller than the cutoff an atom is its own neighbour. ASE's neighbour lists give the same pairs in ten
    times the time.

    Args:
        atoms: in any cell, or none.
        cutoff: one for all, or a radius for each atom whose sum counts [Å].
    """
    radii = None if np.ndim(cutoff) == 0 else np.asarray(cutoff, dtype=float)
    reach = float(cutoff) if radii is None else 2 * float(radii.max(initial=0.0))
    if len(atoms) == 0 or reach <= 0:
        none = np.zeros(0, dtype=np.int64)
        return Pairs(none, none, np.zeros((0, 3), dtype=np.int64), np.zeros((0, 3)))
    pairs = _across_borders(atoms, reach) if atoms.pbc.any() else _within(atoms.positions, reach)
    i, j = pairs.i, pairs.j
    kept = np.flatnonzero(pairs.lengths < (reach if radii is None else radii[i] + radii[j]))
    return pairs.chosen(kept[np.lexsort((j[kept], i[kept]))])


def _within(positions: NDArray[np.float64], reach: float) -> Pairs:
    pairs = cKDTree(positions).query_pairs(reach, output_type="ndarray")
    i, j = np.concatenate([pairs, pairs[:, ::-1]]).T
    return Pairs(i, j, np.zeros((len(i), 3), dtype=np.int64), positions[j] - positions[i])


def _across_borders(atoms: Atoms, reach: float) -> Pairs:
    """Look among the atoms of the cell and those of its neighbours that are within reach of it."""
    cell = np.asarray(atoms.cell.complete())
    inverse = np.linalg.inv(cell)
    scaled = atoms.positions @ inverse
    home = np.where(atoms.pbc, np.floor(scaled), 0).astype(np.int64)
    scaled = scaled - home
    margin = np.where(atoms.pbc, (reach + 2 * SLACK) * np.linalg.norm(inverse, axis=0), 0)  # in lengths of the cell
    most = np.ceil(margin).astype(int)
    cells = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in most), indexing="ij"), axis=-1).reshape(-1, 3)
    images = scaled[None] + cells[:, None]
    inside = ((images >= -margin) & (images <= 1 + margin)) | ~atoms.pbc
    which, number = np.nonzero(inside.all(axis=2))
    there = images[which, number] @ cell
    here = scaled @ cell
    near = cKDTree(here).sparse_distance_matrix(cKDTree(there), reach + SLACK, output_type="ndarray")
    i, k = near["i"], near["j"]
    other = (i != number[k]) | cells[which[k]].any(axis=1)
    i, k = i[other], k[other]
    j = number[k]
    shift = cells[which[k]] - home[j] + home[i]
    # not there - here: the two directions of a pair must agree to the last bit, or one of them alone is within reach
    return Pairs(i, j, shift, atoms.positions[j] - atoms.positions[i] + shift @ cell)


def describe_pairs(atoms: Atoms, pairs: list[tuple[float, int, int]]) -> str:
    """Return pairs (distance [Å], atom, atom) in words, the first dozen of them."""
    listed = ", ".join(f"{atoms[a].symbol} {a}–{atoms[b].symbol} {b} ({r:.2f} Å)" for r, a, b in pairs[:MOST])
    return listed + (f" and {len(pairs) - MOST} more" if len(pairs) > MOST else "")
