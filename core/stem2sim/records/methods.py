"""The methods section that a run has earned: what was done, with the numbers that decide it, ready for a paper."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import TYPE_CHECKING

from stem2sim import __version__
from stem2sim.analysis.comparison import engine_of
from stem2sim.engines.engine import Engine
from stem2sim.engines.engine_simulator import EngineSimulator
from stem2sim.records.citations import ran
from stem2sim.stages import Builder, Segmenter, Simulator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stem2sim.runs.run import Run
    from stem2sim.simulation import SimulationResult

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
            f"({'given' if source == 'given' else f'from the {source}'})."
        )
    stages = ran(run)
    sentences += [one.methods() for one in stages if isinstance(one, Segmenter)]
    sentences += [one.methods() for one in stages if isinstance(one, Builder)]
    sentences += _simulated([one for one in stages if isinstance(one, Simulator)])
    results = list(run.results.values())
    short = [_named(one) for one in results if not one.converged]
    if short:
        more = f"; and {len(short) - MOST} more" if len(short) > MOST else ""
        sentences.append(
            f"{len(short)} of {len(results)} calculations did not converge: {'; '.join(short[:MOST])}{more}."
        )
    if comparison:
        sentences.append(comparison)
    engines = dict.fromkeys(filter(None, (engine_of(one) for one in results)))
    software = [f"stem2sim {__version__}", *engines, f"ASE {version('ase')} [larsen2017]"]
    sentences.append(
        f"The workflow follows [ghosh2022] and was carried out with {', '.join(software)} and Python "
        f"{platform.python_version()}."
    )
    return " ".join(sentences)


def _simulated(stages: list[Simulator]) -> Iterator[str]:
    """A sentence for each stage; a method that follows itself is not described again."""
    previous = None
    for stage in stages:
        engine = stage.engine if isinstance(stage, EngineSimulator) else stage
        theory = engine.theory() if isinstance(engine, Engine) else None
        words = stage.methods()
        yield words.replace(f"with {theory}", "with the same method") if theory and theory == previous else words
        previous = theory


def _named(result: SimulationResult) -> str:
    name = " ".join(filter(None, (str(result.made_by.get("use", "")), result.structure.label, result.label)))
    reason = result.reason.removeprefix("not converged: ") or "not converged"
    return f"{name} ({reason})" if name else reason
