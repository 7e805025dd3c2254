"""Measured atoms to a structure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from pydantic import Field

from stem2sim.errors import BadInput
from stem2sim.geometry.bonds import apart
from stem2sim.stages import Builder
from stem2sim.structure import CLOSEST, Structure
from stem2sim_hterm.columns import standing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from stem2sim.segmentation import Segmentation


class Place(Builder):
    """Place every found atom where it was measured, on the scale that the frame's own lattice calls for."""

    name: ClassVar[str] = "place"

    least_probability: float = Field(0.5, ge=0, le=1, description="atoms less probable than this are left out")
    overlap: Literal["error", "keep-likelier", "keep-both"] = Field(
        "error", description="two atoms closer than 0.9 Å: stop, keep the more probable one, or leave both to merge"
    )
    columns: dict[str, Annotated[float, Field(gt=0, le=20)]] = Field(
        {},
        description="distance of the atoms in a column of several, by its name; those in S2, Se2 and Te2 are known [Å]",
    )
    scale: Literal["lattice", "stated"] = Field(
        "lattice",
        description="take out the scale and stretch that the frame's lattice calls for, where one was found; "
        "or keep the stated pixel size",
    )

    def methods(self) -> str:
        """Return it for a methods section."""
        scale = ", on the scale that the frame's own lattice calls for" if self.scale == "lattice" else ""
        least = f"{self.least_probability:g}"
        return f"Atoms of a probability of at least {least} were placed where they were measured{scale}."

    def build(self, structure: Structure, segmentation: Segmentation) -> Iterator[Structure]:
        """Yield one structure, without a cell: x along columns, y down rows, nothing turned; z = 0 but in columns."""
        if len(structure.atoms):
            raise BadInput(
                f"place begins a structure with the atoms found in the frame, but {len(structure.atoms)} atoms are "
                "there already; leave place out, or put it first"
            )
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
        names = [str(s) for s in table.species]
        column, symbols, z = standing([names[k] for k in kept], set(names), self.columns)
        if len(column) > len(kept):
            several = Counter(names[k] for k in kept if names[k] not in atomic_numbers)
            told = ", ".join(f"{count} {name}" for name, count in sorted(several.items()))
            lone = Counter(names[k] for k, at in zip(kept[column], z, strict=True) if at and names[k] in atomic_numbers)
            told += "".join(f"; {count} {name} alone, put above the sheet" for name, count in sorted(lone.items()))
            findings.append(f"columns of several atoms, whose heights are those of the perfect material: {told}")
        stretch, said = self._stretch(segmentation)
        findings += [said] if said else []
        rows = kept[column]
        atoms = Atoms(symbols, positions=np.column_stack([table.positions[rows] @ stretch.T, z]))
        atoms.set_array("source", rows.astype(int))
        atoms.set_array("probability", table.probability[rows])
        atoms.set_array("position_std", table.position_std[rows] * np.sqrt(np.linalg.det(stretch)))
        made = structure.after(self.provenance(), atoms, *findings)
        if self.overlap != "keep-both":
            made.check_distances(
                advice="check the pixel size, or say what to do: overlap = 'keep-likelier' or 'keep-both'"
            )
        yield made

    def _stretch(self, segmentation: Segmentation) -> tuple[NDArray[np.float64], str]:
        """What takes measured x, y to those of the structure, and what to tell about it."""
        lattice, pixel_size = segmentation.lattice, segmentation.pixel_size
        if lattice is None or pixel_size is None:
            return np.eye(2), ""
        if self.scale == "stated":
            complaint = lattice.complaint(pixel_size)
            return np.eye(2), f"bond lengths are off: {complaint}" if complaint else ""
        return lattice.matrix / pixel_size, (
            f"scaled by {round(100 * (lattice.ratio(pixel_size) - 1), 1) + 0.0:+.1f} % and freed of a stretch of "
            f"{100 * (lattice.anisotropy - 1):.1f} % between directions, to a = {lattice.lattice_constant:.4g} Å"
        )
