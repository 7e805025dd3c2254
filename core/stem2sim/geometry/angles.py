"""Bond angles, by kind and by ring."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ase.data import chemical_symbols

from stem2sim.geometry.rings import faces, of_the_sheet

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stem2sim.geometry.bonds import Bonds
    from stem2sim.geometry.pairs import Pairs

TIP = 0.01
"""[degrees]; a ring that goes to an atom and back, as to a dangling one in a hole, goes all the way round it: 360°."""


def angles(bonds: Bonds) -> dict[str, NDArray[np.float64]]:
    """Return angles [degrees] by kind, such as 'C-Si-C': the atom in the middle, the ends in alphabetical order."""
    kinds, degrees = angles_between(bonds.atoms.numbers, bonds.pairs)
    return {name_of(kind): degrees[kinds == kind] for kind in sorted(np.unique(kinds).tolist(), key=name_of)}


def angles_between(numbers: NDArray[np.int64], pairs: Pairs) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the kind of every angle, as a number that `name_of` reads, and the angle [degrees].

    Args:
        numbers: (atoms,) atomic.
        pairs: the bonds between them, sorted by their first atom.
    """
    i, j, _, vectors = pairs
    count = np.bincount(i, minlength=1)
    degree = count[i]
    first = np.repeat(np.arange(len(i)), degree)  # every bond, with every bond of the same first atom
    second = np.arange(len(first)) - np.repeat(np.cumsum(degree) - degree, degree)
    second += (np.cumsum(count) - count)[i[first]]
    first, second = first[once := first < second], second[once]
    length = pairs.lengths
    cosine = (vectors[first] * vectors[second]).sum(axis=1) / (length[first] * length[second])
    ends = np.sort(np.stack([numbers[j[first]], numbers[j[second]]]), axis=0)
    kinds = (ends[0] * 200 + numbers[i[first]]) * 200 + ends[1]
    return kinds, np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def name_of(kind: int) -> str:
    """Return the name of a kind of angle."""
    ends = sorted((chemical_symbols[kind // 40000], chemical_symbols[kind % 200]))
    return f"{ends[0]}-{chemical_symbols[kind // 200 % 200]}-{ends[1]}"


def ring_angles(bonds: Bonds) -> dict[int, NDArray[np.float64]]:
    """Return the angles inside rings [degrees], holes too, by the size of the ring: {6: (rings, 6), ...}.

    Over 180° where a ring turns outwards. In a flat ring of n they add up to (n - 2) 180°, in a rippled one to less.
    """
    return {size: _inside(xyz) for size, xyz in _corners(bonds).items()}


def ring_bond_lengths(bonds: Bonds) -> dict[int, NDArray[np.float64]]:
    """Return the lengths [Å] of the bonds round rings, holes too, by the size of the ring: {6: (rings, 6), ...}."""
    return {size: np.linalg.norm(xyz, axis=2) for size, xyz in _corners(bonds).items()}


def _inside(steps: NDArray[np.float64]) -> NDArray[np.float64]:
    back = -np.roll(steps, 1, axis=1)
    cosine = (steps * back).sum(axis=2) / (np.linalg.norm(steps, axis=2) * np.linalg.norm(back, axis=2))
    degrees = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    outwards = steps[..., 0] * back[..., 1] - steps[..., 1] * back[..., 0] < 0
    outwards |= degrees < TIP
    return np.asarray(np.where(outwards, 360 - degrees, degrees))


def _corners(bonds: Bonds) -> dict[int, NDArray[np.float64]]:
    """Size -> (rings, size, 3) the bond from each atom of a ring to the next [Å]."""
    sheet = bonds.among(of_the_sheet(bonds.atoms))
    every = faces(sheet.atoms.positions, sheet.pairs)
    return {
        int(size): np.stack([every.steps[every.first[k] : every.first[k] + size] for k in np.flatnonzero(kept)])
        for size in np.unique(every.size[every.ring])
        if (kept := every.ring & (every.size == size)).any()
    }
