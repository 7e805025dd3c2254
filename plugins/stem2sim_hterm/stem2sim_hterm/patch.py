"""A part of the frame, small enough for an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from ase.data import atomic_numbers
from pydantic import Field, model_validator
from scipy.spatial import cKDTree

from stem2sim.bonds import neighbours, two_core
from stem2sim.errors import BadInput
from stem2sim.stages import Builder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ase import Atoms
    from numpy.typing import NDArray

    from stem2sim.segmentation import Segmentation
    from stem2sim.structure import Structure


class Patch(Builder):
    """Cut out a connected patch of atoms: the most certain one, or the one around a point."""

    name: ClassVar[str] = "patch"

    size: int = Field(60, ge=6, description="most atoms in the patch")
    center: tuple[float, float] | None = Field(None, description="x, y of the patch's centre in the frame [Å]")
    contains: str = Field(
        "impurity",
        description="what the patch is centred on: a species, 'impurity' (the rarest species, where there are several)"
        " or 'any'",
    )

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.contains not in ("impurity", "any") and self.contains not in atomic_numbers:
            raise ValueError(f"contains must be 'impurity', 'any' or a species such as 'Si', got '{self.contains}'")
        return self

    def build(self, structure: Structure, segmentation: Segmentation) -> Iterator[Structure]:
        """Yield the patch, atoms with fewer than two neighbours in it left behind."""
        atoms = structure.atoms
        if len(atoms) == 0:
            raise BadInput("there are no atoms to cut a patch from; put place before patch")
        xy = _in_the_frame(atoms, segmentation)
        near = neighbours(atoms)
        if self.center is not None:
            centre = np.array(self.center)
            low, high = xy.min(axis=0), xy.max(axis=0)
            if (centre < low).any() or (centre > high).any():
                raise BadInput(
                    f"center {tuple(self.center)} Å is outside the atoms, which span x {low[0]:.1f} to {high[0]:.1f} Å "
                    f"and y {low[1]:.1f} to {high[1]:.1f} Å"
                )
            kept = _cut(xy, near, centre, self.size)
            findings: list[str] = []
            finding = f"patch around x = {centre[0]:.2f}, y = {centre[1]:.2f} Å"
        else:
            chosen, kept, findings = self._most_certain(atoms, near)
            centre = xy[chosen]
            where = f"{atoms[chosen].symbol} at x = {centre[0]:.2f}, y = {centre[1]:.2f} Å"
            finding = f"patch around {where}, the most certain one"
        if len(kept) < 6:
            raise BadInput(
                f"only {len(kept)} connected atoms around x = {centre[0]:.2f}, y = {centre[1]:.2f} Å; "
                "choose another center, or check the pixel size (bonded C-C is under 1.9 Å)"
            )
        patch = atoms[kept]
        probability = atoms.arrays.get("probability", np.ones(len(atoms)))[kept]
        finding += f": {len(kept)} of {len(atoms)} atoms, least probability {probability.min():.3f}"
        yield structure.after(self.provenance(), patch, *findings, finding)

    def _most_certain(self, atoms: Atoms, near: list[list[int]]) -> tuple[int, list[int], list[str]]:
        """The atom of the wanted kind with the most certain surroundings, the patch around it, and what to tell."""
        symbols = np.array(atoms.get_chemical_symbols())
        wanted = self.contains
        if wanted == "impurity":
            kinds, counts = np.unique(symbols, return_counts=True)
            wanted = str(kinds[np.argmin(counts)]) if len(kinds) > 1 else "any"
        if wanted not in symbols and wanted != "any":
            raise BadInput(f"no {wanted} among the atoms; there are {', '.join(sorted(set(symbols)))}")
        ranked = [(wanted, k) for k in _by_certainty(atoms, near, wanted, self.size)]
        if self.contains == "impurity" and wanted != "any":
            ranked += [("any", k) for k in _by_certainty(atoms, near, "any", self.size)]
        for kind, chosen in ranked:
            kept = _cut(atoms.positions[:, :2], near, atoms.positions[chosen, :2], self.size)
            if chosen in kept:
                told = f"no {wanted} has two bonded neighbours: the patch is centred on another atom"
                return chosen, kept, [told] if kind != wanted else []
        what = "an atom" if wanted == "any" else wanted
        raise BadInput(
            f"no patch of up to {self.size} atoms holds {what} with two bonded neighbours; "
            "choose another size, or contains = 'any', or check the pixel size"
        )


def _in_the_frame(atoms: Atoms, segmentation: Segmentation) -> NDArray[np.float64]:
    """x, y [Å] as the frame shows them: the structure may be on another scale."""
    source = atoms.arrays.get("source")
    if source is None or len(source) == 0 or not 0 <= source.min() <= source.max() < len(segmentation.atoms):
        return np.asarray(atoms.positions[:, :2])
    return np.asarray(segmentation.atoms.positions[source])


def _by_certainty(atoms: Atoms, near: list[list[int]], kind: str, size: int) -> list[int]:
    """Atoms of a kind that have two neighbours, those with the most probable and least cut surroundings first."""
    bonded = two_core(near, set(range(len(atoms))))
    symbols = atoms.get_chemical_symbols()
    candidates = np.array([k for k in sorted(bonded) if kind in ("any", symbols[k])], dtype=int)
    if len(candidates) == 0:
        return []
    probability = np.clip(atoms.arrays.get("probability", np.ones(len(atoms))), 1e-6, 1.0)
    # an atom that lacks a neighbour costs as much as one that is there with a probability of one in three
    score = np.log(probability) - 1.1 * np.clip(3 - np.array([len(n) for n in near]), 0, None)
    xy = atoms.positions[:, :2]
    count = min(size, len(atoms))
    around = cKDTree(xy).query(xy[candidates], k=count)[1].reshape(len(candidates), count)
    # the frame's border cuts the disc of nearest atoms: the further its mean lies off centre, the more is missing
    off_centre = np.hypot(*(xy[around].mean(axis=1) - xy[candidates]).T)
    order = np.argsort(off_centre - score[around].mean(axis=1), kind="stable")
    return [int(k) for k in candidates[order]]


def _cut(xy: NDArray[np.float64], near: list[list[int]], centre: NDArray[np.float64], size: int) -> list[int]:
    """Of the nearest atoms, as many as leave a connected patch of at most `size` in which each has two neighbours."""
    order = np.argsort(np.hypot(*(xy - centre).T), kind="stable")
    best: list[int] = []
    for count in range(min(size, len(order)), len(order) + 1):
        kept = two_core(near, set(order[:count].tolist()))
        part = _connected(near, kept, next((int(k) for k in order if int(k) in kept), -1))
        if len(part) > size:
            break
        if len(part) > len(best):
            best = sorted(part)
        if len(best) == size or count > 2 * size:
            break
    return best


def _connected(near: list[list[int]], kept: set[int], start: int) -> set[int]:
    found: set[int] = {start} & kept
    front = list(found)
    while front:
        front = [n for n in {n for k in front for n in near[k]} if n in kept and n not in found]
        found.update(front)
    return found
