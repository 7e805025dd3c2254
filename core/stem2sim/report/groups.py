"""Results that belong together: adsorption energies, and the spread over samples of one structure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from stem2sim.analysis.samples import sample_statistics
from stem2sim.builtin.adsorption import CONVENTION, adsorption_energies
from stem2sim.report.blocks import Facts, Section, Table, Text
from stem2sim.report.labels import label
from stem2sim.report.markup import slug

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stem2sim.report.blocks import Block
    from stem2sim.runs.run import Run
    from stem2sim.simulation import SimulationResult


def adsorption(run: Run) -> Iterator[Section]:
    """Energies at each site, for every simulation that has both references beside them."""
    for step, named in alike(run):
        energies = adsorption_energies(named)
        if energies:
            rows = [(site, str(energy)) for site, energy in energies.items()]
            title = f"Adsorption energies ({step})"
            blocks: list[Block] = [Text(f"{CONVENTION}."), Table(title, ("site", "adsorption energy"), rows)]
            yield Section(title, blocks, slug(f"adsorption {step}"))


def samples(run: Run) -> Iterator[Section]:
    """What samples of one structure say together."""
    caption = "Mean and standard deviation over the structures sampled from the uncertainty of the segmentation."
    for step, named in alike(run):
        for name, rows in sample_statistics(named).items():
            title = f"{name}, all samples ({step})"
            yield Section(
                title[:1].upper() + title[1:],
                [Text(caption), Facts({label(key): value for key, value in rows.items()})],
                slug(f"samples {step} {name}"),
            )


def alike(run: Run) -> Iterator[tuple[str, list[tuple[str, SimulationResult]]]]:
    """Results that one simulation made of different structures, each with the name of its variant.

    By its number and name, '01-xtb': a run may have several of one name.
    """
    groups: dict[str, tuple[str, list[tuple[str, SimulationResult]]]] = {}
    for name, result in run.results.items():
        step = run.places[name].step
        key = json.dumps([step.number, result.made_by], sort_keys=True, default=str)
        groups.setdefault(key, (step.short, []))[1].append((step.label, result))
    yield from groups.values()
