"""What results that belong together say: adsorption energies, and the spread over samples of one structure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from stem2sim.adsorption import CONVENTION, adsorption_energies
from stem2sim.report.blocks import Facts, Section, Table, Text
from stem2sim.simulation import variants
from stem2sim.spread import spread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stem2sim.report.report import Report
    from stem2sim.simulation import SimulationResult


def adsorption(report: Report) -> Iterator[Section]:
    """Energies at each site, for every simulation that has both references beside them."""
    for use, named in alike(report):
        energies = adsorption_energies(named)
        if energies:
            rows = [(site, str(energy)) for site, energy in energies.items()]
            title = f"Adsorption energies ({use})"
            yield Section(title, [Text(f"{CONVENTION}."), Table(title, ("site", "adsorption energy"), rows)])


def samples(report: Report) -> Iterator[Section]:
    """What samples of one structure say together."""
    caption = "Mean and standard deviation over structures drawn from what the frame leaves open."
    for use, named in alike(report):
        for name, rows in spread(named).items():
            yield Section(f"{name}, taken together ({use})".capitalize(), [Text(caption), Facts(rows)])


def alike(report: Report) -> Iterator[tuple[str, list[tuple[str, SimulationResult]]]]:
    """Results that one simulation made of different structures, each with the name of its variant."""
    found: dict[str, list[tuple[str, SimulationResult]]] = {}
    for name, result in report.results.items():
        made_by = json.dumps([Path(name).parent.name[:2], result.made_by], sort_keys=True, default=str)
        found.setdefault(made_by, []).append((Path(name).parent.name, result))
    for named in found.values():
        yield str(named[0][1].made_by.get("use", "")), variants(named)
