"""What happened along the trajectories: bonds, rings, holes, displacements, and means with error bars."""

from __future__ import annotations

from collections import Counter
from math import prod
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from stem2sim.analysis.averages import averages
from stem2sim.analysis.distribution import WIDTH
from stem2sim.analysis.evolution import TIME, Evolution
from stem2sim.report.blocks import Beside, Block, Facts, Plot, Section, Series, Table, Text
from stem2sim.report.groups import alike
from stem2sim.report.labels import label, marked
from stem2sim.runs.staleness import stale

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from stem2sim.runs.run import Run

DISPLACED = "mean square displacement of "

TELLING = (5, 7, 8)
"""Sizes of the rings that tell of change in a sheet of hexagons; each has a plot where there are several trajectories.
"""


class _Axes(NamedTuple):
    """How a distribution is plotted."""

    title: str
    x_label: str
    y_label: str
    width: float
    """Of a bin, in the unit of x."""
    caption: str = ""


RADIAL = _Axes(
    "Radial distribution function", "distance [Å]", "neighbours per atom and Å", WIDTH,
    "4πr²ρ g(r), averaged over the second half of the trajectory. This form does not require a cell volume.",
)  # fmt: skip
ANGLES = _Axes("Bond angles", "angle [°]", "fraction per degree", 1.0)


def trajectories(run: Run) -> Iterator[Section]:
    """One part for each simulation, its temperatures and replicas over each other; then the means."""
    folders: dict[str, dict[str, Evolution]] = {}
    gone: dict[str, list[str]] = {}
    atoms: dict[str, Counter[str]] = {}
    for name, evolution in run.evolutions.items():
        result, folder = run.results[name], str(run.places[name].step)
        folders.setdefault(folder, {})[result.label or "trajectory"] = evolution
        atoms[folder] = Counter(result.structure.atoms.get_chemical_symbols())
        if result.trajectory is None or not (run.places[name].file.parent / result.trajectory).is_file():
            gone.setdefault(folder, []).append(str(result.trajectory))
    earlier = {str(run.places[name].step) for name in stale(run)}
    parts = [
        Section(
            marked(folder, earlier),
            [*_gone(gone.get(folder, [])), *_blocks(folder, named, atoms[folder])],
            f"trajectory-{k + 1}",
        )
        for k, (folder, named) in enumerate(folders.items())
    ]
    if parts:
        means = [table for table in (_means(run),) if table.rows]
        yield Section("Trajectories", [*parts, *means], "trajectories")


def _gone(files: list[str]) -> Iterator[Block]:
    if files:
        yield Text(f"{', '.join(files)}: no longer in the run folder; the saved analysis is shown.")


def _blocks(folder: str, named: Mapping[str, Evolution], atoms: Counter[str]) -> Iterator[Block]:
    facts = {label: list(_describe(one)) for label, one in named.items()}
    yield Facts(facts)
    events = [
        [of, f"{one.time:g}", one.change, label(one.kind), f"{one.atoms[0]} {one.atoms[1]}", f"{one.lasted:g}",
         "to the end" if one.to_end else ""]
        for of, evolution in named.items() for one in evolution.events
    ]  # fmt: skip
    if events:
        columns = ("trajectory", "time [fs]", "bond", "kind", "atoms", "lasted [fs]", "")
        caption = (
            "A bond is formed below 1.25 times the sum of the covalent radii and broken above 1.15 times that distance."
        )
        yield Table(f"Bonds broken and formed in {folder}", columns, events, caption)
    holes = [
        [of, " ".join(f"{v:.2f}" for v in hole.centre[:2]), str(len(hole.atoms)), f"{hole.area:.1f}",
         f"{hole.perimeter:.1f}", f"{hole.area_end:.1f}", hole.verdict]
        for of, evolution in named.items() for hole in evolution.holes
    ]  # fmt: skip
    if holes:
        columns = ("trajectory", "x, y [Å]", "atoms", "area [Å²]", "perimeter [Å]", "area at the end [Å²]", "outcome")
        caption = (
            "Area and perimeter are those of the polygon through the atoms; the area at the end is the mean over the "
            "last tenth of the frames."
        )
        yield Table(f"Holes in {folder}", columns, holes, caption)
    yield Beside(list(_plots(folder, named, atoms)))


def _describe(evolution: Evolution) -> Iterator[str]:
    sizes = sorted({*evolution.rings_start, *evolution.rings_end})
    rings = (f"{evolution.rings_start.get(n, 0)} → {evolution.rings_end.get(n, 0)} of size {n}" for n in sizes)
    yield f"{evolution.frames} frames; rings at the start → at the end: {', '.join(rings) or 'none'}"
    kept = [one for one in evolution.events if one.to_end]
    events = f"{len(evolution.events)} bonds broken or formed, {len(kept)} of them permanently"
    yield events if evolution.events else "no bonds broken or formed"
    yield from (hole.verdict for hole in evolution.holes)


def _plots(folder: str, named: Mapping[str, Evolution], atoms: Counter[str]) -> Iterator[Plot]:
    every = list(dict.fromkeys(name for one in named.values() for name in one.series))
    of = [name for name in every if name.startswith(DISPLACED)]
    yield from _over_time(folder, named, of, "Mean-square displacement", "[Å²]", DISPLACED)
    changed = [name for name in ("bonds broken", "bonds formed") if any(any(e.series[name]) for e in named.values())]
    yield from _over_time(folder, named, changed, "Bonds broken and formed", "bonds")
    if len(named) > 1:
        ringed = [name for name in (f"rings of {n}" for n in TELLING) if name in every]
    else:
        (one,) = named.values()
        ringed = [name for name in every if name.startswith("rings of") and len(set(one.series[name])) > 1]
    yield from _over_time(folder, named, ringed, "Rings", "rings")
    if any(any(e.series["holes"]) for e in named.values()):
        yield from _over_time(folder, named, ["area of holes [Å²]"], "Area of holes", "[Å²]")
    radial = {label: one.radial for label, one in named.items()}
    angles = {label: one.angles for label, one in named.items()}
    yield from _distributions(folder, radial, atoms, RADIAL)
    yield from _distributions(folder, angles, atoms, ANGLES)


def _over_time(
    folder: str, named: Mapping[str, Evolution], columns: list[str], title: str, unit: str, before: str = ""
) -> Iterator[Plot]:
    """All columns of one trajectory over each other; of several trajectories a plot for each column."""
    many = len(named) > 1
    for group in [[column] for column in columns] if many else [columns] if columns else []:
        name = label(group[0].partition(" [")[0])
        series = [
            Series(of if many else column.partition(" [")[0].removeprefix(before), one.column(TIME),
                   one.column(column) if column in one.series else np.zeros(len(one.series[TIME])))
            for of, one in named.items() for column in group
        ]  # fmt: skip
        yield Plot(f"{name[:1].upper()}{name[1:]} in {folder}" if many else f"{title} in {folder}", TIME, series,
                   y_label=unit)  # fmt: skip


def _distributions(
    folder: str, named: Mapping[str, Mapping[str, list[float]]], atoms: Counter[str], axes: _Axes
) -> Iterator[Plot]:
    """Every kind of one trajectory; of several trajectories the kind that most atoms could make."""
    many = len(named) > 1
    title = axes.title
    kinds = list(dict.fromkeys(kind for by_kind in named.values() for kind in by_kind))
    if many or axes is RADIAL:
        kinds = [kind for kind in kinds if "H" not in kind.split("-")] or kinds
    if many and kinds:
        kinds = [max(kinds, key=lambda kind: prod(atoms[species] for species in kind.split("-")))]
        title = f"{title} {label(kinds[0])}"
    series = [
        Series(of if many else label(kind), (np.arange(len(by_kind[kind])) + 0.5) * axes.width, by_kind[kind])
        for of, by_kind in named.items()
        for kind in kinds
        if kind in by_kind
    ]
    if series:
        yield Plot(f"{title} in {folder}", axes.x_label, series, y_label=axes.y_label, caption=axes.caption)


def _means(run: Run) -> Table:
    rows = []
    for step, several in alike(run):
        by_result = {id(result): found for name, found in run.evolutions.items() for result in [run.results[name]]}
        for group, means in averages((name, one, by_result.get(id(one))) for name, one in several).items():
            for one in means:
                error = "" if one.error is None else f"{one.error:.3g}"
                rows.append(
                    [f"{step} {group}", label(one.quantity), f"{one.mean:.6g}", error, one.unit, str(one.n), one.of]
                )
    columns = ("simulation", "quantity", "mean", "standard error", "unit", "n", "error estimated from")
    caption = (
        "Means over the second half of each trajectory. With several replicas or samples, the error is the standard "
        "error of the mean over them; otherwise it is estimated by block averaging (Flyvbjerg and Petersen, J. Chem. "
        "Phys. 91, 461, 1989). No error is given if the second half is too short (always with fewer than 64 frames)."
    )
    return Table("Means and standard errors", columns, rows, caption)
