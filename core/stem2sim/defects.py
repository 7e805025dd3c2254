"""Named defects of a sheet of three-fold bonded atoms, such as graphene, by the rings that are not hexagons."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stem2sim.bonds import neighbours
from stem2sim.rings import Ring, rings

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

PERFECT = 6
"""Atoms in a ring of the perfect sheet."""

WIDEST = 14
"""Atoms round a divacancy that has not closed; what is wider is a hole."""

NAMES = {
    (5, 5, 7, 7): "Stone-Wales 5-7-7-5",
    (5, 5, 8): "divacancy 5-8-5",
    (5, 5, 5, 7, 7, 7): "divacancy 555-777",
    (5, 5, 5, 5, 6, 7, 7, 7, 7): "divacancy 5555-6-7777",
    (5, 9): "monovacancy 5-9",
    (12,): "monovacancy",
    (14,): "divacancy",
    (5, 7): "dislocation 5-7",
}
"""Sizes of neighbouring odd rings -> what they are called (Banhart, Kotakoski and Krasheninnikov, ACS Nano 5, 26
(2011), doi 10.1021/nn102598m)."""


@dataclass(frozen=True)
class Defect:
    """One place where the sheet is not perfect."""

    name: str
    centre: tuple[float, float, float]
    """Middle of its rings [Å]; across a periodic border it may lie outside the cell."""
    atoms: tuple[int, ...]
    rings: tuple[int, ...] = ()
    """Sizes of its odd rings, sorted; none for a substitution."""

    def told(self) -> str:
        """Return name and place."""
        return f"{self.name} at x = {self.centre[0]:.2f}, y = {self.centre[1]:.2f} Å"


def defects(atoms: Atoms, host: str = "C") -> list[Defect]:
    """Return what the sheet has that a perfect one of `host` has not, from left to right.

    Odd rings that share an atom are one defect. The rim of a flake is none. A group of many pentagons and heptagons is
    a chain of dislocations: a grain boundary. A sheet that is not mostly of `host` has none that are known here.

    Args:
        atoms: of a sheet in the x, y plane, rippled or not; hydrogen counts for nothing.
        host: its element.
    """
    symbols = np.array(atoms.get_chemical_symbols())
    if 2 * (symbols == host).sum() < (symbols != "H").sum():  # not a sheet of it
        return []
    faces = rings(atoms)
    odd = [ring for ring in faces if len(ring) != PERFECT]
    found = [_named(atoms, group) for group in _groups(odd)]
    near = neighbours(atoms)
    for k in np.flatnonzero((symbols != host) & (symbols != "H")):
        bonded = [n for n in near[k] if atoms.numbers[n] != 1]
        if len(bonded) >= 3:
            name = f"{atoms.symbols[k]} with {len(bonded)} neighbours"
            found.append(Defect(name, _place(atoms.positions[k]), (int(k),)))
    return sorted(found, key=lambda one: (one.centre[0], one.centre[1]))


def _groups(odd: list[Ring]) -> list[list[Ring]]:
    """Odd rings that share an atom, together; a hole by itself, or it would swallow what lies at its rim."""
    groups: list[list[Ring]] = []
    for ring in odd:
        joined = [g for g in groups if len(ring) <= WIDEST and any(_touch(ring, other) for other in g)]
        for group in joined:
            groups.remove(group)
        groups.append([ring, *(other for group in joined for other in group)])
    return groups


def _touch(one: Ring, other: Ring) -> bool:
    return len(other) <= WIDEST and not set(one.atoms).isdisjoint(other.atoms)


def _named(atoms: Atoms, group: list[Ring]) -> Defect:
    sizes = tuple(sorted(len(ring) for ring in group))
    members = tuple(sorted({k for ring in group for k in ring.atoms}))
    # by the size of the rings: the wide one of a vacancy is where the atom is gone
    centre = _place(np.average([ring.centre for ring in group], axis=0, weights=[len(ring) ** 2 for ring in group]))
    return Defect(_name(sizes, group), centre, members, sizes)


def _name(sizes: tuple[int, ...], group: list[Ring]) -> str:
    if len(sizes) == 1 and sizes[0] > WIDEST:
        return f"hole of {sizes[0]} atoms"
    name = NAMES.get(sizes)
    if name == "Stone-Wales 5-7-7-5" and not _stone_wales(group):
        name = None
    if name is None and set(sizes) <= {5, 7, 8} and len(sizes) > 2:
        pairs = min(sizes.count(5), sizes.count(7) + sizes.count(8))
        return f"grain boundary, or chain of {pairs} dislocations" if pairs > 2 else _listed(sizes)
    return name or _listed(sizes)


def _stone_wales(group: list[Ring]) -> bool:
    """The two heptagons share a bond; of two dislocations beside each other they do not."""
    one, other = (ring for ring in group if len(ring) == 7)
    return len(set(one.atoms) & set(other.atoms)) == 2


def _listed(sizes: tuple[int, ...]) -> str:
    counts = Counter(sizes)
    return "rings of " + ", ".join(f"{size}" + (f" ({n})" if n > 1 else "") for size, n in sorted(counts.items()))


def _place(position: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = position.tolist()
    return x, y, z
