"""Which atoms are near each other, in a cell or none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

SLACK = 1e-6
"""[Å]; more than what rounding does to a distance."""


def near_pairs(
    atoms: Atoms, cutoff: float | NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return i, j, shift and vector [Å] of every pair closer than a cutoff, both ways, sorted by i, then j.

    The shift (pairs, 3) counts cells: j in that cell is the vector (pairs, 3) away from i. In a cell smaller than the
    cutoff an atom is its own neighbour. ASE's neighbour lists give the same pairs in ten times the time.

    Args:
        atoms: in any cell, or none.
        cutoff: one for all, or a radius for each atom whose sum counts [Å].
    """
    radii = None if np.ndim(cutoff) == 0 else np.asarray(cutoff, dtype=float)
    reach = float(cutoff) if radii is None else 2 * float(radii.max(initial=0.0))
    if len(atoms) == 0 or reach <= 0:
        none = np.zeros(0, dtype=np.int64)
        return none, none, np.zeros((0, 3), dtype=np.int64), np.zeros((0, 3))
    found = _across_borders(atoms, reach) if atoms.pbc.any() else _within(atoms.positions, reach)
    i, j, shift, vectors = found
    distance = np.sqrt((vectors**2).sum(axis=1))
    kept = np.flatnonzero(distance < (reach if radii is None else radii[i] + radii[j]))
    kept = kept[np.lexsort((j[kept], i[kept]))]
    return i[kept], j[kept], shift[kept], vectors[kept]


def _within(positions: NDArray[np.float64], reach: float) -> tuple[Any, Any, Any, Any]:
    pairs = cKDTree(positions).query_pairs(reach, output_type="ndarray")
    i, j = np.concatenate([pairs, pairs[:, ::-1]]).T
    return i, j, np.zeros((len(i), 3), dtype=np.int64), positions[j] - positions[i]


def _across_borders(atoms: Atoms, reach: float) -> tuple[Any, Any, Any, Any]:
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
    found = cKDTree(here).sparse_distance_matrix(cKDTree(there), reach + SLACK, output_type="ndarray")
    i, k = found["i"], found["j"]
    other = (i != number[k]) | cells[which[k]].any(axis=1)
    i, k = i[other], k[other]
    j = number[k]
    shift = cells[which[k]] - home[j] + home[i]
    # not there - here: the two directions of a pair must agree to the last bit, or one of them alone is within reach
    return i, j, shift, atoms.positions[j] - atoms.positions[i] + shift @ cell


def describe_pairs(atoms: Atoms, pairs: list[tuple[float, int, int]]) -> str:
    """Return pairs (distance [Å], atom, atom) in words, the first dozen of them."""
    told = ", ".join(f"{atoms[a].symbol} {a} - {atoms[b].symbol} {b} {r:.2f} Å" for r, a, b in pairs[:MOST])
    return told + (f" and {len(pairs) - MOST} more" if len(pairs) > MOST else "")


def pairs_within(atoms: Atoms, cutoff: float | NDArray[np.float64]) -> tuple[Any, Any, Any]:
    """Return i, j and distance [Å] of every pair closer than a cutoff, both ways, across periodic boundaries too.

    Args:
        atoms: in any cell, or none.
        cutoff: one for all, or a radius for each atom whose sum counts [Å].
    """
    i, j, _, vectors = near_pairs(atoms, cutoff)
    return i, j, np.linalg.norm(vectors, axis=1)


MOST = 12
"""Atoms or pairs named in one finding; all of them are in its list of atoms."""
