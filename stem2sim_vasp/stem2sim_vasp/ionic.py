"""One ionic step of VASP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


KILOBAR = 1602.1766208
"""eV/Å³ in kB."""


@dataclass(frozen=True)
class Ionic:
    """Positions and what VASP computed for them, in the order of the POSCAR."""

    cell: NDArray[np.float64]
    """(3, 3), a vector in each row [Å]."""
    positions: NDArray[np.float64]
    """(atoms, 3) along the cell's vectors."""
    free: float
    """Free energy, whose slope the forces are [eV]."""
    without_entropy: float | None = None
    """Energy without the electrons' entropy [eV]."""
    extrapolated: float | None = None
    """Energy for no smearing: sigma -> 0 [eV]."""
    forces: NDArray[np.float64] | None = None
    """(atoms, 3), those of fixed components included [eV/Å]."""
    stress: NDArray[np.float64] | None = None
    """(3, 3) as VASP prints it: the pressure is positive [kB]."""
    loops: int = 0
    """Electronic steps."""
    change: float | None = None
    """Of the free energy in the last electronic step [eV]."""
    band_change: float | None = None
    """Of the eigenvalues' sum in it [eV]; not in vasprun.xml."""
    stated_unconverged: bool = False
    """VASP 6 states it by itself."""
    kinetic: float | None = None
    """Of the atoms, in dynamics [eV]."""
    seconds: float = 0.0
    """Wall-clock time that VASP states [s]."""
    conserved: float | None = None
    """Potential and kinetic energy of atoms and thermostat [eV]."""

    def converged(self, most: int | None, tolerance: float | None) -> bool:
        """Return whether the electrons are converged.

        VASP 5 states that EDIFF is reached whenever it stops, even after the last allowed step: the change counts.

        Args:
            most: electronic steps allowed (NELM); None where unknown.
            tolerance: of the energy (EDIFF) [eV]; None where unknown.
        """
        if self.stated_unconverged or not np.isfinite(self.free):
            return False
        if most is None or self.loops < most:
            return True
        changes = [abs(c) for c in (self.change, self.band_change) if c is not None]
        # without a second electronic step nothing shows that the first was enough
        return tolerance is not None and bool(changes) and max(changes) <= tolerance

    def ase_stress(self) -> NDArray[np.float64] | None:
        """Return the stress (3, 3) with ASE's sign and unit [eV/Å³]; None where VASP printed none."""
        return None if self.stress is None else -self.stress / KILOBAR
