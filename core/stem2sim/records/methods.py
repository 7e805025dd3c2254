"""The methods section that a run has earned: what was done, with the numbers that decide it, ready for a paper."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from stem2sim import __version__
from stem2sim.analysis.comparison import engine_of
from stem2sim.engines.engine import Engine
from stem2sim.engines.engine_simulator import EngineSimulator
from stem2sim.image import origin_in_words
from stem2sim.records.made_with import prepared, simulated
from stem2sim.runs.movie_folder import movie_of
from stem2sim.runs.origin import started_from
from stem2sim.runs.staleness import stale

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from stem2sim.runs.movie_folder import Movie
    from stem2sim.runs.run import Run
    from stem2sim.simulation import SimulationResult
    from stem2sim.stages import Simulator

MOST = 6
"""Calculations listed by name: a paragraph is no table."""


def methods(run: Run, comparison: str = "") -> str:
    """Return a paragraph for the methods section of a paper; references stand as keys of BibTeX entries in brackets.

    Args:
        run: with its segmentation, structures and results.
        comparison: sentences about how well the structures agree with the image, which go behind the simulations.

    Raises:
        BadInput: a stage of the run is not installed here.
    """
    sentences = []
    if run.image is not None:
        (rows, columns), source = run.image.shape, run.image.pixel_size_source
        sentences.append(
            f"The image was {columns} × {rows} pixels, with a pixel size of {run.image.pixel_size:.4g} Å "
            f"({origin_in_words(source)})."
        )
    movie = movie_of(run)
    sentences += _filmed(movie) if movie is not None else []
    sentences += [one.methods() for one in prepared(run)]
    sentences += [_followed(movie)] if movie is not None else []
    if started := _started(run):
        sentences.append(started)
    earlier, made = stale(run), simulated(run)
    sentences += _simulated(run, {name: one for name, one in made.items() if name not in earlier})
    results = [result for name, result in run.results.items() if name not in earlier]
    short = [_named(one) for one in results if not one.converged]
    if short:
        more = f"; and {len(short) - MOST} more" if len(short) > MOST else ""
        sentences.append(
            f"{len(short)} of {len(results)} calculations did not converge: {'; '.join(short[:MOST])}{more}."
        )
    if comparison:
        sentences.append(comparison)
    if earlier:
        words = " ".join(_simulated(run, {name: made[name] for name in earlier}))
        sentences.append(f"Results of an earlier configuration are kept as well ({', '.join(earlier)}): {words}")
    engines = dict.fromkeys(filter(None, (engine_of(one) for one in run.results.values())))
    software = [f"stem2sim {__version__}", *engines, f"ASE {version('ase')} [larsen2017]"]
    sentences.append(
        f"The workflow follows [ghosh2022] and was carried out with {', '.join(software)} and Python "
        f"{platform.python_version()}."
    )
    return " ".join(sentences)


def _filmed(movie: Movie) -> list[str]:
    (rows, columns), source = movie.about["shape"], movie.about["pixel_size_source"]
    size = movie.about["pixel_size [Å]"]
    return [
        f"The movie had {movie.frames} frames of {columns} × {rows} pixels, with a pixel size of {size:.4g} Å "
        f"({origin_in_words(source)}); each frame was analysed separately."
    ]


def _followed(movie: Movie) -> str:
    reach, gap = movie.linking["reach [Å]"], movie.linking["gap"]
    return (
        "The drift between consecutive frames was measured and removed, and atoms were linked from frame to frame by "
        f"the assignment with the smallest sum of squared displacements, with displacements of up to {reach:g} Å and "
        f"missed detections in up to {gap} consecutive frames allowed."
    )


def _started(run: Run) -> str:
    """A sentence about the result of another run that this one started from; '' where it did not."""
    structure = next(iter(run.structures.values()), None) if "structure" in run.tree else None
    start = started_from(structure) if structure is not None else None
    return f"The initial structure is {start['result']} of the run {Path(start['run']).name}." if start else ""


def _simulated(run: Run, made: Mapping[str, Simulator]) -> Iterator[str]:
    """A sentence for each stage of each step; a method that follows itself is not described again."""
    previous = None
    seen: list[tuple[int, Simulator]] = []
    for name, stage in made.items():
        key = (run.places[name].step.number, stage)
        if key in seen:
            continue
        seen.append(key)
        engine = stage.engine if isinstance(stage, EngineSimulator) else stage
        theory = engine.theory() if isinstance(engine, Engine) else None
        words = stage.methods()
        yield words.replace(f"with {theory}", "with the same method") if theory and theory == previous else words
        previous = theory


def _named(result: SimulationResult) -> str:
    name = " ".join(filter(None, (str(result.made_by.get("use", "")), result.structure.label, result.label)))
    reason = result.reason.removeprefix("not converged: ") or "not converged"
    return f"{name} ({reason})" if name else reason
