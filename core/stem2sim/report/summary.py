"""The first section: what was imaged, what was found, how sure that is, what came of it, and what to doubt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stem2sim.agreement.agreement import Agreement
from stem2sim.report.blocks import Block, Facts, Section, Text, Warnings
from stem2sim.report.compare_back import describe as describe_agreement
from stem2sim.report.found import pixel_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stem2sim.report.report import Report
    from stem2sim.segmentation import Segmentation

MOST_LINES = 6
"""Of one kind: many variants are told further down."""

MOST_DOUBTS = 5
"""Of one structure, on the first lines of the page."""


def summary(report: Report) -> Iterator[Section]:
    """The run in short."""
    blocks: list[Block] = []
    if report.failure:
        blocks.append(Warnings([f"This run did not finish: {report.failure}"], grave=True))
    if len(report.sessions) > 1:
        how = "resumed" if any(one.failure for one in report.sessions[:-1]) else "worked on more than once"
        blocks.append(Text(f"This run was {how}: {'; '.join(one.describe() for one in report.sessions)}."))
    blocks.append(Facts(dict(_facts(report))))
    blocks.append(Warnings(list(_doubts(report)), title="What to doubt"))
    yield Section("In short", blocks)


def _facts(report: Report) -> Iterator[tuple[str, str | list[str]]]:
    image, found = report.image, report.segmentation
    if image:
        (width, height), (rows, columns) = image.field_of_view, image.shape
        yield (
            "imaged",
            [
                f"{report.title}: a frame of {width:.1f} × {height:.1f} Å, {columns} × {rows} pixels",
                f"pixel size {pixel_size(image)}",
            ],
        )
    if found:
        counts = " and ".join(f"{n} {s}" for s, n in found.atoms.counts().items()) or "no atom"
        yield "found", f"{counts}, {'in the frame' if image else 'in the atoms table'}"
        yield "how sure", list(_sureness(found))
    elif report.failure and "[segment]" in report.config and not report.structures:
        yield "found", "nothing was found"
    built = [
        f"{name}: {structure.atoms.get_chemical_formula('hill')}, {len(structure.atoms)} atoms"
        for name, structure in report.structures.items()
    ]
    if built:
        yield "structures" if len(built) > 1 else "structure", _first(built)
    elif report.failure:
        yield "structure", "no structure was built"
    told = [
        f"{Path(name).parent}{f', {result.label}' if result.label else ''}: "
        f"{'' if result.converged else 'NOT CONVERGED: '}{result.reason} ({result.energy:.4f} eV)"
        for name, result in report.results.items()
    ]
    if told:
        yield "simulations" if len(told) > 1 else "simulation", _first(told)
    held = [
        f"{name}: {describe_agreement(one)}" for name, one in report.agreements.items() if isinstance(one, Agreement)
    ]
    if held:
        yield "does the frame show it", _first(held)


def _first(lines: list[str]) -> list[str]:
    """The first lines; of the others how many there are."""
    return lines if len(lines) <= MOST_LINES else [*lines[:MOST_LINES], f"and {len(lines) - MOST_LINES} more, below"]


def _sureness(found: Segmentation) -> Iterator[str]:
    atoms = found.atoms
    if len(atoms):
        less = int((atoms.probability < 0.5).sum())
        rest = f", {less} less probable than 0.5" if less else ""
        yield f"median probability {np.median(atoms.probability):.3f}{rest}"
    std = atoms.position_std[np.isfinite(atoms.position_std)]
    yield (
        f"position uncertainty per axis {np.median(std):.3f} Å (median)"
        if len(std)
        else "positions: not known how well"
    )
    if found.out_of_distribution is not None:
        yield f"foreign to the networks by {found.out_of_distribution:.2f} (over 1 it would be refused)"


def _doubts(report: Report) -> Iterator[str]:
    if report.image_missing:
        yield report.image_missing
    yield from report.image.warnings if report.image else ()
    yield from report.segmentation.warnings if report.segmentation else ()
    for name, one in report.agreements.items():
        if isinstance(one, Agreement):
            doubts = [one.note] if one.note else [doubt.describe() for doubt in one.unexplained()]
            yield from (f"{name}: {doubt}" for doubt in doubts[:MOST_DOUBTS])
            if len(doubts) > MOST_DOUBTS:
                yield f"{name}: and {len(doubts) - MOST_DOUBTS} more atoms, listed below"
    for step in report.waiting:
        yield f"{step} has no result yet"
    for name, result in report.results.items():
        if not result.converged:
            yield f"{name}: {result.reason}"
    for name, result in report.results.items():
        yield from (f"{name}: {warning}" for warning in result.warnings)
