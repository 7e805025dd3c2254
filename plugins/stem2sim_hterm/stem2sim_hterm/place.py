"""Measured atoms to a structure."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from ase import Atoms
from pydantic import Field

from stem2sim.bonds import apart
from stem2sim.errors import BadInput
from stem2sim.stages import Builder
from stem2sim.structure import CLOSEST, Structure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stem2sim.segmentation import Segmentation


class Place(Builder):
    """Place every found atom at its measured position, in the frame's own coordinates."""

    name: ClassVar[str] = "place"

    least_probability: float = Field(0.5, ge=0, le=1, description="atoms less probable than this are left out")
    overlap: Literal["error", "keep-likelier"] = Field(
        "error", description="two atoms closer than 0.9 Å: stop, or keep the more probable one"
    )

    def build(self, structure: Structure, segmentation: Segmentation) -> Iterator[Structure]:
        """Yield one flat structure, without a cell: x along columns, y down rows, z = 0."""
        table = segmentation.atoms
        kept = np.flatnonzero(table.probability >= self.least_probability)
        if len(kept) == 0:
            raise BadInput(
                f"no atoms left: none of {len(table)} has a probability of at least {self.least_probability}"
            )
        findings = []
        if len(kept) < len(table):
            findings.append(f"less probable than {self.least_probability} and left out: {len(table) - len(kept)}")
        if self.overlap == "keep-likelier":
            before = len(kept)
            kept = kept[apart(table.positions[kept], table.probability[kept], CLOSEST)]
            if len(kept) < before:
                findings.append(f"closer than {CLOSEST} Å to a likelier atom and left out: {before - len(kept)}")
        if segmentation.lattice is not None and segmentation.pixel_size is not None:
            complaint = segmentation.lattice.complaint(segmentation.pixel_size)
            findings += [f"bond lengths are off: {complaint}"] if complaint else []
        atoms = Atoms(
            symbols=[str(s) for s in table.species[kept]],
            positions=np.column_stack([table.positions[kept], np.zeros(len(kept))]),
        )
        atoms.set_array("source", kept.astype(int))
        atoms.set_array("probability", table.probability[kept])
        atoms.set_array("position_std", table.position_std[kept])
        made = structure.after(self.provenance(), atoms, *findings)
        made.check_distances()
        yield made
