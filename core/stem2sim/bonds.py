"""Which atoms are bonded, and which too close, by distance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.neighborlist import natural_cutoffs, neighbor_list
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from numpy.typing import NDArray

REACH = 1.25
"""Bonded up to this many times the sum of covalent radii: C-C 1.90, C-Si 2.34, C-H 1.34 Å. Measured positions scatter
by up to 0.1 Å, and the next neighbours of graphene are at 2.46 Å."""

BETWEEN = 0.8
"""Two atoms are not bonded where a third stands between them, nearer than this share of their distance to both: Mo-Mo
over S, or Si-Si over C. The sides of a ring of three are longer than that."""


def pairs_within(atoms: Atoms, cutoff: float | NDArray[np.float64]) -> tuple[Any, Any, Any]:
    """Return i, j and distance [Å] of every pair closer than a cutoff, both ways, across periodic boundaries too.

    Args:
        atoms: in any cell, or none.
        cutoff: one for all, or a radius for each atom whose sum counts [Å].
    """
    i, j, d = neighbor_list("ijd", _boxed(atoms), cutoff)
    return i, j, d


def _boxed(atoms: Atoms) -> Atoms:
    """ASE's bins take seconds for a flat sheet without a box around it."""
    if atoms.pbc.any():
        return atoms
    boxed = Atoms(atoms.numbers, atoms.positions)
    boxed.center(vacuum=5.0)
    return boxed


def bonds(atoms: Atoms) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return i, j and length [Å] of every bond, once each (i < j), across periodic boundaries too."""
    i, j, _, vectors = bond_vectors(atoms)
    once = i < j
    return i[once], j[once], np.linalg.norm(vectors[once], axis=1)


def bond_vectors(
    atoms: Atoms,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return i, j, shift and vector [Å] of every bond, both ways.

    The shift (bonds, 3) counts cells: j in that cell is the vector (bonds, 3) away from i.
    """
    i, j, shift, vectors = neighbor_list("ijSD", _boxed(atoms), np.array(natural_cutoffs(atoms, mult=REACH)))
    bonded = ~_through_another(i, vectors)
    return i[bonded], j[bonded], shift[bonded], vectors[bonded]


def _through_another(i: NDArray[np.int64], vectors: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(pairs,) which of them, sorted by their first atom, have a third atom between."""
    count = np.bincount(i, minlength=1)
    first = np.cumsum(count) - count
    degree = count[i]
    long = np.repeat(np.arange(len(i)), degree)  # every pair, with every pair of the same first atom
    short = np.arange(len(long)) - np.repeat(np.cumsum(degree) - degree, degree) + first[i[long]]
    length = np.linalg.norm(vectors, axis=1)
    limit = BETWEEN * length[long]
    nearer = length[short] < limit
    long, short, limit = long[nearer], short[nearer], limit[nearer]
    between = np.linalg.norm(vectors[long] - vectors[short], axis=1) < limit
    out = np.zeros(len(i), dtype=bool)
    out[long[between]] = True
    return out


def bonded_across(atoms: Atoms) -> NDArray[np.bool_]:
    """Return (3,) along which vectors of the cell bonds go on without end: for a flake none, wherever it is wrapped."""
    i, j, shift, _ = bond_vectors(atoms)
    out = np.zeros(3, dtype=bool)
    if not shift.any():
        return out
    after: list[list[tuple[int, NDArray[np.int64]]]] = [[] for _ in atoms]
    for a, b, step in zip(i.tolist(), j.tolist(), shift, strict=True):
        after[a].append((b, step))
    cell: dict[int, NDArray[np.int64]] = {}  # in which each atom is, walking along bonds from the first of its group
    for start in range(len(atoms)):
        if start in cell:
            continue
        cell[start] = np.zeros(3, dtype=np.int64)
        front = [start]
        while front:
            a = front.pop()
            for b, step in after[a]:
                there = cell[a] + step
                if b not in cell:
                    cell[b] = there
                    front.append(b)
                else:
                    out |= there != cell[b]
    return out


def neighbours(atoms: Atoms) -> list[list[int]]:
    """Return the bonded neighbours of every atom."""
    near: list[list[int]] = [[] for _ in atoms]
    for i, j, _ in zip(*bonds(atoms), strict=True):
        near[i].append(int(j))
        near[j].append(int(i))
    return near


def groups(count: int, i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (count,) the number of the group that each belongs to, where i and j are joined."""
    joined = coo_array((np.ones(len(i)), (i, j)), shape=(count, count))
    return np.asarray(connected_components(joined, directed=False)[1], dtype=np.int64)


def two_core(near: list[list[int]], kept: set[int]) -> set[int]:
    """Return what is left of `kept` when atoms with fewer than two neighbours in it are removed until none is left.

    Args:
        near: as `neighbours` returns.
        kept: indices to start from.
    """
    kept = set(kept)
    loose = {k for k in kept if sum(n in kept for n in near[k]) < 2}
    while loose:
        kept -= loose
        touched = {n for k in loose for n in near[k] if n in kept}
        loose = {k for k in touched if sum(n in kept for n in near[k]) < 2}
    return kept


def apart(positions: NDArray[np.float64], rank: NDArray[np.float64], distance: float) -> NDArray[np.int64]:
    """Return indices of points no two of which are closer than `distance`: of such a pair, the higher rank stays.

    Args:
        positions: (points, dimensions), any unit.
        rank: (points,) the highest is kept first.
        distance: in the unit of the positions.
    """
    if len(positions) == 0:
        return np.zeros(0, dtype=np.int64)
    pairs = cKDTree(positions).query_pairs(distance * (1 - 1e-9), output_type="ndarray")
    crowd = np.unique(pairs)
    near: dict[int, list[int]] = {int(k): [] for k in crowd}
    for one, other in pairs.tolist():
        near[one].append(other)
        near[other].append(one)
    dropped: set[int] = set()
    for k in crowd[np.argsort(-rank[crowd], kind="stable")].tolist():
        if k not in dropped:
            dropped.update(near[k])
    return np.delete(np.arange(len(positions)), sorted(dropped))


def bond_lengths(atoms: Atoms) -> dict[str, NDArray[np.float64]]:
    """Return lengths [Å] by kind of bond, such as 'C-C', in alphabetical order."""
    i, j, d = bonds(atoms)
    symbols = np.array(atoms.get_chemical_symbols())
    kinds = np.array(["-".join(sorted(pair)) for pair in zip(symbols[i], symbols[j], strict=True)])
    return {str(kind): d[kinds == kind] for kind in np.unique(kinds)}
