"""What a paper needs: a paragraph for its methods section, and what it has to cite."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from stem2sim.agreement.agreement import Agreement
from stem2sim.analysis.evolution import TIME
from stem2sim.errors import BadInput
from stem2sim.records.citations import cited, reference
from stem2sim.records.methods import methods
from stem2sim.report.blocks import Block, Code, Listed, Section, Text
from stem2sim.runs.staleness import stale

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stem2sim.runs.run import Run

MOST = 3
"""Correlations that the paragraph gives."""


def paper(run: Run) -> Iterator[Section]:
    """The paragraph, the references, and their BibTeX."""
    if run.failure:  # a paper would say what a whole run did
        return
    try:
        paragraph = methods(run, _comparison(run))
        entries = cited(run)
    except BadInput as problem:
        yield Section(
            "Methods section for a publication",
            [Text(f"Not available, because a stage of this run is not installed here: {problem}.")],
        )
        return
    blocks: list[Block] = [
        Text(paragraph),
        Listed([f"[{key}] {reference(entry)}" for key, entry in entries.items()]),
        Code("BibTeX", "\n\n".join(entries.values()), "bibtex"),
    ]
    yield Section("Methods section for a publication", blocks, "methods")


def _comparison(run: Run) -> str:
    """How well the structures agree with the image, as sentences; '' where none was compared."""
    compared = {name: one for name, one in run.agreements.items() if isinstance(one, Agreement)}
    compared = {name: one for name, one in compared.items() if name not in stale(run)}
    if not compared:
        return ""
    titles = _titles(run, list(compared))
    *first, last = [f"{compared[name].correlation:.3f} {titles[name]}" for name in list(compared)[:MOST]]
    correlations = f"{', '.join(first)} and {last}" if first else last
    subject = "Images of the structures were" if len(compared) > 1 else "An image of the structure was"
    width = next(iter(compared.values())).probe.fwhm
    return (
        f"{subject} simulated with a probe profile fitted to the input image (FWHM {width:.2f} Å). The "
        f"normalised cross-correlation with that image was {correlations}."
    )


def _titles(run: Run, names: list[str]) -> dict[str, str]:
    """What each structure and result is in a sentence: by kind where there is one of its kind, else by name."""
    kinds = {name: _kind(run, name) for name in names}
    alone = Counter(kinds.values())
    return {name: kind if alone[kind] == 1 else f"for {name}" for name, kind in kinds.items()}


def _kind(run: Run, name: str) -> str:
    result = run.results.get(name)
    if result is None:
        return "for the initial structure"
    if TIME in result.observables:
        return "for the structure averaged over the second half of the molecular dynamics trajectory"
    return "after relaxation" if result.made_by.get("task") == "relax" else f"after {name}"
