"""What happened along the trajectories: bonds, rings, holes, how far atoms went, and means with error bars."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stem2sim.averages import averages
from stem2sim.distribution import WIDTH
from stem2sim.errors import BadInput
from stem2sim.evolution import TIME, Evolution, evolution_of
from stem2sim.report.blocks import Beside, Block, Facts, Plot, Section, Series, Table
from stem2sim.report.together import alike
from stem2sim.runfolder import analysis_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from stem2sim.report.report import Report

DISPLACED = "mean square displacement of "


def evolutions(report: Report) -> dict[str, Evolution]:
    """What happened along each trajectory, by the name of its result; kept beside it, and read again from there."""
    found = {}
    for name, result in report.results.items():
        if result.trajectory is None or TIME not in result.observables:
            continue
        folder = report.folder / Path(name).parent
        kept = analysis_of(report.folder / name)
        try:
            if kept.is_file() and kept.stat().st_mtime_ns > (folder / result.trajectory).stat().st_mtime_ns:
                found[name] = Evolution.read(kept)
                continue
        except (OSError, BadInput):  # made again below
            pass
        try:
            found[name] = evolution_of(result, folder)
        except BadInput:  # no frame of it is left to look at
            continue
        found[name].write(kept)
    return found


def trajectories(report: Report) -> Iterator[Section]:
    """One part for each simulation, its temperatures and replicas over each other; then the means."""
    folders: dict[str, dict[str, Evolution]] = {}
    for name, found in report.evolutions.items():
        label = report.results[name].label or "trajectory"
        folders.setdefault(str(Path(name).parent), {})[label] = found
    parts = [
        Section(folder, list(_blocks(folder, named)), f"trajectory-{k + 1}")
        for k, (folder, named) in enumerate(folders.items())
    ]
    if parts:
        means = [table for table in (_means(report),) if table.rows]
        yield Section("Along the trajectories", [*parts, *means], "trajectories")


def _blocks(folder: str, named: Mapping[str, Evolution]) -> Iterator[Block]:
    facts = {label: list(_told(one)) for label, one in named.items()}
    yield Facts(facts)
    events = [
        [label, f"{one.time:g}", one.change, one.kind, f"{one.atoms[0]} {one.atoms[1]}", f"{one.lasted:g}",
         "to the end" if one.to_end else ""]
        for label, found in named.items() for one in found.events
    ]  # fmt: skip
    if events:
        columns = ("trajectory", "time [fs]", "bond", "kind", "atoms", "lasted [fs]", "")
        caption = "A bond forms within 1.25 of the sum of covalent radii, and breaks beyond 1.15 times that."
        yield Table(f"Bonds broken and formed in {folder}", columns, events, caption)
    holes = [
        [label, " ".join(f"{v:.2f}" for v in hole.centre[:2]), str(len(hole.atoms)), f"{hole.area:.1f}",
         f"{hole.perimeter:.1f}", f"{hole.area_end:.1f}", hole.verdict]
        for label, found in named.items() for hole in found.holes
    ]  # fmt: skip
    if holes:
        columns = ("trajectory", "x, y [Å]", "atoms", "area [Å²]", "perimeter [Å]", "area at the end [Å²]", "verdict")
        caption = "Areas and perimeters of the polygon through the atoms; at the end: mean over the last tenth."
        yield Table(f"Holes in {folder}", columns, holes, caption)
    yield Beside(list(_plots(folder, named)))


def _told(found: Evolution) -> Iterator[str]:
    sizes = sorted({*found.rings_start, *found.rings_end})
    rings = (f"{n}: {found.rings_start.get(n, 0)} to {found.rings_end.get(n, 0)}" for n in sizes)
    yield f"{found.frames} frames; rings by size, from start to end {', '.join(rings) or 'none'}"
    kept = [one for one in found.events if one.to_end]
    yield f"{len(found.events)} bonds broken or formed, {len(kept)} of them to the end"
    yield from (hole.verdict for hole in found.holes)


def _plots(folder: str, named: Mapping[str, Evolution]) -> Iterator[Plot]:
    first = next(iter(named.values()))
    of = [name for name in first.series if name.startswith(DISPLACED)]
    yield _over_time(folder, named, of, "Mean square displacement", "[Å²]", DISPLACED, " [Å²]")
    changed = [name for name in ("bonds broken", "bonds formed") if any(any(e.series[name]) for e in named.values())]
    if changed:
        yield _over_time(folder, named, changed, "Bonds broken and formed", "bonds", "", "")
    odd = [n for n in dict.fromkeys(n for e in named.values() for n in e.series) if n.startswith("rings of")]
    moving = [n for n in odd if any(len(set(e.series.get(n, [0]))) > 1 for e in named.values())]
    if moving:
        yield _over_time(folder, named, moving, "Rings", "rings", "", "")
    if any(any(e.series["holes"]) for e in named.values()):
        yield _over_time(folder, named, ["area of holes [Å²]"], "Area of holes", "[Å²]", "", " [Å²]")
    pairs = [kind for kind in first.radial if "H" not in kind.split("-")] or list(first.radial)
    series = []
    for label, kind in _chosen(named, pairs):
        values = named[label].radial.get(kind, [])
        series.append(Series(_name(named, label, kind), np.arange(len(values)) * WIDTH + WIDTH / 2, values))
    if series:
        yield Plot(
            f"Radial distribution in {folder}", "distance [Å]", series, y_label="neighbours per atom and Å",
            caption="Over the second half: 4πr²ρg(r), which needs no volume.",
        )  # fmt: skip
    series = []
    for label, kind in _chosen(named, list(first.angles)):
        shares = named[label].angles.get(kind, [])
        series.append(Series(_name(named, label, kind), np.arange(len(shares)) + 0.5, shares))
    if series:
        yield Plot(f"Bond angles in {folder}", "angle [°]", series, y_label="share per degree")


def _over_time(
    folder: str, named: Mapping[str, Evolution], columns: list[str], title: str, unit: str, before: str, after: str
) -> Plot:
    series = [
        Series(
            _name(named, label, column.removeprefix(before).removesuffix(after)), named[label].column(TIME),
            named[label].column(column),
        )
        for label, column in _chosen(named, columns)
        if column in named[label].series
    ]  # fmt: skip
    return Plot(f"{title} in {folder}", TIME, series, y_label=unit)


def _chosen(named: Mapping[str, Evolution], kinds: list[str]) -> list[tuple[str, str]]:
    """Every kind of one trajectory; of several, the first kind of each, which is the commonest by its name."""
    return [(label, kind) for label in named for kind in (kinds if len(named) == 1 else kinds[:1])]


def _name(named: Mapping[str, Evolution], label: str, kind: str) -> str:
    return kind if len(named) == 1 else f"{label}, {kind}"


def _means(report: Report) -> Table:
    rows = []
    for use, several in alike(report):
        by_result = {
            id(result): found for name, found in report.evolutions.items() for result in [report.results[name]]
        }
        for group, means in averages((name, one, by_result.get(id(one))) for name, one in several).items():
            for one in means:
                error = "" if one.error is None else f"{one.error:.3g}"
                rows.append([f"{use} {group}", one.quantity, f"{one.mean:.6g}", error, one.unit, str(one.n), one.of])
    columns = ("simulation", "quantity", "mean", "standard error", "unit", "n", "error from")
    caption = (
        "Over the second half of each trajectory; where several replicas or samples ran, the error is that of the mean "
        "over them, else it is by block averaging (Flyvbjerg and Petersen, J. Chem. Phys. 91, 461, 1989)."
    )
    return Table("Means with error bars", columns, rows, caption)
