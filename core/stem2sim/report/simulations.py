"""The simulations: what each made of its start."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stem2sim.analysis.comparison import compared, displacement, engine_of, table
from stem2sim.geometry.defects import defects, sheet_of
from stem2sim.report.blocks import (
    Beside,
    Block,
    Facts,
    Film,
    Plot,
    Section,
    Series,
    StructureView,
    Table,
    Text,
    Warnings,
)
from stem2sim.report.labels import label
from stem2sim.report.structureview import MOST
from stem2sim.runs.derived import TEMPERATURE
from stem2sim.runs.staleness import rows, stale

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from stem2sim.engines.trajectory import Trajectory
    from stem2sim.geometry.bonds import Bonds
    from stem2sim.runs.run import Run
    from stem2sim.simulation import SimulationResult
    from stem2sim.structure import Structure

    Lengths = Mapping[str, NDArray[np.float64]]

BINS = 25

MOST_DRAWN = 12
"""Simulations with structures and curves on one page; more of them would make it too heavy to open."""

MOST_FILMS = 8_000_000
"""Bytes of trajectories in one page, about; of many simulations each shows fewer frames."""


def simulations(run: Run) -> Iterator[Section]:
    """One part for each result."""
    parts: list[Section] = []
    reasons = stale(run)
    most = min(MOST, MOST_FILMS // max(1, len(run.results)))
    for name, result in run.results.items():
        start = run.start(result)
        named = [("before", start.atoms)] if start else []
        named.append(("after", result.structure.atoms))
        bonds = ([("before", start.bonds)] if start else []) + [("after", result.structure.bonds)]
        lengths = [(title, one.lengths()) for title, one in bonds]
        title = ", ".join(filter(None, (str(run.places[name].step), result.label)))
        caption = "x points right, y down and z into the page, as in the image."
        blocks: list[Block] = [Facts(dict(_facts(result, start, bonds, lengths)))]
        if name in reasons:
            title = f"{title} (stale)"
            blocks.insert(0, Warnings([f"This result is stale: {reasons[name]}."]))
        if len(parts) < MOST_DRAWN:
            blocks.append(StructureView(title, named, _film(run.trajectory(name), result, most), caption))
            blocks.append(Beside([*_histograms(lengths), *_observables(result)]))
        else:
            blocks.append(Text(f"Only the first {MOST_DRAWN} simulations are drawn."))
        parts.append(Section(title, blocks, f"simulation-{len(parts) + 1}"))
    if parts:
        yield Section("Simulations" if len(parts) > 1 else "Simulation", parts, "simulations")
    if len(run.results) > 1:
        yield _side_by_side(run)


def _facts(
    result: SimulationResult,
    start: Structure | None,
    bonds: Sequence[tuple[str, Bonds]],
    lengths: Sequence[tuple[str, Lengths]],
) -> Iterator[tuple[str, str | list[str]]]:
    yield "engine", engine_of(result)
    at = ", last frame" if TEMPERATURE in result.observables else ""
    yield f"energy{at}", f"{result.energy:.4f} eV"
    yield f"maximum force{at}", f"{result.largest_force:.4f} eV/Å"
    yield "outcome", ("" if result.converged else "not converged: ") + result.reason.removeprefix("not converged: ")
    yield "defects (coordinates of the simulation cell)", [f"{title}: {_defects(of)}" for title, of in bonds]
    for kind in sorted(lengths[-1][1]):
        yield (
            f"{label(kind)} bonds",
            [
                f"{title} {d[kind].mean():.3f} ± {d[kind].std():.3f} Å ({len(d[kind])})"
                for title, d in lengths
                if kind in d
            ],
        )
    if start and len(start.atoms) == len(result.structure.atoms):
        moved = displacement(start.atoms, result.structure.atoms)
        yield "RMS displacement", f"{moved:.3f} Å (all atoms, rigid-body motion removed)"


def _defects(bonds: Bonds) -> str:
    if not sheet_of(bonds.atoms):
        return "not analysed (available for carbon sheets only)"
    return ", ".join(one.describe() for one in defects(bonds)) or "none identified"


def _film(trajectory: Trajectory | None, result: SimulationResult, most: int) -> Film | None:
    """The trajectory, with the times of its frames where they were written down."""
    if trajectory is None:
        return None
    time = next((name for name in result.observables if name.startswith("time")), "step")
    return Film.of(trajectory.frames(), result.observables.get(time, ()), time, most)


def _histograms(lengths: Sequence[tuple[str, Lengths]]) -> Iterator[Plot]:
    """Bond lengths by kind of bond, one outline per structure."""
    for kind in sorted({kind for _, of in lengths for kind in of}):
        every = np.concatenate([of[kind] for _, of in lengths if kind in of])
        middle, half = (every.max() + every.min()) / 2, max(0.05, 0.55 * float(np.ptp(every)))
        edges = np.linspace(middle - half, middle + half, BINS + 1).round(5)
        series = [Series.histogram(title, of[kind], edges) for title, of in lengths if kind in of]
        title = f"{label(kind)} bond lengths"
        alt = f"Histogram of {title}: {', '.join(one.name for one in series)}"
        yield Plot(title, "length [Å]", series, "steps", "number of bonds", alt=alt)


def _observables(result: SimulationResult) -> Iterator[Plot]:
    """Every observable over time where there is a time, over the steps otherwise."""
    time = next((name for name in result.observables if name.startswith("time")), None)
    for name, values in result.observables.items():
        if name != time and len(values) > 1:
            x = result.observables[time] if time else range(len(values))
            yield Plot(
                _capitalised(label(name.partition(" [")[0])),
                time or "step",
                [Series(label(name), list(x), values)],
                y_label=label(name),
                log_y="force" in name,
            )


def _capitalised(words: str) -> str:
    return words[:1].upper() + words[1:]


def _side_by_side(run: Run) -> Section:
    columns, cells = table(compared(rows(run)))
    note = (
        "Bond lengths are means; for molecular dynamics, over the second half of the trajectory. Bond changes and "
        "displacements are given relative to the initial structure of each simulation. Energies from different engines "
        "are not comparable."
    )
    return Section(
        "Comparison of the simulations",
        [Text(note), Table("Comparison of the simulations", [label(one) for one in columns], cells)],
    )
