"""Atoms that stay where they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np
from ase.constraints import FixAtoms, FixCartesian
from pydantic import Field, model_validator

from stem2sim.analysis.placement import in_frame
from stem2sim.errors import BadInput
from stem2sim.stages import Builder
from stem2sim.structure import ELEMENTS
from stem2sim_hterm.edges import outer_edge
from stem2sim_hterm.region import Region

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from stem2sim.geometry.bonds import Bonds
    from stem2sim.segmentation import Segmentation
    from stem2sim.structure import Structure

Axes = Literal["xyz", "xy", "z"]


class Constrain(Region, Builder):
    """Fix atoms: the perimeter, hydrogen, a species, a region, or high-probability atoms."""

    name: ClassVar[str] = "constrain"

    hold: Literal["perimeter", "hydrogen", "all", "none"] = Field(
        "perimeter",
        description="perimeter: outermost atoms and their hydrogens; all: every atom selected by the other options; "
        "none: no constraint",
    )
    axes: Axes = Field("xyz", description="fixed directions; xy leaves z free")
    species: tuple[str, ...] | None = Field(None, description="fix only atoms of these species")
    least_probability: float | None = Field(
        None, ge=0, le=1, description="fix only atoms with at least this probability"
    )

    @model_validator(mode="after")
    def _known(self) -> Self:
        unknown = sorted(set(self.species or ()) - ELEMENTS)
        if unknown:
            raise ValueError(f"no such species: {', '.join(unknown)}")
        return self

    def methods(self) -> str:
        """Return the sentence for the methods section."""
        if self.hold == "none":
            return "No atoms were fixed."
        return f"Atoms were fixed along {', '.join(self.axes)} ({self._described()})."

    def build(self, structure: Structure, segmentation: Segmentation) -> Iterator[Structure]:
        """Yield the structure with another ASE constraint; `hold = "none"` removes them all.

        Raises:
            BadInput: no atom is to be fixed.
        """
        atoms = structure.atoms.copy()
        if self.hold == "none":
            atoms.set_constraint()
            yield structure.after(self.provenance(), atoms, "no atom is fixed")
            return
        if len(atoms) == 0:
            raise BadInput("there are no atoms to fix; put place before constrain")
        fixed = np.flatnonzero(self._fixed(structure.bonds, segmentation))
        if len(fixed) == 0:
            raise BadInput(f"nothing to fix: none of {len(atoms)} atoms is {self._described()}")
        mask = [axis in self.axes for axis in "xyz"]
        more = FixAtoms(indices=fixed) if all(mask) else FixCartesian(fixed, mask=mask)
        atoms.set_constraint([*atoms.constraints, more])
        along = "" if self.axes == "xyz" else f" along {' and '.join(self.axes)}"
        finding = f"fixed{along}: {len(fixed)} of {len(atoms)} atoms ({self._described()})"
        yield structure.after(self.provenance(), atoms, finding)

    def _fixed(self, bonds: Bonds, segmentation: Segmentation) -> NDArray[np.bool_]:
        atoms = bonds.atoms
        fixed = np.ones(len(atoms), dtype=bool)
        if self.hold == "hydrogen":
            fixed = atoms.numbers == 1
        elif self.hold == "perimeter":
            fixed = perimeter(bonds)
        if self.species is not None:
            fixed &= np.isin(atoms.get_chemical_symbols(), self.species)
        fixed &= self.inside(in_frame(atoms, segmentation).apply(atoms.positions[:, :2]))
        if self.least_probability is not None:
            fixed &= atoms.arrays.get("probability", np.ones(len(atoms))) >= self.least_probability
        return fixed

    def _described(self) -> str:
        parts = [{"perimeter": "on the perimeter", "hydrogen": "hydrogen", "all": "any"}[self.hold]]
        parts += [f"of species {', '.join(self.species)}"] if self.species is not None else []
        parts += [f"in the {self.shape}"] if self.shape else []
        parts += (
            [f"of a probability of at least {self.least_probability}"] if self.least_probability is not None else []
        )
        return ", ".join(parts)


def perimeter(bonds: Bonds) -> NDArray[np.bool_]:
    """Return (atoms,) which make up the rim of the sheet: its edge atoms and the hydrogen on them."""
    rim = outer_edge(bonds)
    near = bonds.neighbours
    hydrogen = np.flatnonzero(bonds.atoms.numbers == 1)
    rim[[k for k in hydrogen if rim[near[k]].any()]] = True
    return rim
