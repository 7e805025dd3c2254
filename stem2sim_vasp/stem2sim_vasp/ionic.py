"""One ionic step of VASP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Ionic:
    """Positions with all that VASP computed for them, in the order of the POSCAR."""

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
    """(atoms, 3), held components among them [eV/Å]."""
    stress: NDArray[np.float64] | None = None
    """(3, 3) as VASP prints it: the pressure is positive [kB]."""
    loops: int = 0
    """Electronic steps."""
    change: float | None = None
    """Of the free energy in the last electronic step [eV]."""
    band_change: float | None = None
    """Of the eigenvalues' sum in it [eV]; not in vasprun.xml."""
    told_unconverged: bool = False
    """VASP 6 says so by itself."""
    kinetic: float | None = None
    """Of the atoms, in dynamics [eV]."""
    seconds: float = 0.0
    """Wall-clock time that it took, as VASP says [s]."""
    conserved: float | None = None
    """Potential and kinetic energy of atoms and thermostat [eV]."""

    def converged(self, most: int | None, tolerance: float | None) -> bool:
        """Return whether the electrons are converged.

        VASP 5 says that EDIFF is reached whenever it stops, after the last allowed step as well: the change counts.

        Args:
            most: electronic steps allowed (NELM); None where unknown.
            tolerance: of the energy (EDIFF) [eV]; None where unknown.
        """
        if self.told_unconverged or not np.isfinite(self.free):
            return False
        if most is None or self.loops < most:
            return True
        changes = [abs(c) for c in (self.change, self.band_change) if c is not None]
        # without a second electronic step nothing shows that the first was enough
        return tolerance is not None and bool(changes) and max(changes) <= tolerance
