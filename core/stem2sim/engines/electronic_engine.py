"""Engines that compute electrons."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pydantic import Field

from stem2sim.engines.engine import Engine
from stem2sim.errors import BadInput

if TYPE_CHECKING:
    from ase import Atoms

    from stem2sim.structure import Structure

SMALL_CELL = 10.0
"""[Å]; along a shorter vector of a periodic cell, one k-point gives bands that are far from converged."""

log = logging.getLogger("stem2sim")


class ElectronicEngine(Engine):
    """An engine that computes electrons: as many as the charge leaves, in cells that repeat along all axes or none."""

    charge: int | None = Field(None, description="total charge; default: the charge of the structure [e]")

    def adopt(self, structure: Structure) -> Structure:
        """Return the structure with this engine's charge, where it sets one."""
        return structure if self.charge is None else structure.model_copy(update={"charge": self.charge})

    @staticmethod
    def check_periodic(atoms: Atoms) -> None:
        """Raise BadInput for a cell that repeats along some axes only: the program would repeat it along all."""
        if atoms.pbc.any() and not atoms.pbc.all():
            raise BadInput(
                f"a cell that repeats along some axes only (pbc = {atoms.pbc.tolist()}) would be taken to repeat along "
                "all; use all or none, with vacuum where there should be no neighbour"
            )

    @staticmethod
    def warn_of_few_points(atoms: Atoms, kpoints: tuple[int, int, int] = (1, 1, 1)) -> None:
        """Log a warning where one k-point has to do for a short vector of a periodic cell."""
        lengths = atoms.cell.lengths()
        short = [length for length, n, along in zip(lengths, kpoints, atoms.pbc, strict=True) if along and n == 1]
        if short and min(short) < SMALL_CELL:
            log.warning(
                "only one k-point is sampled along a cell vector of %.1f Å: the energy bands are not converged there",
                min(short),
            )
