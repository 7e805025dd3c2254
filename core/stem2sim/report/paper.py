"""What a paper needs: a paragraph for its methods section, and what it has to cite."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stem2sim.agreement.agreement import Agreement
from stem2sim.errors import BadInput
from stem2sim.records.citations import cited, reference
from stem2sim.records.methods import methods
from stem2sim.report.blocks import Block, Code, Listed, Section, Text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stem2sim.report.report import Report

MOST = 3
"""Correlations that the paragraph gives."""


def paper(report: Report) -> Iterator[Section]:
    """The paragraph, the references, and their BibTeX."""
    if report.failure:  # a paper would say what a whole run did
        return
    try:
        said = methods(report.folder, report.image, report.structures.values(), report.results.values())
        entries = cited(report.folder)
    except BadInput as problem:
        yield Section("Methods, for a paper", [Text(f"Not written, for want of a stage that ran: {problem}.")])
        return
    held = {name: one for name, one in report.agreements.items() if isinstance(one, Agreement)}
    if held:
        told = ", ".join(f"{one.correlation:.3f} ({name})" for name, one in list(held.items())[:MOST])
        said += (
            " Structures were held against the frame by drawing them through a probe that was fitted to it (full "
            f"width at half maximum {next(iter(held.values())).probe.fwhm:.2f} Å): normalised cross-correlation {told}."
        )
    blocks: list[Block] = [
        Text(said),
        Listed([f"[{key}] {reference(entry)}" for key, entry in entries.items()]),
        Code("BibTeX of all of these", "\n\n".join(entries.values()), "bibtex"),
    ]
    yield Section("Methods, for a paper", blocks, "methods")
