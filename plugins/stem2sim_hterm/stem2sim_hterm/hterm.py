"""Hydrogen on dangling bonds."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from ase import Atoms
from ase.geometry import find_mic
from numpy.typing import NDArray
from pydantic import Field

from stem2sim.errors import BadInput
from stem2sim.geometry.bonds import two_core
from stem2sim.geometry.columns import ADDED
from stem2sim.stages import Builder
from stem2sim.structure import Structure, extended
from stem2sim_hterm.crowding import CROWDED, Dangling, share_or_omit, tilt_crowded
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
"""Species -> neighbours that it has -> hydrogens that it lacks. Other species get none; a finding lists them."""

LENGTHS = {"B": 1.19, "N": 1.01, "O": 0.96, "Si": 1.48, "P": 1.42, "S": 1.34, "Ge": 1.53}
"""[Å]; of bonds to hydrogen, as in BH3, NH3, H2O, SiH4, PH3, H2S and GeH4. That to carbon is an option."""

TILTS = (0.0, 25.0, -25.0, 45.0, -45.0, 65.0, -65.0)
"""Angles [degrees] out of the plane that a hydrogen without room tries, in this order."""


class Hterm(Builder):
    """Passivate the dangling bonds of edge atoms with hydrogen, after removing stray atoms."""

    name: ClassVar[str] = "hterm"

    bond_length: float = Field(1.09, gt=0.9, lt=1.3, description="C–H bond length [Å]")
    terminate: Literal["all", "outer"] = Field(
        "all", description="edges to passivate: all, or outer only (edges of holes stay bare for an adsorbate)"
    )
    onefold: Literal["remove", "keep"] = Field(
        "remove",
        description="remove atoms with a single neighbour, and chains of them, or keep and passivate them",
    )
    charge: int | None = Field(None, description="total charge; default: the charge of the structure [e]")

    def elements(self) -> frozenset[str]:
        """Return hydrogen."""
        return frozenset({"H"})

    def methods(self) -> str:
        """Return the sentence for the methods section."""
        return f"Dangling bonds were passivated with hydrogen at a C–H bond length of {self.bond_length:g} Å."

    def build(self, structure: Structure, segmentation: Segmentation) -> Iterator[Structure]:
        """Yield the terminated structure; its findings list what was removed, tilted, shared or left bare.

        Raises:
            BadInput: no atoms, none with two neighbours, hydrogens that clash, or a charge beyond the electrons.
        """
        if len(structure.atoms) == 0:
            raise BadInput("there are no atoms to passivate; put place before hterm")
        whole = structure.atoms
        around = structure.bonds.neighbours
        # what a builder added is no stray, and hydrogen has one neighbour by nature
        safe = _added(whole) | (whole.numbers == 1)
        core = set(range(len(whole))) if self.onefold == "keep" else two_core(around, set(range(len(whole))))
        kept = [k for k, near in enumerate(around) if safe[k] or (k in core and near)]
        removed = len(whole) - len(kept)
        if not kept:
            raise BadInput("no atom has two bonded neighbours; check the pixel size (bonded C-C is under 1.9 Å)")
        fewest = "two neighbours" if self.onefold == "remove" else "one neighbour"
        findings = [f"stray atoms (fewer than {fewest}) removed: {removed}"] if removed else []
        part = structure.part(kept)
        atoms = part.atoms
        dangling, bare, holes = self._dangling(part.bonds)
        tilt_crowded(dangling, atoms)
        shared, omitted = share_or_omit(dangling, atoms)
        tilted = [f"{atoms[d.atom].symbol} {d.atom} by {d.tilt:+.0f}°" for d in dangling if d.tilt]
        if tilted:
            findings.append(
                f"hydrogen atoms tilted out of the plane to keep them {CROWDED} Å from other atoms: {len(tilted)} "
                f"({', '.join(tilted)})"
            )
        findings += [f"one hydrogen atom shared by {_listed(atoms, pair)}: two would clash" for pair, _ in shared]
        if holes:
            findings.append(f"edge atoms of holes left bare (terminate = outer): {_listed(atoms, holes)}")
        if bare + omitted:
            findings.append(f"edge atoms left without hydrogen: {_listed(atoms, sorted(bare + omitted))}")
        places = np.array([p for d in dangling for p in d.places] + [p for _, p in shared]).reshape(-1, 3)
        made = structure.after(
            self.provenance(), extended(atoms, Atoms(f"H{len(places)}", positions=places)), *findings
        )
        made.check_distances()
        made = made if self.charge is None else made.model_copy(update={"charge": self.charge})
        if made.electrons < 0:
            raise BadInput(
                f"a charge of {made.charge} e removes more electrons than the {made.electrons + made.charge} there are"
            )
        count = (
            f"{len(places)} hydrogen atoms added; {made.electrons} electrons (charge {made.charge}), lowest spin "
            f"multiplicity {made.multiplicity}"
        )
        yield made.model_copy(update={"findings": (*made.findings, count)})

    def _dangling(self, bonds: Bonds) -> tuple[list[Dangling], list[int], list[int]]:
        """Atoms that lack hydrogen; edge atoms of species that take none; and those of holes, where they stay bare."""
        atoms = bonds.atoms
        rim = outer_edge(bonds) if self.terminate == "outer" else np.ones(len(atoms), dtype=bool)
        dangling, bare, holes = [], [], []
        added = _added(atoms)  # an adatom stays as it was placed
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
                dangling.append(Dangling(k, ways))
        return dangling, bare, holes


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


def _listed(atoms: Atoms, which: list[int]) -> str:
    return ", ".join(f"{atoms[k].symbol} {k}" for k in which)
