"""Hooks of this plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stem2sim import hookimpl

if TYPE_CHECKING:
    from stem2sim.stages import Simulator


@hookimpl
def stem2sim_simulators() -> list[type[Simulator]]:
    """Offer the lammps engine."""
    from stem2sim_lammps.lammps import Lammps

    return [Lammps]
