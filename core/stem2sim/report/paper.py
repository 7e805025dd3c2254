"""What a paper needs: a paragraph for its methods section, and what it has to cite."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stem2sim.citations import cited, reference
from stem2sim.errors import BadInput
from stem2sim.methods import methods
from stem2sim.report.blocks import Block, Code, Listed, Section, Text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stem2sim.report.report import Report


def paper(report: Report) -> Iterator[Section]:
    """The paragraph, the references, and their BibTeX."""
    try:
        said = methods(report.folder, report.image, report.structures.values(), report.results.values())
        entries = cited(report.folder)
    except BadInput as problem:
        yield Section("Methods, for a paper", [Text(f"Not written, for want of a stage that ran: {problem}.")])
        return
    blocks: list[Block] = [
        Text(said),
        Listed([f"[{key}] {reference(entry)}" for key, entry in entries.items()]),
        Code("BibTeX of all of these", "\n\n".join(entries.values()), "bibtex"),
    ]
    yield Section("Methods, for a paper", blocks, "methods")
