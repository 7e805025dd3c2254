"""Which atoms are bonded, and which too close, by distance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ase.data import chemical_symbols, covalent_radii
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from stem2sim.geometry.pairs import near_pairs

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

REACH = 1.25
"""Bonded up to this many times the sum of covalent radii: C-C 1.90, C-Si 2.34, C-H 1.34 Å. Measured positions scatter
by up to 0.1 Å, and the next neighbours of graphene are at 2.46 Å."""

BETWEEN = 0.8
"""Two atoms are not bonded where a third stands between them, nearer than this share of their distance to both: Mo-Mo
over S, or Si-Si over C. The sides of a ring of three are longer than that."""


def bonding_radii(atoms: Atoms) -> NDArray[np.float64]:
    """Return (atoms,) the radii [Å] within whose sum two atoms are bonded, unless a third stands between them."""
    return np.asarray(covalent_radii[atoms.numbers] * REACH, dtype=float)


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
    i, j, shift, vectors = near_pairs(atoms, bonding_radii(atoms))
    bonded = ~through_another(i, j, shift, vectors)
    return i[bonded], j[bonded], shift[bonded], vectors[bonded]


def through_another(
    i: NDArray[np.int64],
    j: NDArray[np.int64],
    shift: NDArray[np.int64],
    vectors: NDArray[np.float64],
    between: float = BETWEEN,
) -> NDArray[np.bool_]:
    """Return (pairs,) which of them, given both ways and sorted by i, have a third atom between.

    Args:
        i: (pairs,) one atom of each, as `near_pairs` returns all of these.
        j: (pairs,) the other.
        shift: (pairs, 3) cells between them.
        vectors: (pairs, 3) from the one to the other [Å].
        between: share of the distance that the third is nearer than to both.
    """
    count = np.bincount(i, minlength=1)
    first = np.cumsum(count) - count
    degree = count[i]
    long = np.repeat(np.arange(len(i)), degree)  # every pair, with every pair of the same first atom
    short = np.arange(len(long)) - np.repeat(np.cumsum(degree) - degree, degree) + first[i[long]]
    length = np.sqrt((vectors**2).sum(axis=1))
    limit = between * length[long]
    nearer = length[short] < limit
    long, short, limit = long[nearer], short[nearer], limit[nearer]
    stands = np.linalg.norm(vectors[long] - vectors[short], axis=1) < limit
    out = np.zeros(len(i), dtype=bool)
    out[long[stands]] = True
    if out.any():  # the third may be a pair with one of the two only
        out |= out[reverse(i, j, shift)]
    return out


def reverse(i: NDArray[np.int64], j: NDArray[np.int64], shift: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (pairs,) where the same pair stands the other way round, for pairs that are given both ways."""
    back = np.empty(len(i), dtype=np.int64)
    # sorted each by its own end, the two fall into the same places
    back[np.lexsort((-shift[:, 2], -shift[:, 1], -shift[:, 0], i, j))] = np.lexsort((*shift.T[::-1], j, i))
    return back


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
    found: list[list[int]] = [[] for _ in atoms]
    i, j, _ = bonds(atoms)
    for one, other in zip(i.tolist(), j.tolist(), strict=True):
        found[one].append(other)
        found[other].append(one)
    return found


def coordination(atoms: Atoms) -> dict[str, dict[int, int]]:
    """Return, for each species, how many atoms have how many bonded neighbours: {"C": {2: 12, 3: 42}}."""
    i, j, _ = bonds(atoms)
    number = np.bincount(np.concatenate([i, j]), minlength=len(atoms))
    counts: dict[str, dict[int, int]] = {}
    for species in sorted(set(atoms.get_chemical_symbols())):
        values, found = np.unique(number[atoms.symbols == species], return_counts=True)
        counts[species] = dict(zip(values.tolist(), found.tolist(), strict=True))
    return counts


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
    kinds = pair_kinds(atoms.numbers[i], atoms.numbers[j])
    return {str(kind): d[kinds == kind] for kind in np.unique(kinds)}


def pair_kinds(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.str_]:
    """Return (pairs,) names such as 'C-Si', the species in alphabetical order, of pairs of atomic numbers."""
    codes, which = np.unique(200 * np.asarray(one) + np.asarray(other), return_inverse=True)
    names = ["-".join(sorted((chemical_symbols[c // 200], chemical_symbols[c % 200]))) for c in codes.tolist()]
    return np.array(names, dtype=np.str_)[which.reshape(-1)] if names else np.zeros(0, dtype="<U1")
