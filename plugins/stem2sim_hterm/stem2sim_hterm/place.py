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
    """Place every detected atom, scaled with the lattice in the image."""

    name: ClassVar[str] = "place"

    least_probability: float = Field(0.5, ge=0, le=1, description="omit atoms with a probability below this value")
    overlap: Literal["error", "keep-likelier", "keep-both"] = Field(
        "error",
        description="what to do with two atoms closer than 0.9 Å: stop, keep the more probable one, or keep both",
    )
    columns: dict[str, Annotated[float, Field(gt=0, le=20)]] = Field(
        {},
        description="spacing along the beam between the atoms of a column, by column name; built in: S2, Se2, Te2 [Å]",
    )
    scale: Literal["lattice", "stated"] = Field(
        "lattice",
        description="lattice: correct scale and anisotropy from the lattice in the image, if one was found; stated: "
        "keep the stated pixel size",
    )

    def methods(self) -> str:
        """Return the sentence for the methods section."""
        scale = (
            ", scaled and corrected for anisotropy so that the lattice constant measured in the image matched the "
            "reference value"
        )
        return (
            f"Atoms with a probability of {self.least_probability:g} or higher were placed at their measured "
            f"positions{scale if self.scale == 'lattice' else ''}."
        )

    def build(self, structure: Structure, segmentation: Segmentation) -> Iterator[Structure]:
        """Yield one structure, without a cell: x along columns, y down rows, not rotated; z = 0 but in columns.

        Raises:
            BadInput: atoms that were placed before, none that is probable enough, two that overlap, an unknown column.
        """
        if len(structure.atoms):
            raise BadInput(
                f"place starts a structure with the atoms found in the image, but there are {len(structure.atoms)} "
                "atoms already; remove place, or put it first"
            )
        table = segmentation.atoms
        kept = np.flatnonzero(table.probability >= self.least_probability)
        if len(kept) == 0:
            raise BadInput(
                f"no atoms left: none of {len(table)} has a probability of at least {self.least_probability}"
            )
        findings = []
        if len(kept) < len(table):
            findings.append(
                f"atoms omitted because their probability is below {self.least_probability}: {len(table) - len(kept)}"
            )
        if self.overlap == "keep-likelier":
            before = len(kept)
            kept = kept[apart(table.positions[kept], table.probability[kept], CLOSEST)]
            if len(kept) < before:
                findings.append(
                    f"atoms omitted because a more probable one is within {CLOSEST} Å: {before - len(kept)}"
                )
        names = [str(s) for s in table.species]
        column, symbols, z = standing([names[k] for k in kept], set(names), self.columns)
        if len(column) > len(kept):
            several = Counter(names[k] for k in kept if names[k] not in atomic_numbers)
            listed = ", ".join(f"{count} {name}" for name, count in sorted(several.items()))
            lone = Counter(names[k] for k, at in zip(kept[column], z, strict=True) if at and names[k] in atomic_numbers)
            listed += "".join(
                f"; {count} single {name}, placed above the sheet" for name, count in sorted(lone.items())
            )
            findings.append(f"columns of two or more atoms, with z positions of the pristine material: {listed}")
        stretch, finding = self._stretch(segmentation)
        findings += [finding] if finding else []
        rows = kept[column]
        atoms = Atoms(symbols, positions=np.column_stack([table.positions[rows] @ stretch.T, z]))
        atoms.set_array("source", rows.astype(int))
        atoms.set_array("probability", table.probability[rows])
        atoms.set_array("position_std", table.position_std[rows] * np.sqrt(np.linalg.det(stretch)))
        made = structure.after(self.provenance(), atoms, *findings)
        if self.overlap != "keep-both":
            made.check_distances(advice="check the pixel size, or set overlap = 'keep-likelier' or 'keep-both'")
        yield made

    def _stretch(self, segmentation: Segmentation) -> tuple[NDArray[np.float64], str]:
        """The matrix from measured x, y to those of the structure, and a finding about it."""
        lattice, pixel_size = segmentation.lattice, segmentation.pixel_size
        if lattice is None or pixel_size is None:
            return np.eye(2), ""
        if self.scale == "stated":
            complaint = lattice.complaint(pixel_size)
            return np.eye(2), f"bond lengths are off: {complaint}" if complaint else ""
        return lattice.matrix / pixel_size, (
            f"scaled by {100 * (lattice.ratio(pixel_size) - 1):+z.1f} % and corrected for an anisotropy of "
            f"{100 * (lattice.anisotropy - 1):.1f} %, to a = {lattice.lattice_constant:.4g} Å"
        )
