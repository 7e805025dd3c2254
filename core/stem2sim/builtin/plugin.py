"""Hooks of the core's own stages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stem2sim import hookimpl

if TYPE_CHECKING:
    from stem2sim.stages import Segmenter, Simulator


@hookimpl
def stem2sim_segmenters() -> list[type[Segmenter]]:
    """Offer the atoms table."""
    from stem2sim.builtin.atoms_table import AtomsTableSegmenter

    return [AtomsTableSegmenter]


@hookimpl
def stem2sim_simulators() -> list[type[Simulator]]:
    """Offer adsorption energies."""
    from stem2sim.builtin.adsorption import Adsorption

    return [Adsorption]
