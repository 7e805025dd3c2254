"""What one ionic step hands to the files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from standin_electrons import Energies
    from standin_engines import Point


@dataclass(frozen=True)
class Heat:
    """The bookkeeping of dynamics [eV, K]."""

    kinetic: float
    nose_potential: float
    nose_kinetic: float
    temperature: float


@dataclass(frozen=True)
class Frame:
    """An ionic step: positions, and what was computed at exactly these.

    Attributes:
        cell: One lattice vector per row [Å].
        fractional: Positions in units of the lattice vectors.
        heat: Of dynamics only.
        change: Of the free energy since the last step [eV].
        last: Whether no step can follow.
    """

    number: int
    cell: np.ndarray
    fractional: np.ndarray
    point: Point
    energies: Energies
    heat: Heat | None
    change: float
    last: bool

    @property
    def total(self) -> float:
        """The energy that dynamics conserves [eV]."""
        if self.heat is None:
            return self.energies.free
        return self.energies.free + self.heat.kinetic + self.heat.nose_potential + self.heat.nose_kinetic
