"""The structures that were built: what they look like, and what a reader should know about them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stem2sim.report.blocks import Block, Listed, Section, StructureView

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stem2sim.runs.run import Run


def structures(run: Run) -> Iterator[Section]:
    """One part for each structure; those that were simulated are drawn there."""
    simulated = {result.started_from for result in run.results.values()}
    parts: list[Section] = []
    for name, structure in run.structures.items():
        blocks: list[Block] = []
        if name not in simulated:
            formula = structure.atoms.get_chemical_formula("hill")
            blocks.append(StructureView(name, [(formula, structure.atoms)]))
        lines = [*structure.findings, *(f"{one.severity} ({one.check}): {one.text}" for one in structure.checks)]
        blocks.append(Listed(lines))
        parts.append(Section(name, blocks, f"structure-{len(parts) + 1}"))
    if parts:
        title = "Simulated structure" if simulated else "Structure"
        title += "s" if len(parts) > 1 else ""
        yield Section(title, parts, "structures")
