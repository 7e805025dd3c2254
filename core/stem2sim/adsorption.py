"""Adsorption energies, by one definition."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stem2sim.simulation import SimulationResult

SURFACE, ADSORBATE = "surface", "adsorbate"
"""Labels of the two references."""

CONVENTION = "E_ads = E_surface + E_adsorbate - E_total: positive binds"


def adsorption_energies(results: Iterable[SimulationResult]) -> dict[str, float]:
    """Return the adsorption energy [eV] at each site, the most stable first; empty without both references.

    Args:
        results: of one simulation, all made with the same settings, their structures labelled by site.

    E_ads = E_surface + E_adsorbate - E_total; positive binds.
    """
    labelled = [(result.structure.label, result.energy) for result in results if result.structure.label]
    energies = dict(labelled)
    if SURFACE not in energies or ADSORBATE not in energies or len(energies) < len(labelled):
        return {}  # without references, or with several of them, which belong to different structures
    apart = energies.pop(SURFACE) + energies.pop(ADSORBATE)
    return {site: apart - energy for site, energy in sorted(energies.items(), key=lambda one: one[1])}
