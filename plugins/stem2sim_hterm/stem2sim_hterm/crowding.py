"""Room for hydrogens: those that would clash are tilted out of the plane, shared by two atoms, or left off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase.data import covalent_radii
from ase.geometry import find_mic, get_distances
from numpy.typing import NDArray

from stem2sim.geometry.bonds import REACH
from stem2sim.geometry.pairs import SLACK

if TYPE_CHECKING:
    from ase import Atoms

Floats = NDArray[np.float64]

CROWDED = 1.5
"""[Å]; two hydrogens closer than this push each other out of the plane (van der Waals contact is at 2.4 Å)."""

SWEEPS = 4
"""Times that all crowded hydrogens try again: one that has moved may have made room for another."""

BRIDGE = 1.35
"""[Å]; longest bond of a hydrogen that two carbons share (in diborane, the model of such a bridge, it is 1.33)."""


@dataclass
class Dangling:
    """An atom with the hydrogens it lacks."""

    atom: int
    ways: list[tuple[float, Floats]]
    """Tilt [degrees] and places (hydrogens, 3) [Å], the preferred one first."""
    way: int = 0

    @property
    def places(self) -> Floats:
        """Places (hydrogens, 3) [Å]."""
        return self.ways[self.way][1]

    @property
    def tilt(self) -> float:
        """Tilt out of the plane [degrees]."""
        return self.ways[self.way][0]


def _needed(numbers: NDArray[np.int64]) -> Floats:
    """Room [Å] that a hydrogen needs to atoms that it is not bound to; nearer than this, it would count as bound."""
    return np.asarray(np.maximum(CROWDED, REACH * (covalent_radii[1] + covalent_radii[numbers])))


def _room(dangling: Dangling, places: Floats, every: list[Dangling], atoms: Atoms) -> float:
    """Room [Å] that hydrogens of one atom have beyond what they need; negative where they are crowded."""
    rest = np.delete(np.arange(len(atoms)), dangling.atom)
    hydrogens = [d.places for d in every if d is not dangling]
    around = np.vstack([atoms.positions[rest], *hydrogens])
    numbers = np.concatenate([atoms.numbers[rest], np.ones(len(around) - len(rest), dtype=int)])
    near = get_distances(places, around, atoms.cell, atoms.pbc)[1] - _needed(numbers)
    return float(near.min()) if near.size else np.inf


def _crowded(every: list[Dangling], atoms: Atoms) -> list[Dangling]:
    return [d for d in every if _room(d, d.places, every, atoms) < -SLACK]


def tilt_crowded(every: list[Dangling], atoms: Atoms) -> None:
    """Tilt hydrogens that are crowded, first come first tilted, until none is or nothing helps."""
    for _ in range(SWEEPS):
        crowded = _crowded(every, atoms)
        if not crowded:
            return
        for dangling in crowded:
            rooms = [_room(dangling, places, every, atoms) for _, places in dangling.ways]
            enough = [k for k, room in enumerate(rooms) if room >= -SLACK]
            dangling.way = enough[0] if enough else int(np.argmax(rooms))


def share_or_omit(every: list[Dangling], atoms: Atoms) -> tuple[list[tuple[list[int], Floats]], list[int]]:
    """Let two atoms whose hydrogens still clash share one, or leave one without.

    Args:
        every: atoms that lack hydrogens; those that clash are taken out of the list.
        atoms: of the structure.

    Returns:
        Pairs of atoms with the place (3,) [Å] of the hydrogen that they share, and atoms without one.
    """
    shared: list[tuple[list[int], Floats]] = []
    omitted: list[int] = []
    while crowded := _crowded(every, atoms):
        worst = min(crowded, key=lambda d: _room(d, d.places, every, atoms))
        rest = [d for d in every if d is not worst]
        gaps = [get_distances(worst.places, d.places, atoms.cell, atoms.pbc)[1].min() for d in rest]
        nearest = rest[int(np.argmin(gaps))] if rest and min(gaps) < CROWDED else None
        bridge = _bridge(worst, nearest, every, atoms) if nearest is not None else None
        every.remove(worst)
        if nearest is not None and bridge is not None:
            every.remove(nearest)
            shared.append((sorted([worst.atom, nearest.atom]), bridge))
        else:
            omitted.append(worst.atom)
    return shared, omitted


def _bridge(first: Dangling, second: Dangling, every: list[Dangling], atoms: Atoms) -> Floats | None:
    """Where one hydrogen would bind to both atoms, or None where that is too far or too crowded."""
    if len(first.places) > 1 or len(second.places) > 1:
        return None
    across = find_mic(atoms.positions[[second.atom]] - atoms.positions[first.atom], atoms.cell, atoms.pbc)[0][0]
    reach = float(np.linalg.norm(across))
    if reach > 2 * BRIDGE:
        return None
    middle = atoms.positions[first.atom] + across / 2
    lean = (first.places[0] - atoms.positions[first.atom]) + (second.places[0] - atoms.positions[second.atom])
    lean -= (lean @ across) * across / reach**2
    length = float(np.linalg.norm(lean))
    height = np.sqrt(max(1.2**2 - (reach / 2) ** 2, 0.0))
    place = middle + (height * lean / length if length > 1e-6 else 0.0)
    rest = np.delete(atoms.positions, [first.atom, second.atom], axis=0)
    standing = np.vstack([rest, *(d.places for d in every if d is not first and d is not second)])
    numbers = np.ones(len(standing), dtype=int)
    numbers[: len(rest)] = np.delete(atoms.numbers, [first.atom, second.atom])
    near = get_distances(place, standing, atoms.cell, atoms.pbc)[1][0] - _needed(numbers)
    return np.asarray(place) if near.min(initial=0.0) >= -SLACK else None
