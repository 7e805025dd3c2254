"""What is reported of a trajectory: the values of a step, and how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stem2sim_aimd.drift import drift

if TYPE_CHECKING:
    from stem2sim.engines.motion import Bath
    from stem2sim_aimd.verlet import Dynamics

TIME, TEMPERATURE, POTENTIAL = "time [fs]", "temperature [K]", "potential energy [eV]"
CONSERVED = "conserved quantity [eV]"


def values(dynamics: Dynamics) -> dict[str, float]:
    """Return the values of the present step, by name with unit."""
    conserved = dynamics.conserved()
    return {
        TIME: dynamics.step * dynamics.time_step,
        TEMPERATURE: dynamics.temperature(),
        POTENTIAL: dynamics.potential,
        **({} if conserved is None else {CONSERVED: conserved}),
    }


def describe(dynamics: Dynamics, series: dict[str, list[float]], bath: Bath) -> tuple[str, tuple[str, ...]]:
    """Return in words what a trajectory reached, and warnings.

    Args:
        dynamics: at its last step.
        series: of `values`, in the order of the steps.
        bath: the ensemble.
    """
    if dynamics.blown_up:
        return (
            f"blew up at step {dynamics.step}: {dynamics.hottest:.0f} K for a target of {bath.temperature:g} K; "
            f"try a time step below {dynamics.time_step} fs"
        ), ()
    second_half = np.array(series[TEMPERATURE])[len(series[TIME]) // 2 :]
    at = "at" if bath.ensemble == "nvt" else "from"
    reason = (
        f"{dynamics.step * dynamics.time_step:g} fs {at} {bath.temperature:g} K: mean temperature over the second half "
        f"{second_half.mean():.0f} K (standard deviation {second_half.std():.0f} K, {dynamics.thermostat.freedom} "
        "degrees of freedom)"
    )
    if CONSERVED not in series:
        return f"{reason}, by the engine's own integrator", ()
    conserved = np.array(series[CONSERVED])
    reason += f", conserved quantity constant to within {1000 * np.ptp(conserved):.1f} meV"
    warning = drift(np.array(series[TIME]), conserved, len(dynamics.atoms))
    return reason, (warning,) if warning else ()
