"""The first section: the image, the atoms and their confidence, the results, and the caveats."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stem2sim.agreement.agreement import Agreement
from stem2sim.report.blocks import Block, Facts, Section, Text, Warnings
from stem2sim.report.compare_back import describe
from stem2sim.report.segmentation import pixel_size
from stem2sim.runs.staleness import replaced, stale

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stem2sim.runs.run import Run
    from stem2sim.simulation import SimulationResult

MOST_LINES = 6
"""Of one kind; all variants are listed further down."""

MOST_CAVEATS = 5
"""Of one structure, at the top of the page."""


def summary(run: Run) -> Iterator[Section]:
    """The run at a glance."""
    blocks: list[Block] = []
    if run.failure:
        blocks.append(Warnings([f"This run did not finish: {run.failure}"], grave=True))
    if len(run.sessions) > 1:
        how = "was resumed" if any(one.failure for one in run.sessions[:-1]) else "has several sessions"
        blocks.append(Text(f"This run {how}: {'; '.join(one.describe() for one in run.sessions)}."))
    blocks.append(Facts(dict(_facts(run))))
    blocks.append(Warnings(list(_caveats(run)), title="Caveats"))
    yield Section("Summary", blocks)


def _facts(run: Run) -> Iterator[tuple[str, str | list[str]]]:
    image, segmentation, earlier = run.image, run.segmentation, stale(run)
    if image:
        (width, height), (rows, columns) = image.field_of_view, image.shape
        yield (
            "image",
            [
                f"{run.title}: {width:.1f} × {height:.1f} Å, {columns} × {rows} pixels",
                f"pixel size {pixel_size(image)}",
            ],
        )
    if segmentation:
        counts = segmentation.atoms.describe()
        yield "detected atoms", counts if image else f"{counts}, in the table of atoms"
        yield "confidence", segmentation.confidence()
    elif run.failure and "segment" in run.tree and not run.structures:
        yield "detected atoms", "no atoms were detected"
    structures = [
        f"{name}: {atoms.get_chemical_formula('hill')}, {len(atoms)} atom{'s' * (len(atoms) != 1)}"
        for name, atoms in ((name, structure.atoms) for name, structure in run.structures.items())
    ]
    if structures:
        yield "structures" if len(structures) > 1 else "structure", _first(structures)
    elif run.failure:
        yield "structure", "no structure was built"
    results = [
        f"{run.places[name].step}{f', {result.label}' if result.label else ''}{' (stale)' if name in earlier else ''}: "
        f"{_outcome(result)}; energy {result.energy:.4f} eV"
        for name, result in run.results.items()
    ]
    if results:
        yield "simulations" if len(results) > 1 else "simulation", _first(results)
    compared = [f"{name}: {describe(one)}" for name, one in run.agreements.items() if isinstance(one, Agreement)]
    if compared:
        yield "comparison with the image", _first(compared)


def _outcome(result: SimulationResult) -> str:
    return result.reason if result.converged else f"NOT CONVERGED: {result.reason.removeprefix('not converged: ')}"


def _first(lines: list[str]) -> list[str]:
    """The first lines; of the others how many there are."""
    return lines if len(lines) <= MOST_LINES else [*lines[:MOST_LINES], f"and {len(lines) - MOST_LINES} more, below"]


def _caveats(run: Run) -> Iterator[str]:
    if run.image_problem:
        yield run.image_problem
    yield from run.image.warnings if run.image else ()
    yield from run.segmentation.warnings if run.segmentation else ()
    for name, agreement in run.agreements.items():
        if isinstance(agreement, Agreement):
            lines = [agreement.note] if agreement.note else [one.describe() for one in agreement.unexplained()]
            yield from (f"{name}: {line}" for line in lines[:MOST_CAVEATS])
            if len(lines) > MOST_CAVEATS:
                yield f"{name}: and {len(lines) - MOST_CAVEATS} more atoms, listed below"
    yield from (f"{name} is stale: {why}" for name, why in stale(run).items())
    for step in replaced(run):
        yield f"{step} has results that are not shown: what it started from has been recomputed since"
    for step in run.waiting:
        yield f"{step} has no result yet"
    for name, result in run.results.items():
        if not result.converged:
            yield f"{name}: {result.reason}"
    for name, result in run.results.items():
        yield from (f"{name}: {warning}" for warning in result.warnings)
