"""The scale of a structure against the lattice of a known material."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from stem2sim.errors import BadInput
from stem2sim.geometry.bonds import apart
from stem2sim.geometry.honeycomb import rows_of
from stem2sim.geometry.metric import metric_by_neighbours
from stem2sim.lattice import DISAGREEMENT, GRAPHENE
from stem2sim.stages import Builder
from stem2sim_hterm.columns import ALIKE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stem2sim.segmentation import Segmentation
    from stem2sim.structure import Structure

log = logging.getLogger("stem2sim.hterm")


class Calibrate(Builder):
    """Compare scale, anisotropy and shear of the atoms with a reference lattice; correct them if apply = true."""

    name: ClassVar[str] = "calibrate"

    lattice_constant: float = Field(
        GRAPHENE, gt=0, description="lattice constant of the hexagonal reference lattice [Å]"
    )
    apply: bool = Field(False, description="correct the positions; false: only report")

    def methods(self) -> str:
        """Return the sentence for the methods section."""
        done = "corrected to match" if self.apply else "compared with"
        return f"Bond lengths were {done} a honeycomb lattice with a = {self.lattice_constant:g} Å."

    def build(self, structure: Structure, segmentation: Segmentation) -> Iterator[Structure]:
        """Yield the structure with its lattice among the findings, corrected if `apply` is set.

        Only neighbours count whose distance is within 12 % of one bond length: holes, edges, impurities and strays do
        not.

        Raises:
            BadInput: no atoms, a periodic cell, or no honeycomb of this constant.
        """
        atoms = structure.atoms
        if len(atoms) == 0:
            raise BadInput("there are no atoms to calibrate; put place before calibrate")
        if atoms.pbc.any():
            raise BadInput("the structure is already in a periodic cell; put calibrate before the builder that made it")
        xy = atoms.positions[atoms.numbers != 1, :2]
        xy = xy[apart(xy, np.ones(len(xy)), ALIKE)]
        metric = metric_by_neighbours(xy, np.eye(2), self.lattice_constant / np.sqrt(3))
        if metric is None:
            raise BadInput(
                f"no honeycomb of {self.lattice_constant:g} Å among {len(xy)} atoms: too few neighbours are one bond "
                "length apart; check lattice_constant and the pixel size"
            )
        largest, smallest = np.linalg.svd(metric, compute_uv=False)
        scale = float(np.sqrt(largest * smallest))
        shear = float(metric[0, 1] / scale)
        angle = rows_of(xy @ metric.T, self.lattice_constant / np.sqrt(3))
        finding = (
            f"the reference lattice (a = {self.lattice_constant:g} Å) requires a correction of "
            f"{100 * (scale - 1):+z.1f} % in scale, {100 * (largest / smallest - 1):.1f} % in anisotropy and "
            f"{100 * shear:+z.1f} % in shear; lattice rows are at {angle:.1f}° to x"
        )
        made = atoms.copy()
        if self.apply:
            made.positions[:, :2] = atoms.positions[:, :2] @ metric.T
            if made.has("position_std"):
                made.arrays["position_std"] *= scale
            finding += "; corrected"
        elif max(abs(scale - 1), largest / smallest - 1) > DISAGREEMENT:
            finding = f"bond lengths are off: {finding}; not corrected (apply = true corrects them)"
            log.warning("%s", finding)
        yield structure.after(self.provenance(), made, finding)
