"""Adsorption energies, by one definition."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stem2sim.simulation import SimulationResult

SURFACE, ADSORBATE = "surface", "adsorbate"
"""Labels of the two references."""

CONVENTION = "E_ads = E_surface + E_adsorbate - E_total: positive binds"


def adsorption_energies(results: Iterable[tuple[str, SimulationResult]]) -> dict[str, float]:
    """Return the adsorption energy [eV] at each site, the most stable first; empty without both references.

    Args:
        results: of one simulation, all made with the same settings, and the name of each: the label of its structure,
            behind that of the surface (such as patch-2-hollow) where there are several surfaces.

    E_ads = E_surface + E_adsorbate - E_total; positive binds. A surface with two results for one label, or without its
    references, is left out.
    """
    surfaces: dict[str, dict[str, float]] = {}
    twice = set()
    for name, result in results:
        label = result.structure.label
        if label and name.endswith(label):
            surface = name.removesuffix(label)
            energies = surfaces.setdefault(surface, {})
            twice |= {surface} if label in energies else set()
            energies[label] = result.energy
    found: dict[str, float] = {}
    for surface, energies in surfaces.items():
        if SURFACE in energies and ADSORBATE in energies and surface not in twice:
            apart = energies.pop(SURFACE) + energies.pop(ADSORBATE)
            found |= {surface + site: apart - energy for site, energy in energies.items()}
    return dict(sorted(found.items(), key=lambda one: -one[1]))
