"""Repairs of measured atoms, each a builder of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from ase import Atoms
from pydantic import Field, field_validator
from scipy.spatial import cKDTree

from stem2sim.errors import BadInput
from stem2sim.geometry.bonds import groups
from stem2sim.geometry.columns import topmost
from stem2sim.geometry.honeycomb import occupation
from stem2sim.geometry.pairs import SLACK
from stem2sim.lattice import GRAPHENE
from stem2sim.stages import Builder
from stem2sim.structure import ELEMENTS, extended
from stem2sim_hterm.columns import ALIKE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from stem2sim.segmentation import Segmentation
    from stem2sim.structure import Structure


class Merge(Builder):
    """Merge duplicate detections into one atom at the mean position, with the more probable species."""

    name: ClassVar[str] = "merge"

    distance: float = Field(1.0, gt=0, le=1.2, description="maximum in-plane distance of two atoms that are merged [Å]")

    def methods(self) -> str:
        """Return the sentence for the methods section."""
        return f"Atoms closer than {self.distance:g} Å to each other in the plane were merged into one."

    def build(self, structure: Structure, segmentation: Segmentation) -> Iterator[Structure]:
        """Yield the structure with one atom, or column, for each group of close ones; a finding lists them."""
        atoms = _flat(structure, self.name)
        column = _columns(atoms)
        first = np.unique(column, return_index=True)[1]
        xy = atoms.positions[first, :2]
        pairs = cKDTree(xy).query_pairs(max(self.distance - SLACK, 0.0), output_type="ndarray")
        group = groups(len(xy), *pairs.T)
        probability = atoms.arrays.get("probability", np.ones(len(atoms)))[first]
        made, gone, merged = atoms.copy(), np.zeros(len(xy), dtype=bool), []
        for number in np.unique(group[np.unique(pairs)]):
            members = np.flatnonzero(group == number)
            likeliest = members[np.argmax(probability[members])]
            weights = np.clip(probability[members], 1e-6, None)
            made.positions[column == likeliest, :2] = weights @ xy[members] / weights.sum()
            gone[members] = members != likeliest
            merged.append(" + ".join(f"{atoms[int(first[k])].symbol} {first[k]}" for k in members))
        finding = f"atoms found twice and merged: {', '.join(merged)}" if merged else "no atoms to merge"
        yield structure.after(self.provenance(), made[~gone[column]], f"{finding} (closer than {self.distance:g} Å)")


class Drop(Builder):
    """Remove isolated atoms and small isolated clusters."""

    name: ClassVar[str] = "drop"

    smallest: int = Field(6, ge=2, description="minimum size of a cluster to keep [atoms]")

    def methods(self) -> str:
        """Return the sentence for the methods section."""
        return f"Bonded groups of fewer than {self.smallest} atoms were removed."

    def build(self, structure: Structure, segmentation: Segmentation) -> Iterator[Structure]:
        """Yield the structure without its strays; a finding lists them.

        Raises:
            BadInput: nothing would be left.
        """
        atoms = structure.atoms
        i, j, _ = structure.bonds.once
        group = groups(len(atoms), i, j)
        kept = np.bincount(group)[group] >= self.smallest
        if not kept.any():
            raise BadInput(
                f"no group of {self.smallest} bonded atoms among {len(atoms)}; check the pixel size (bonded C-C is "
                "under 1.9 Å), or put place before drop"
            )
        strays = ", ".join(f"{atoms[int(k)].symbol} {k}" for k in np.flatnonzero(~kept))
        finding = f"stray atoms removed: {strays}" if strays else "no stray atoms"
        yield structure.after(self.provenance(), atoms[kept], finding)


class Fill(Builder):
    """Fill single vacancies: empty lattice sites whose neighbours are all present."""

    name: ClassVar[str] = "fill"

    lattice_constant: float = Field(GRAPHENE, gt=0, description="lattice constant of the honeycomb lattice [Å]")
    species: str = Field("C", description="species of the added atoms")

    def methods(self) -> str:
        """Return the sentence for the methods section."""
        return (
            f"Single vacant sites of the honeycomb lattice (a = {self.lattice_constant:g} Å) were filled with "
            f"{self.species}."
        )

    def elements(self) -> frozenset[str]:
        """Return the species of the atoms put in."""
        return frozenset({self.species})

    @field_validator("species")
    @classmethod
    def _known(cls, species: str) -> str:
        if species not in ELEMENTS:
            raise ValueError(f"'{species}' is no element")
        return species

    def build(self, structure: Structure, segmentation: Segmentation) -> Iterator[Structure]:
        """Yield the filled structure; added atoms have a probability of 0, for the image does not show them.

        Raises:
            BadInput: atoms without a honeycomb of this constant.
        """
        atoms = _flat(structure, self.name)
        if not topmost(atoms).all():
            raise BadInput("fill works on sheets of single atoms; this one has columns of two or more")
        sites = occupation(atoms.positions[:, :2], self.lattice_constant)
        if sites is None:
            raise BadInput(
                f"no honeycomb of {self.lattice_constant:g} Å among {len(atoms)} atoms; check lattice_constant, or put "
                "calibrate before fill"
            )
        places = np.column_stack([sites.empty, np.full(len(sites.empty), np.median(atoms.positions[:, 2]))])
        made = extended(atoms, Atoms([self.species] * len(places), positions=places))
        if made.has("probability"):
            made.arrays["probability"][len(atoms) :] = 0.0
        listed = ", ".join(f"x {x:.2f} y {y:.2f} Å" for x, y in sites.empty)
        finding = (
            f"vacant sites filled with {self.species}, which the image does not show: {listed}"
            if listed
            else "no vacant site"
        )
        yield structure.after(self.provenance(), made, finding)


def _flat(structure: Structure, name: str) -> Atoms:
    """The atoms of a sheet as it was measured: no cell, no hydrogen."""
    atoms: Atoms = structure.atoms
    if len(atoms) == 0:
        raise BadInput(f"there are no atoms to repair; put place before {name}")
    if atoms.pbc.any() or (atoms.numbers == 1).any():
        raise BadInput(f"{name} repairs a sheet as it was measured; put it before hterm, cell and periodic")
    return atoms


def _columns(atoms: Atoms) -> NDArray[np.int64]:
    """Number of the column that each atom stands in."""
    pairs = cKDTree(atoms.positions[:, :2]).query_pairs(ALIKE, output_type="ndarray")
    above = np.abs(np.diff(atoms.positions[pairs, 2], axis=1)).reshape(-1) > ALIKE
    return groups(len(atoms), *pairs[above].T)
