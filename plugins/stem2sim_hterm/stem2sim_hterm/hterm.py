"""Hydrogen on dangling bonds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.geometry import find_mic, get_distances
from numpy.typing import NDArray
from pydantic import Field

from stem2sim.errors import BadInput
from stem2sim.geometry.bonds import REACH, two_core
from stem2sim.geometry.columns import ADDED
from stem2sim.geometry.pairs import SLACK
from stem2sim.stages import Builder
from stem2sim.structure import Structure, extended
from stem2sim_hterm.edges import outer_edge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stem2sim.geometry.bonds import Bonds
    from stem2sim.segmentation import Segmentation

Floats = NDArray[np.float64]

HYDROGENS = {
    "B": {1: 2, 2: 1},
    "C": {1: 2, 2: 1},
    "N": {1: 1},  # twofold nitrogen at an edge is pyridine's: its lone pair is where a hydrogen would be
    "Si": {1: 3, 2: 2},
    "Ge": {1: 3, 2: 2},
    "O": {1: 1},
    "S": {1: 1},
    "P": {1: 2, 2: 1},
}
"""Species -> neighbours that it has -> hydrogens that it lacks. Others are left as they are, and that is told."""

LENGTHS = {"B": 1.19, "N": 1.01, "O": 0.96, "Si": 1.48, "P": 1.42, "S": 1.34, "Ge": 1.53}
"""[Å]; of bonds to hydrogen, as in BH3, NH3, H2O, SiH4, PH3, H2S and GeH4. That to carbon is an option."""

CROWDED = 1.5
"""[Å]; two hydrogens closer than this push each other out of the plane (van der Waals contact is at 2.4 Å)."""

TILTS = (0.0, 25.0, -25.0, 45.0, -45.0, 65.0, -65.0)
"""Angles [degrees] out of the plane that a hydrogen without room tries, in this order."""

SWEEPS = 4
"""Times that all crowded hydrogens try again: one that has moved may have made room for another."""

BRIDGE = 1.35
"""[Å]; longest bond of a hydrogen that two carbons share (in diborane, the model of such a bridge, it is 1.33)."""


@dataclass
class _Dangling:
    """An atom with the hydrogens it lacks."""

    atom: int
    ways: list[tuple[float, Floats]]
    """Tilt [degrees] and places (hydrogens, 3) [Å], the wanted one first."""
    way: int = 0

    @property
    def places(self) -> Floats:
        return self.ways[self.way][1]

    @property
    def tilt(self) -> float:
        return self.ways[self.way][0]


class Hterm(Builder):
    """Saturate edge atoms with hydrogen, as many as their species lacks, after removing stray atoms."""

    name: ClassVar[str] = "hterm"

    bond_length: float = Field(1.09, gt=0.9, lt=1.3, description="C-H bond length [Å]")
    terminate: Literal["all", "outer"] = Field(
        "all", description="outer leaves the edges of holes bare, for what is to bind there"
    )
    onefold: Literal["remove", "keep"] = Field(
        "remove", description="atoms with a single neighbour, and chains of them: strays, or to be terminated as well"
    )

    charge: int | None = Field(None, description="total charge; left out, the structure's own [e]")

    def elements(self) -> frozenset[str]:
        """Return hydrogen."""
        return frozenset({"H"})

    def methods(self) -> str:
        """Return it for a methods section."""
        return f"Dangling bonds were terminated with hydrogen (C-H {self.bond_length:g} Å)."

    def build(self, structure: Structure, segmentation: Segmentation) -> Iterator[Structure]:
        """Yield the terminated structure; what was removed, tilted, shared or left bare is among its findings."""
        if len(structure.atoms) == 0:
            raise BadInput("there are no atoms to terminate; put place before hterm")
        whole = structure.atoms
        around = structure.bonds.neighbours
        # what a step put there is no stray, and hydrogen has one neighbour by nature
        there = _added(whole) | (whole.numbers == 1)
        core = set(range(len(whole))) if self.onefold == "keep" else two_core(around, set(range(len(whole))))
        kept = [k for k, near in enumerate(around) if there[k] or (k in core and near)]
        removed = len(whole) - len(kept)
        if not kept:
            raise BadInput("no atom has two bonded neighbours; check the pixel size (bonded C-C is under 1.9 Å)")
        fewest = "two neighbours" if self.onefold == "remove" else "one neighbour"
        findings = [f"stray atoms (fewer than {fewest}) removed: {removed}"] if removed else []
        part = structure.part(kept)
        atoms = part.atoms
        wanting, bare, holes = self._wanting(part.bonds)
        _make_room(wanting, atoms)
        shared, dropped = _settle(wanting, atoms)
        tilted = [f"{atoms[one.atom].symbol} {one.atom} by {one.tilt:+.0f}°" for one in wanting if one.tilt]
        if tilted:
            findings.append(
                f"hydrogens tilted out of the plane to keep {CROWDED} Å from the next atom: {len(tilted)} "
                f"({', '.join(tilted)})"
            )
        findings += [f"one hydrogen shared by {_named(atoms, pair)}: two would clash" for pair, _ in shared]
        if holes:
            findings.append(f"edge atoms of holes left bare, as asked: {_named(atoms, holes)}")
        if bare + dropped:
            findings.append(f"edge atoms left without hydrogen: {_named(atoms, sorted(bare + dropped))}")
        places = np.array([p for one in wanting for p in one.places] + [p for _, p in shared]).reshape(-1, 3)
        made = structure.after(
            self.provenance(), extended(atoms, Atoms(f"H{len(places)}", positions=places)), *findings
        )
        made.check_distances()
        made = made if self.charge is None else made.model_copy(update={"charge": self.charge})
        if made.electrons < 0:
            raise BadInput(
                f"a charge of {made.charge} e takes more electrons than the {made.electrons + made.charge} there are"
            )
        parity = "even" if made.electrons % 2 == 0 else "odd"
        counted = (
            f"hydrogens added: {len(places)}; {made.electrons} electrons at charge {made.charge}: {parity}, "
            f"lowest multiplicity {made.multiplicity}"
        )
        yield made.model_copy(update={"findings": (*made.findings, counted)})

    def _wanting(self, bonds: Bonds) -> tuple[list[_Dangling], list[int], list[int]]:
        """Atoms that lack hydrogen; edge atoms of species that take none; and those of holes, where they stay bare."""
        atoms = bonds.atoms
        rim = outer_edge(bonds) if self.terminate == "outer" else np.ones(len(atoms), dtype=bool)
        wanting, bare, holes = [], [], []
        added = _added(atoms)  # an ad-atom is as it was asked for
        for k, bonded in enumerate(bonds.neighbours):
            symbol = atoms[k].symbol
            if symbol == "H" or added[k] or len(bonded) > 2 or not bonded:
                continue
            count = HYDROGENS.get(symbol, {}).get(len(bonded), 0)
            if count == 0:
                bare.append(k)
            elif not rim[k]:
                holes.append(k)
            else:
                length = self.bond_length if symbol == "C" else LENGTHS[symbol]
                vectors = find_mic(atoms.positions[bonded] - atoms.positions[k], atoms.cell, atoms.pbc)[0]
                ways = [(tilt, atoms.positions[k] + length * d) for tilt, d in _directions(vectors, count)]
                wanting.append(_Dangling(k, ways))
        return wanting, bare, holes


def _added(atoms: Atoms) -> NDArray[np.bool_]:
    return np.asarray(atoms.arrays.get("source", np.zeros(len(atoms))) == ADDED)


def _directions(vectors: Floats, count: int) -> list[tuple[float, Floats]]:
    """Directions (hydrogens, 3) away from the neighbours, for each tilt [degrees].

    One hydrogen beside two neighbours points away from both; two of them stand above and below, in a tetrahedron.
    Beside one neighbour, one goes on straight, two lie in the plane at 120 degrees, three complete a tetrahedron.
    """
    units = vectors / np.linalg.norm(vectors, axis=1)[:, None]
    outward = -units.sum(axis=0)
    normal = np.cross(units[0], units[-1])
    if len(units) == 1 or np.linalg.norm(normal) < 0.05:  # one bond, or a straight chain: the sheet lies in x, y
        outward = np.cross(units[0], [0.0, 0.0, 1.0]) if len(units) > 1 else outward
        normal = np.array([0.0, 0.0, 1.0]) - outward[2] * outward
    outward, normal = (v / np.linalg.norm(v) for v in (outward, normal))
    ways = []
    for tilt in TILTS:
        turn = np.radians(tilt)
        if len(units) == 1:  # turned about the bond
            side = np.cross(outward, normal)
            start, half = (0.0, np.radians(60)) if count < 3 else (np.radians(90), np.radians(70.5))
            around = [start + turn + 2 * np.pi * k / count for k in range(count)] if count > 1 else []
            rest = [np.cos(half) * outward + np.sin(half) * (np.cos(a) * side + np.sin(a) * normal) for a in around]
            ways.append((tilt, np.array(rest) if rest else outward[None]))
            continue
        away = np.cos(turn) * outward + np.sin(turn) * normal
        up = np.cos(turn) * normal - np.sin(turn) * outward
        half = np.radians(54.75)
        pair = [np.cos(half) * away + np.sin(half) * up, np.cos(half) * away - np.sin(half) * up]
        ways.append((tilt, np.array(pair if count == 2 else [away])))
    return ways


def _needed(numbers: NDArray[np.int64]) -> Floats:
    """Room [Å] that a hydrogen needs to atoms that it is not bound to; nearer than this, it would count as bound."""
    return np.asarray(np.maximum(CROWDED, REACH * (covalent_radii[1] + covalent_radii[numbers])))


def _room(one: _Dangling, places: Floats, wanting: list[_Dangling], atoms: Atoms) -> float:
    """Room [Å] that hydrogens of one atom have beyond what they need; negative where they are crowded."""
    rest = np.delete(np.arange(len(atoms)), one.atom)
    hydrogens = [o.places for o in wanting if o is not one]
    others = np.vstack([atoms.positions[rest], *hydrogens])
    numbers = np.concatenate([atoms.numbers[rest], np.ones(len(others) - len(rest), dtype=int)])
    near = get_distances(places, others, atoms.cell, atoms.pbc)[1] - _needed(numbers)
    return float(near.min()) if near.size else np.inf


def _make_room(wanting: list[_Dangling], atoms: Atoms) -> None:
    """Tilt hydrogens that are crowded, first come first tilted, until none is or nothing helps."""
    for _ in range(SWEEPS):
        crowded = [one for one in wanting if _room(one, one.places, wanting, atoms) < -SLACK]
        if not crowded:
            return
        for one in crowded:
            rooms = [_room(one, places, wanting, atoms) for _, places in one.ways]
            enough = [k for k, room in enumerate(rooms) if room >= -SLACK]
            one.way = enough[0] if enough else int(np.argmax(rooms))


def _settle(wanting: list[_Dangling], atoms: Atoms) -> tuple[list[tuple[list[int], Floats]], list[int]]:
    """Let two atoms whose hydrogens still clash share one, or one go without; return pairs and places, and those."""
    shared: list[tuple[list[int], Floats]] = []
    dropped: list[int] = []
    while True:
        crowded = [one for one in wanting if _room(one, one.places, wanting, atoms) < -SLACK]
        if not crowded:
            return shared, dropped
        one = min(crowded, key=lambda c: _room(c, c.places, wanting, atoms))
        others = [o for o in wanting if o is not one]
        gaps = [get_distances(one.places, o.places, atoms.cell, atoms.pbc)[1].min() for o in others]
        other = others[int(np.argmin(gaps))] if others and min(gaps) < CROWDED else None
        bridge = _bridge(one, other, wanting, atoms) if other is not None else None
        wanting.remove(one)
        if other is not None and bridge is not None:
            wanting.remove(other)
            shared.append((sorted([one.atom, other.atom]), bridge))
        else:
            dropped.append(one.atom)


def _bridge(one: _Dangling, other: _Dangling, wanting: list[_Dangling], atoms: Atoms) -> Floats | None:
    """Where one hydrogen would bind to both atoms, or None where that is too far or too crowded."""
    if len(one.places) > 1 or len(other.places) > 1:
        return None
    across = find_mic(atoms.positions[[other.atom]] - atoms.positions[one.atom], atoms.cell, atoms.pbc)[0][0]
    reach = float(np.linalg.norm(across))
    if reach > 2 * BRIDGE:
        return None
    middle = atoms.positions[one.atom] + across / 2
    lean = (one.places[0] - atoms.positions[one.atom]) + (other.places[0] - atoms.positions[other.atom])
    lean -= (lean @ across) * across / reach**2
    length = float(np.linalg.norm(lean))
    height = np.sqrt(max(1.2**2 - (reach / 2) ** 2, 0.0))
    place = middle + (height * lean / length if length > 1e-6 else 0.0)
    rest = np.delete(atoms.positions, [one.atom, other.atom], axis=0)
    standing = np.vstack([rest, *(o.places for o in wanting if o is not one and o is not other)])
    numbers = np.ones(len(standing), dtype=int)
    numbers[: len(rest)] = np.delete(atoms.numbers, [one.atom, other.atom])
    near = get_distances(place, standing, atoms.cell, atoms.pbc)[1][0] - _needed(numbers)
    return np.asarray(place) if near.min(initial=0.0) >= -SLACK else None


def _named(atoms: Atoms, which: list[int]) -> str:
    return ", ".join(f"{atoms[k].symbol} {k}" for k in which)
