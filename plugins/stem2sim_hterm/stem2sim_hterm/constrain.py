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
    """Hold atoms in place: the perimeter, hydrogen, a species, a region, or what was seen for certain."""

    name: ClassVar[str] = "constrain"

    hold: Literal["perimeter", "hydrogen", "all", "none"] = Field(
        "perimeter",
        description="perimeter: the rim and its hydrogen, not holes; all: to be narrowed below; none: free again",
    )
    axes: Axes = Field("xyz", description="motion that is held; xy leaves z free")
    species: tuple[str, ...] | None = Field(None, description="of what is held, only these")
    least_probability: float | None = Field(None, ge=0, le=1, description="of what is held, only atoms this probable")

    @model_validator(mode="after")
    def _known(self) -> Self:
        unknown = sorted(set(self.species or ()) - ELEMENTS)
        if unknown:
            raise ValueError(f"no such species: {', '.join(unknown)}")
        return self

    def methods(self) -> str:
        """Return it for a methods section."""
        return f"Atoms were held ({self.hold}; along {', '.join(self.axes)})."

    def build(self, structure: Structure, segmentation: Segmentation) -> Iterator[Structure]:
        """Yield the structure with an ASE constraint more; `hold = "none"` takes all of them off."""
        atoms = structure.atoms.copy()
        if self.hold == "none":
            atoms.set_constraint()
            yield structure.after(self.provenance(), atoms, "no atom is held")
            return
        if len(atoms) == 0:
            raise BadInput("there are no atoms to hold; put place before constrain")
        held = np.flatnonzero(self._held(structure.bonds, segmentation))
        if len(held) == 0:
            raise BadInput(f"nothing to hold: none of {len(atoms)} atoms is {self._described()}")
        mask = [axis in self.axes for axis in "xyz"]
        more = FixAtoms(indices=held) if all(mask) else FixCartesian(held, mask=mask)
        atoms.set_constraint([*atoms.constraints, more])
        along = "" if self.axes == "xyz" else f" along {' and '.join(self.axes)}"
        said = f"held in place{along}: {len(held)} of {len(atoms)} atoms ({self._described()})"
        yield structure.after(self.provenance(), atoms, said)

    def _held(self, bonds: Bonds, segmentation: Segmentation) -> NDArray[np.bool_]:
        atoms = bonds.atoms
        held = np.ones(len(atoms), dtype=bool)
        if self.hold == "hydrogen":
            held = atoms.numbers == 1
        elif self.hold == "perimeter":
            held = perimeter(bonds)
        if self.species is not None:
            held &= np.isin(atoms.get_chemical_symbols(), self.species)
        held &= self.inside(in_frame(atoms, segmentation).apply(atoms.positions[:, :2]))
        if self.least_probability is not None:
            held &= atoms.arrays.get("probability", np.ones(len(atoms))) >= self.least_probability
        return held

    def _described(self) -> str:
        said = [{"perimeter": "on the perimeter", "hydrogen": "hydrogen", "all": "any"}[self.hold]]
        said += [f"of species {', '.join(self.species)}"] if self.species is not None else []
        said += [f"in the {self.shape}"] if self.shape else []
        said += [f"at least {self.least_probability} probable"] if self.least_probability is not None else []
        return ", ".join(said)


def perimeter(bonds: Bonds) -> NDArray[np.bool_]:
    """Return (atoms,) which make up the rim of the sheet: its edge atoms and the hydrogen on them."""
    rim = outer_edge(bonds)
    near = bonds.neighbours
    hydrogen = np.flatnonzero(bonds.atoms.numbers == 1)
    rim[[k for k in hydrogen if rim[near[k]].any()]] = True
    return rim
