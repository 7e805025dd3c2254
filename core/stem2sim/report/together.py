"""What results that belong together say: adsorption energies, and the spread over samples of one structure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from stem2sim.analysis.samples import sample_statistics
from stem2sim.builtin.adsorption import CONVENTION, adsorption_energies
from stem2sim.report.blocks import Facts, Section, Table, Text
from stem2sim.report.markup import slug
from stem2sim.simulation import variants

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stem2sim.report.blocks import Block
    from stem2sim.report.report import Report
    from stem2sim.simulation import SimulationResult


def adsorption(report: Report) -> Iterator[Section]:
    """Energies at each site, for every simulation that has both references beside them."""
    for step, named in alike(report):
        energies = adsorption_energies(named)
        if energies:
            rows = [(site, str(energy)) for site, energy in energies.items()]
            title = f"Adsorption energies ({step})"
            blocks: list[Block] = [Text(f"{CONVENTION}."), Table(title, ("site", "adsorption energy"), rows)]
            yield Section(title, blocks, slug(f"adsorption {step}"))


def samples(report: Report) -> Iterator[Section]:
    """What samples of one structure say together."""
    caption = "Mean and standard deviation over structures drawn from what the frame leaves open."
    for step, named in alike(report):
        for name, rows in sample_statistics(named).items():
            title = f"{name}, taken together ({step})"
            yield Section(title[:1].upper() + title[1:], [Text(caption), Facts(rows)], slug(f"together {step} {name}"))


def alike(report: Report) -> Iterator[tuple[str, list[tuple[str, SimulationResult]]]]:
    """Results that one simulation made of different structures, each with the name of its variant.

    By its number and name, '01-xtb': a run may have several of one name.
    """
    found: dict[str, list[tuple[str, SimulationResult]]] = {}
    steps: dict[str, str] = {}
    for name, result in report.results.items():
        made_by = json.dumps([_number(name), result.made_by], sort_keys=True, default=str)
        found.setdefault(made_by, []).append((Path(name).parent.name, result))
        steps[made_by] = f"{_number(name)}-{result.made_by.get('use', '')}".rstrip("-")
    for made_by, named in found.items():
        yield steps[made_by], variants(named)


def _number(name: str) -> str:
    return Path(name).parent.name.partition("-")[0]
