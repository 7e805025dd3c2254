"""Hooks of this plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stem2sim import hookimpl

if TYPE_CHECKING:
    from stem2sim.stages import Simulator


@hookimpl
def stem2sim_simulators() -> list[type[Simulator]]:
    """Offer the vasp engine."""
    from stem2sim_vasp.vasp import Vasp

    return [Vasp]
