"""Dynamics that an engine runs by itself: what it is asked for, and what it gives back step by step."""

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
    """The ensemble that is asked for."""

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
    kinetic: float | None = None
    """Kinetic energy as the engine has it [eV]; None where that of the momenta is meant."""
    conserved: float | None = None
    """What the engine's dynamics conserve [eV]; None where it keeps that to itself."""


class BlownUp(Exception):
    """Thrown into the steps of an engine whose integration has failed: it need not go on."""


@dataclass(frozen=True)
class Account:
    """What an engine that keeps its steps has to say once all of them are given."""

    made_by: dict[str, Any]
    """Its provenance, as its own output has it."""
    details: dict[str, Any] = field(default_factory=dict)
    """What these steps were computed with, beside its options."""
    unfinished: bool = False
    """Whether it was read while it can still go on."""
    sound: bool = True
    """Whether every step was computed as it was asked."""
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    """Wall-clock time that the steps took."""
