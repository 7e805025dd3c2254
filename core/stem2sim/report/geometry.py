"""The geometry of each result: angles, coordination and rings, and how far atoms are from where they were measured."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from stem2sim.analysis.displacement import Displacement, displacements, from_measured
from stem2sim.analysis.evolution import SMALLEST, WIDEST
from stem2sim.errors import BadInput
from stem2sim.geometry.angles import angles, ring_angles, ring_bond_lengths
from stem2sim.geometry.rings import LARGEST_RING, rings
from stem2sim.report.blocks import Block, Section, Table, Text
from stem2sim.report.labels import label, marked
from stem2sim.runs.staleness import stale

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stem2sim.geometry.bonds import Bonds
    from stem2sim.runs.run import Run
    from stem2sim.structure import Structure


def geometry(run: Run) -> Iterator[Section]:
    """One part for each result."""
    parts: list[Section] = []
    earlier = stale(run)
    for name, result in run.results.items():
        start = run.start(result)
        named = ([("before", start.bonds)] if start else []) + [("after", result.structure.bonds)]
        columns = ("quantity", *(title for title, _ in named))
        measured = [dict(_measures(bonds)) for _, bonds in named]
        keys = dict.fromkeys(key for one in measured for key in one)
        rows = [[key, *(one.get(key, "") for one in measured)] for key in keys]
        title = marked(name, earlier)
        blocks: list[Block] = [
            Table(f"Angles, coordination and rings of {title}", columns, rows, "Mean ± standard deviation.")
        ]
        blocks += [table for table in (_displacements(run, title, run.built(result), result.structure),) if table.rows]
        parts.append(Section(title, blocks, f"geometry-{len(parts) + 1}"))
    if parts:
        yield Section(
            "Geometry",
            [
                Text(
                    "In an angle A–B–C, B is the vertex. Rings are faces of the bond network; faces with more than "
                    f"{LARGEST_RING} atoms are counted as holes."
                ),
                *parts,
            ],
        )


def _measures(bonds: Bonds) -> Iterator[tuple[str, str]]:
    for kind, found in angles(bonds).items():
        yield f"{label(kind)} [°]", f"{found.mean():.1f} ± {found.std():.1f} ({len(found)})"
    for species, counts in bonds.coordination().items():
        yield f"neighbours of {species}", ", ".join(f"{count} with {n}" for n, count in counts.items())
    sizes = Counter(len(ring) for ring in rings(bonds))
    yield "rings by size", ", ".join(f"{sizes[n]} of {n}" for n in range(SMALLEST, WIDEST + 1) if sizes[n]) or "none"
    if wide := sorted(size for size in sizes.elements() if size > WIDEST):
        yield "larger rings", ", ".join(map(str, wide))
    inside, lengths = ring_angles(bonds), ring_bond_lengths(bonds)
    for size in (size for size in inside if size <= LARGEST_RING):
        yield f"angles in rings of {size} [°]", f"{inside[size].mean():.1f} ± {inside[size].std():.1f}"
        yield f"bonds in rings of {size} [Å]", f"{lengths[size].mean():.3f} ± {lengths[size].std():.3f}"


def _displacements(run: Run, title: str, built: Structure | None, end: Structure) -> Table:
    rows: list[list[str]] = []

    def add_rows(what: str, made: Callable[[], list[Displacement]]) -> None:
        try:
            found = made()
        except BadInput:  # atoms that were never measured, or are not the same
            return
        for one in found:
            values = (one.mean, one.rms, one.largest)
            cells = [f"{v:z.3f}" for v in values] + [f"{one.share(v):z.1f}" for v in values]
            rows.append([what, one.axis, *cells, str(one.atom)])

    segmentation = run.segmentation
    if segmentation is not None and built is not None:
        add_rows("measured → built", lambda: from_measured(segmentation, built))
        add_rows("measured → result", lambda: from_measured(segmentation, end))
    if built is not None:
        add_rows("built → result", lambda: displacements(built.atoms, end.atoms))
    columns = (
        "from, to", "axis", "mean [Å]", "rms [Å]", "maximum [Å]", "mean [%]", "rms [%]", "maximum [%]",
        "atom with the maximum",
    )  # fmt: skip
    caption = (
        "Rigid-body motion has been removed. For displacements from measured positions, the scale and anisotropy of "
        "the image have been removed as well if at least 8 atoms were measured. Hydrogen is excluded. Percentages "
        "refer to the mean length of the most common bond."
    )
    return Table(f"Displacements of {title}", columns, rows, caption)
