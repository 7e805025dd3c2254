"""Which files of a run folder belong to the run."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from stem2sim.runs.names import (
    CONFIG,
    CONTINUED,
    DATABASE,
    DRIFT,
    EVENTS,
    FIGURES,
    FRAMES,
    LICENSED,
    LOG,
    MARKDOWN,
    REPORT,
    SESSIONS,
    STATE,
    TRACKING,
    TRACKS,
    analysis_of,
    result_name,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from stem2sim.runs.names import StepName
    from stem2sim.simulation import SimulationResult


class ResultPlace(NamedTuple):
    """Where a result lies."""

    step: StepName
    file: Path
    """Its `result*.json`."""


def places_of(steps: Mapping[StepName, Iterable[Path]]) -> dict[str, ResultPlace]:
    """Return where each result lies, by its name: `01-xtb`, or `02-aimd 300K` where a step has several.

    Args:
        steps: the finished ones, each with its files.
    """
    return {
        result_name(name, file): ResultPlace(name, file)
        for name, files in steps.items()
        if name.kind == "simulate"
        for file in files
        if file.suffix == ".json"
    }


def files_of(folder: Path, steps: Iterable[Path], results: Mapping[Path, SimulationResult]) -> set[Path]:
    """Return every file of a run as it stands, those of simulations included; none left from earlier configs.

    Args:
        folder: of the run.
        steps: files that its finished steps left.
        results: of its simulations, by their `result*.json`.
    """
    needed = {file.parent / str(result.trajectory) for file, result in results.items()}
    needed |= {analysis_of(file) for file in results}
    found = set(steps)
    for workdir in {file.parent for file in results}:
        there = {file for file in workdir.rglob("*") if file.is_file() and not file.name.startswith(".")}
        other = {file for file in there if file.name.startswith("result") or file.suffix in CONTINUED}
        other -= {file for file in there if file.name.startswith("multislice")}
        other |= {file for file in there if file.name in LICENSED}
        found |= (there - other) | (there & needed)
    top = [folder / name for name in (CONFIG, LOG, STATE, SESSIONS, REPORT, MARKDOWN, DATABASE)]
    top += (folder / FIGURES).glob("*.png")
    top += movie_files(folder)
    return found | {file for file in top if file.is_file()}


def movie_files(folder: Path) -> list[Path]:
    """Return the files of the movie that was tracked in a run folder, the atoms of each frame among them."""
    if not (folder / TRACKING).is_file():
        return []
    names = (TRACKS, EVENTS, DRIFT, TRACKING, f"{FRAMES}/{STATE}")
    return [*(folder / name for name in names), *sorted((folder / FRAMES).glob("atoms-*.csv"))]
