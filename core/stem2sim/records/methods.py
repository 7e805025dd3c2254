"""The methods section that a run has earned: what was done, with the numbers that decide it, ready for a paper."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import TYPE_CHECKING

from stem2sim import __version__
from stem2sim.analysis.comparison import engine_of
from stem2sim.records.citations import ran
from stem2sim.stages import Builder, Segmenter, Simulator

if TYPE_CHECKING:
    from stem2sim.run.run import Run
    from stem2sim.simulation import SimulationResult

MOST = 6
"""Calculations listed by name: a paragraph is no table."""


def methods(run: Run) -> str:
    """Return a paragraph for the methods section of a paper; references stand as keys of BibTeX entries in brackets.

    Raises:
        BadInput: a stage of the run is not installed here.
    """
    sentences = []
    if run.image is not None:
        rows, columns = run.image.shape
        sentences.append(
            f"The image has {columns} × {rows} pixels of {run.image.pixel_size:.4g} Å (pixel size from the "
            f"{run.image.pixel_size_source})."
        )
    stages = ran(run)
    sentences += [one.methods() for one in stages if isinstance(one, Segmenter)]
    sentences += [one.methods() for one in stages if isinstance(one, Builder)]
    findings = dict.fromkeys(finding for structure in run.structures.values() for finding in structure.findings)
    if findings:
        sentences.append(f"Details: {'; '.join(findings)}.")
    sentences += [one.methods() for one in stages if isinstance(one, Simulator)]
    results = list(run.results.values())
    short = [_named(one) for one in results if not one.converged]
    if short:
        more = f"; and {len(short) - MOST} more" if len(short) > MOST else ""
        sentences.append(
            f"{len(short)} of {len(results)} calculations did not converge: {'; '.join(short[:MOST])}{more}."
        )
    engines = dict.fromkeys(filter(None, (engine_of(one) for one in results)))
    software = [f"stem2sim {__version__}", *engines, f"ASE {version('ase')} [larsen2017]"]
    sentences.append(
        f"All steps were run as one pipeline, following [ghosh2022], with {', '.join(software)} and Python "
        f"{platform.python_version()}."
    )
    return " ".join(sentences)


def _named(result: SimulationResult) -> str:
    name = " ".join(filter(None, (str(result.made_by.get("use", "")), result.structure.label, result.label)))
    return f"{name} ({result.reason or 'not converged'})" if name else result.reason or "not converged"
