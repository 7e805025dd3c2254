"""Dynamics by an engine's own integrator: the ensemble that it is given, and the steps that it returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Mode = Literal["run", "prepare", "collect"]
"""What to do with an external program: run it, write its input only, or read its output only."""


@dataclass(frozen=True)
class Bath:
    """The ensemble."""

    ensemble: Literal["nvt", "nve"]
    thermostat: str
    temperature: float
    """[K]."""
    time_step: float
    """[fs]."""
    period: float
    """Of the thermostat's oscillation [fs]."""
    chain_length: int | None
    """Thermostats in the chain; None for what the engine has."""
    freedom: int
    """Degrees of freedom that share the thermal energy; an engine that counts them otherwise must correct for it."""


@dataclass(frozen=True)
class Motion:
    """One step of the dynamics."""

    positions: NDArray[np.float64]
    """(atoms, 3) [Å]."""
    momenta: NDArray[np.float64]
    """(atoms, 3), in ASE's units."""
    potential: float
    """[eV]."""
    forces: NDArray[np.float64] | None = None
    """(atoms, 3) [eV/Å]; None where the engine does not report them."""
    state: dict[str, Any] = field(default_factory=dict)
    """Of the engine's thermostat, to continue from."""
    kinetic: float | None = None
    """Kinetic energy that the engine reports [eV]; None for that of the momenta."""
    conserved: float | None = None
    """The conserved quantity of the engine's dynamics [eV]; None where it does not report it."""


class BlownUp(Exception):
    """Thrown into the steps of an engine whose integration has failed: it can stop."""


@dataclass(frozen=True)
class Account:
    """What an engine that keeps its steps reports once all of them are given."""

    made_by: dict[str, Any]
    """Its provenance, as its own output states it."""
    details: dict[str, Any] = field(default_factory=dict)
    """What these steps were computed with, besides its options."""
    unfinished: bool = False
    """Whether it was read before its end."""
    sound: bool = True
    """Whether every step was computed as requested."""
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    """Wall-clock time that the steps took."""
