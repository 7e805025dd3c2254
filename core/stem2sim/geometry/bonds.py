"""The bond graph of atoms, by their distances."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np
from ase.data import chemical_symbols, covalent_radii
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from stem2sim.geometry.pairs import SLACK, Pairs, near_pairs

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


@dataclass(frozen=True, eq=False)
class Bonds:
    """The bond graph of some atoms, across periodic boundaries too. `Structure.bonds` builds it once and keeps it."""

    atoms: Atoms
    """A copy of the atoms; what is done to the originals later does not reach it."""
    pairs: Pairs
    """Every bond both ways."""
    hidden: Pairs
    """Both ways, what is near enough for a bond but has a third atom between."""

    @classmethod
    def of(cls, atoms: Atoms) -> Self:
        """Return the bonds of atoms in any cell, or none."""
        return cls._of_pairs(atoms.copy(), near_pairs(atoms, bonding_radii(atoms)))

    @classmethod
    def _of_pairs(cls, atoms: Atoms, pairs: Pairs) -> Self:
        hidden = through_another(pairs)
        return cls(atoms, pairs.chosen(~hidden), pairs.chosen(hidden))

    def match(self, atoms: Atoms) -> bool:
        """Return whether these are the bonds of such atoms: species, places, cell and source are all equal."""
        return bool(self.atoms == atoms) and np.array_equal(
            self.atoms.arrays.get("source", ()), atoms.arrays.get("source", ())
        )

    def among(self, kept: NDArray[np.bool_] | NDArray[np.int64]) -> Self:
        """Return the bonds of a part of the atoms, as if the others were not there.

        Args:
            kept: a mask (atoms,), or the numbers of the part in ascending order.
        """
        numbers = np.arange(len(self.atoms))[kept]
        if len(numbers) == len(self.atoms):
            return self
        number = np.full(len(self.atoms), -1)
        number[numbers] = np.arange(len(numbers))
        pairs, hidden = self.pairs.renumbered(number), self.hidden.renumbered(number)
        if len(hidden.i) == 0:
            return type(self)(self.atoms[numbers], pairs, hidden)
        # the atom between may be one of the others
        i, j, shift, vectors = (np.concatenate(columns) for columns in zip(pairs, hidden, strict=True))
        order = np.lexsort((j, i))
        return self._of_pairs(self.atoms[numbers], Pairs(i, j, shift, vectors).chosen(order))

    @cached_property
    def once(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """i, j and length [Å] of every bond, once each (i < j)."""
        once = self.pairs.i < self.pairs.j
        return self.pairs.i[once], self.pairs.j[once], np.linalg.norm(self.pairs.vectors[once], axis=1)

    @cached_property
    def neighbours(self) -> list[list[int]]:
        """The bonded neighbours of every atom, in ascending order."""
        near: list[list[int]] = [[] for _ in self.atoms.numbers]
        for i, j in zip(self.pairs.i.tolist(), self.pairs.j.tolist(), strict=True):
            if i != j:
                near[i].append(j)
        return near

    @cached_property
    def repeats(self) -> NDArray[np.bool_]:
        """(3,) along which vectors of the cell bonds go on without end: for a flake none, wherever it is wrapped."""
        out = np.zeros(3, dtype=bool)
        if not self.pairs.shift.any():
            return out
        after: list[list[tuple[int, NDArray[np.int64]]]] = [[] for _ in self.atoms.numbers]
        for a, b, step in zip(self.pairs.i.tolist(), self.pairs.j.tolist(), self.pairs.shift, strict=True):
            after[a].append((b, step))
        cell: dict[int, NDArray[np.int64]] = {}  # of each atom, walking along bonds from the first of its group
        for start in range(len(self.atoms)):
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

    def coordination(self) -> dict[str, dict[int, int]]:
        """Return, for each species, how many atoms have how many bonded neighbours: {"C": {2: 12, 3: 42}}."""
        number = np.array([len(near) for near in self.neighbours], dtype=np.int64)
        counts: dict[str, dict[int, int]] = {}
        for species in sorted(set(self.atoms.get_chemical_symbols())):
            values, atoms = np.unique(number[self.atoms.symbols == species], return_counts=True)
            counts[species] = dict(zip(values.tolist(), atoms.tolist(), strict=True))
        return counts

    def lengths(self) -> dict[str, NDArray[np.float64]]:
        """Return lengths [Å] by kind of bond, such as 'C-C', in alphabetical order."""
        i, j, d = self.once
        kinds = pair_kinds(self.atoms.numbers[i], self.atoms.numbers[j])
        return {str(kind): d[kinds == kind] for kind in np.unique(kinds)}


def through_another(pairs: Pairs, between: float = BETWEEN) -> NDArray[np.bool_]:
    """Return (pairs,) which of them have a third atom between.

    Args:
        pairs: as `near_pairs` returns all of them.
        between: share of the distance that the third is nearer than to both.
    """
    i, vectors, length = pairs.i, pairs.vectors, pairs.lengths
    count = np.bincount(i, minlength=1)
    first = np.cumsum(count) - count
    degree = count[i]
    long = np.repeat(np.arange(len(i)), degree)  # every pair, with every pair of the same first atom
    short = np.arange(len(long)) - np.repeat(np.cumsum(degree) - degree, degree) + first[i[long]]
    limit = between * length[long]
    nearer = length[short] < limit
    long, short, limit = long[nearer], short[nearer], limit[nearer]
    stands = np.linalg.norm(vectors[long] - vectors[short], axis=1) < limit
    out = np.zeros(len(i), dtype=bool)
    out[long[stands]] = True
    if out.any():  # the third may be a pair with one of the two only
        out |= out[reverse(pairs)]
    return out


def reverse(pairs: Pairs) -> NDArray[np.int64]:
    """Return (pairs,) where the same pair stands the other way round."""
    i, j, shift, _ = pairs
    back = np.empty(len(i), dtype=np.int64)
    # sorted each by its own end, the two fall into the same places
    back[np.lexsort((-shift[:, 2], -shift[:, 1], -shift[:, 0], i, j))] = np.lexsort((*shift.T[::-1], j, i))
    return back


def groups(count: int, i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (count,) the number of the group that each belongs to, where i and j are joined."""
    joined = coo_array((np.ones(len(i)), (i, j)), shape=(count, count))
    return np.asarray(connected_components(joined, directed=False)[1], dtype=np.int64)


def two_core(near: list[list[int]], kept: set[int]) -> set[int]:
    """Return what is left of `kept` when atoms with fewer than two neighbours in it are removed until none is left.

    Args:
        near: as `Bonds.neighbours` has it.
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
    pairs = cKDTree(positions).query_pairs(max(distance - SLACK, 0.0), output_type="ndarray")
    crowd = np.unique(pairs)
    near: dict[int, list[int]] = {int(k): [] for k in crowd}
    for a, b in pairs.tolist():
        near[a].append(b)
        near[b].append(a)
    removed: set[int] = set()
    for k in crowd[np.argsort(-rank[crowd], kind="stable")].tolist():
        if k not in removed:
            removed.update(near[k])
    return np.delete(np.arange(len(positions)), sorted(removed))


def pair_kinds(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.str_]:
    """Return (pairs,) names such as 'C-Si', the species in alphabetical order, of pairs of atomic numbers."""
    codes, which = np.unique(200 * np.asarray(first) + np.asarray(second), return_inverse=True)
    names = ["-".join(sorted((chemical_symbols[c // 200], chemical_symbols[c % 200]))) for c in codes.tolist()]
    return np.array(names, dtype=np.str_)[which.reshape(-1)] if names else np.zeros(0, dtype="<U1")
