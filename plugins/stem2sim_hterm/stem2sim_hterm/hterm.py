"""Hydrogen on dangling bonds."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from ase import Atoms
from ase.geometry import find_mic, get_distances
from pydantic import Field

from stem2sim.bonds import neighbours, two_core
from stem2sim.errors import BadInput
from stem2sim.stages import Builder
from stem2sim.structure import ADDED, CLOSEST, Structure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from stem2sim.segmentation import Segmentation

CROWDED = 1.5
"""[Å]; two hydrogens closer than this push each other out of the plane (van der Waals contact is at 2.4 Å)."""

TILTS = (0.0, 25.0, -25.0, 45.0, -45.0, 65.0, -65.0)
"""Angles [degrees] out of the plane that a hydrogen without room tries, in this order."""


class Hterm(Builder):
    """Saturate each twofold-coordinated edge carbon with one hydrogen, after removing stray atoms."""

    name: ClassVar[str] = "hterm"

    bond_length: float = Field(1.09, gt=0.9, lt=1.3, description="C-H bond length [Å]")

    def build(self, structure: Structure, segmentation: Segmentation) -> Iterator[Structure]:
        """Yield the terminated structure; what was removed, tilted or left bare is among its findings."""
        if len(structure.atoms) == 0:
            raise BadInput("there are no atoms to terminate; put place before hterm")
        whole = structure.atoms
        kept = sorted(two_core(neighbours(whole), set(range(len(whole)))))  # no strays: each has two neighbours
        atoms, removed = whole[kept], len(whole) - len(kept)
        if len(atoms) == 0:
            raise BadInput("no atom has two bonded neighbours; check the pixel size (bonded C-C is under 1.9 Å)")
        findings = [f"stray atoms (fewer than two neighbours) removed: {removed}"] if removed else []
        near = neighbours(atoms)
        hydrogens: list[NDArray[np.float64]] = []
        tilted, bare = 0, []
        for k, bonded in enumerate(near):
            if len(bonded) != 2:
                continue
            if atoms[k].symbol != "C":
                bare.append(f"{atoms[k].symbol} {k}")
                continue
            place, angle = self._room(atoms, k, bonded, hydrogens)
            if place is None:
                bare.append(f"C {k}")
                continue
            tilted += angle != 0
            hydrogens.append(place)
        if tilted:
            findings.append(f"hydrogens tilted out of the plane to keep {CROWDED} Å from the next atom: {tilted}")
        if bare:
            findings.append(f"edge atoms left without hydrogen: {', '.join(bare)}")
        made = structure.after(self.provenance(), _with_hydrogen(atoms, hydrogens), *findings)
        made.check_distances()
        parity = "even" if made.electrons % 2 == 0 else "odd"
        counted = (
            f"hydrogens added: {len(hydrogens)}; {made.electrons} electrons at charge {made.charge}: {parity}, "
            f"lowest multiplicity {made.multiplicity}"
        )
        yield made.model_copy(update={"findings": (*made.findings, counted)})

    def _room(
        self, atoms: Atoms, k: int, bonded: list[int], hydrogens: list[NDArray[np.float64]]
    ) -> tuple[NDArray[np.float64] | None, float]:
        """Where the hydrogen of atom k has room, and the tilt [degrees] it took; None where it has none."""
        vectors = find_mic(atoms.positions[bonded] - atoms.positions[k], atoms.cell, atoms.pbc)[0]
        units = vectors / np.linalg.norm(vectors, axis=1)[:, None]
        normal = np.cross(units[0], units[1])
        if np.linalg.norm(normal) < 0.05:  # a straight chain has no outside: any direction across it will do
            outward = np.cross(units[0], [0.0, 0.0, 1.0])
            outward /= np.linalg.norm(outward)
            normal = np.cross(units[0], outward)
        else:
            outward = -(units[0] + units[1])
            outward /= np.linalg.norm(outward)
            normal /= np.linalg.norm(normal)
        others = np.delete(atoms.positions, [k, *bonded], axis=0)
        standing = np.vstack([others, *hydrogens]) if hydrogens else others
        best: tuple[float, NDArray[np.float64], float] | None = None
        for tilt in TILTS:
            turn = np.radians(tilt)
            place = atoms.positions[k] + self.bond_length * (np.cos(turn) * outward + np.sin(turn) * normal)
            room = float(get_distances(place, standing, atoms.cell, atoms.pbc)[1].min()) if len(standing) else np.inf
            if best is None or room > best[0]:
                best = room, place, tilt
            if room >= CROWDED:
                break
        assert best is not None  # TILTS is not empty
        return (best[1], best[2]) if best[0] > CLOSEST else (None, 0.0)


def _with_hydrogen(atoms: Atoms, places: list[NDArray[np.float64]]) -> Atoms:
    whole: Atoms = atoms.copy()
    if not places:
        return whole
    added = Atoms("H" * len(places), positions=places)
    for name, value in (("source", ADDED), ("probability", 1.0), ("position_std", np.nan)):
        if whole.has(name):
            added.set_array(name, np.full(len(added), value))
    whole.extend(added)
    return whole
