"""Distributions of distances and angles, gathered frame by frame."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
from ase.data import chemical_symbols

from stem2sim.geometry.angles import angles_between, name_of
from stem2sim.geometry.pairs import near_pairs

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

    from stem2sim.geometry.pairs import Pairs

FARTHEST = 6.0
"""[Å]; up to here neighbours are counted."""

WIDTH = 0.05
"""[Å] of a bin."""

BINS = round(FARTHEST / WIDTH)


class RadialDistribution:
    """How many neighbours an atom has at which distance.

    Neighbours per atom and per Å, 4 π r² ρ g(r): it needs no volume, so that it holds for flakes as for cells. The
    integral over a peak is the number of neighbours in it.
    """

    def __init__(self) -> None:
        """Start without a frame."""
        self._counts: dict[int, NDArray[np.int64]] = {}
        self._atoms: Counter[int] = Counter()

    def add(self, atoms: Atoms) -> None:
        """Count the pairs of one more frame."""
        pairs = near_pairs(atoms, FARTHEST)
        species, which = np.unique(atoms.numbers, return_inverse=True)
        self._atoms.update(atoms.numbers.tolist())
        place = np.minimum((pairs.lengths / WIDTH).astype(np.int64), BINS - 1)
        pair = which[pairs.i] * len(species) + which[pairs.j]
        found = np.bincount(pair * BINS + place, minlength=len(species) ** 2 * BINS).reshape(-1, BINS)
        for k, counts in enumerate(found):
            code = int(200 * species[k // len(species)] + species[k % len(species)])
            self._counts[code] = self._counts.get(code, np.zeros(BINS, dtype=np.int64)) + counts

    def describe(self) -> dict[str, list[float]]:
        """Return, for 'C-Si', silicon around each carbon, per Å, in bins of 0.05 Å from 0 to 6 Å; 'Si-C' by itself."""
        return {
            f"{chemical_symbols[code // 200]}-{chemical_symbols[code % 200]}": (
                (counts / (self._atoms[code // 200] * WIDTH)).round(6).tolist()
            )
            for code, counts in sorted(self._counts.items())
        }


class AngleDistribution:
    """How often bonds meet at which angle."""

    def __init__(self) -> None:
        """Start without a frame."""
        self._counts: dict[int, NDArray[np.int64]] = {}

    def add(self, numbers: NDArray[np.int64], bonds: Pairs) -> None:
        """Count the angles of one more frame.

        Args:
            numbers: (atoms,) atomic.
            bonds: between them.
        """
        kinds, degrees = angles_between(numbers, bonds)
        place = np.minimum(degrees.astype(np.int64), 179)
        for kind in np.unique(kinds).tolist():
            counts = np.bincount(place[kinds == kind], minlength=180)
            self._counts[kind] = self._counts.get(kind, np.zeros(180, dtype=np.int64)) + counts

    def describe(self) -> dict[str, list[float]]:
        """Return, by kind, the share of the angles in each degree from 0 to 180; each adds up to 1."""
        return {name_of(kind): (c / c.sum()).round(8).tolist() for kind, c in sorted(self._counts.items())}
