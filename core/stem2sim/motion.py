"""Dynamics that an engine runs by itself: what it is asked for, and what it gives back step by step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Bath:
    """The ensemble that is asked for."""

    ensemble: Literal["nvt", "nve"]
    thermostat: str
    temperature: float
    """[K]."""
    time_step: float
    """[fs]."""
    period: float
    """Of the thermostat's oscillation [fs]."""
    chain_length: int
    """Thermostats in the chain."""
    freedom: int
    """Degrees of freedom that share the thermal energy; an engine that counts others must correct for it."""


@dataclass(frozen=True)
class Motion:
    """One step of it."""

    positions: NDArray[np.float64]
    """(atoms, 3) [Å]."""
    momenta: NDArray[np.float64]
    """(atoms, 3), in ASE's units."""
    potential: float
    """[eV]."""
    forces: NDArray[np.float64] | None = None
    """(atoms, 3) [eV/Å]; None where the engine keeps them to itself."""
    state: dict[str, Any] = field(default_factory=dict)
    """Of the engine's thermostat, to go on from."""
