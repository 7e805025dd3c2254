"""A small displacement from which a flat sheet can buckle."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from stem2sim.errors import BadInput
from stem2sim.stages import Builder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stem2sim.segmentation import Segmentation
    from stem2sim.structure import Structure

WAVES = 6
SHORTEST, LONGEST = 5.0, 15.0
"""Wavelengths [Å]: bonded atoms move together, a small patch still bends."""


class Ripple(Builder):
    """Displace atoms out of the plane: a perfectly flat sheet has no out-of-plane forces, so it cannot buckle."""

    name: ClassVar[str] = "ripple"

    amplitude: float = Field(0.05, ge=0, le=0.05, description="maximum displacement along z; 0: none [Å]")
    seed: int = Field(0, ge=0, description="random seed of the waves")

    def methods(self) -> str:
        """Return the sentence for the methods section."""
        return (
            f"Atoms were displaced out of the plane by up to {self.amplitude:g} Å to break the planar symmetry and "
            "allow the sheet to buckle."
        )

    def build(self, structure: Structure, segmentation: Segmentation) -> Iterator[Structure]:
        """Yield the structure with a sum of waves added to z, periodic where the cell is."""
        atoms = structure.atoms.copy()
        if len(atoms) == 0:
            raise BadInput("there are no atoms to displace; put place before ripple")
        rng = np.random.default_rng(self.seed)
        z = np.zeros(len(atoms))
        for _ in range(WAVES):
            length, turn, phase = rng.uniform(SHORTEST, LONGEST), rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi)
            wave = np.array([np.cos(turn), np.sin(turn), 0.0]) / length
            if atoms.pbc.any():  # whole waves along the vectors that repeat
                counts = np.asarray(atoms.cell) @ wave
                counts[atoms.pbc] = np.rint(counts[atoms.pbc])
                wave = np.linalg.solve(np.asarray(atoms.cell), counts)
            z += np.sin(2 * np.pi * atoms.positions @ wave + phase)
        z -= z.mean()
        largest = float(np.abs(z).max())
        if largest > 0:
            atoms.positions[:, 2] += self.amplitude * z / largest
        finding = f"atoms displaced out of the plane by up to {self.amplitude} Å" if self.amplitude else "left flat"
        yield structure.after(self.provenance(), atoms, finding)
