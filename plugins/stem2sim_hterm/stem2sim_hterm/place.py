"""Measured atoms to a structure."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from ase import Atoms
from pydantic import Field
from scipy.spatial import cKDTree

from stem2sim.errors import BadInput
from stem2sim.stages import Builder
from stem2sim.structure import CLOSEST, Structure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stem2sim.lattice import Lattice
    from stem2sim.segmentation import AtomsTable, Segmentation

DISAGREEMENT = 0.03
"""Stated and lattice pixel sizes further apart than this are worth a finding."""


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
            kept = _likelier(table, kept)
            if len(kept) < before:
                findings.append(f"closer than {CLOSEST} Å to a likelier atom and left out: {before - len(kept)}")
        findings += _scale_findings(segmentation.lattice, segmentation.pixel_size)
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


def _likelier(table: AtomsTable, rows: np.ndarray) -> np.ndarray:
    """Drop from each pair closer than `CLOSEST` the less probable atom, most probable atoms first."""
    tree = cKDTree(table.positions[rows])
    dropped: set[int] = set()
    for k in np.argsort(-table.probability[rows], kind="stable"):
        if k not in dropped:
            dropped.update(n for n in tree.query_ball_point(tree.data[k], CLOSEST) if n != k)
    return np.delete(rows, sorted(dropped))


def _scale_findings(lattice: Lattice | None, pixel_size: float | None) -> list[str]:
    if lattice is None or pixel_size is None:
        return []
    ratio = lattice.ratio(pixel_size)
    said = f"the lattice calls for {lattice.pixel_size:.4f} Å/pixel, {pixel_size:.4f} Å was given"
    if abs(ratio - 1) > DISAGREEMENT:
        return [f"bond lengths are off by {100 * (1 / ratio - 1):+.1f} %: {said}"]
    return []
