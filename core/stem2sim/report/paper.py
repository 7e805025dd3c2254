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

    from stem2sim.run.run import Run

MOST = 3
"""Correlations that the paragraph gives."""


def paper(run: Run) -> Iterator[Section]:
    """The paragraph, the references, and their BibTeX."""
    if run.failure:  # a paper would say what a whole run did
        return
    try:
        paragraph = methods(run)
        entries = cited(run)
    except BadInput as problem:
        yield Section(
            "Methods, for a paper", [Text(f"Not available, because a stage that ran is missing here: {problem}.")]
        )
        return
    compared = {name: one for name, one in run.agreements.items() if isinstance(one, Agreement)}
    if compared:
        correlations = ", ".join(f"{one.correlation:.3f} ({name})" for name, one in list(compared.items())[:MOST])
        width = next(iter(compared.values())).probe.fwhm
        paragraph += (
            " Structures were compared with the image by rendering them with a probe fitted to it (full width at half "
            f"maximum {width:.2f} Å); the normalised cross-correlation is {correlations}."
        )
    blocks: list[Block] = [
        Text(paragraph),
        Listed([f"[{key}] {reference(entry)}" for key, entry in entries.items()]),
        Code("BibTeX", "\n\n".join(entries.values()), "bibtex"),
    ]
    yield Section("Methods, for a paper", blocks, "methods")
