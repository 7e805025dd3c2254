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
    from collections.abc import Iterable
    from pathlib import Path

    from stem2sim.image import Image
    from stem2sim.simulation import SimulationResult
    from stem2sim.structure import Structure

MOST = 6
"""Results that fell short and are named; a paragraph is no list."""


def methods(
    folder: Path, image: Image | None, structures: Iterable[Structure], results: Iterable[SimulationResult]
) -> str:
    """Return a paragraph for the methods section of a paper; references stand as keys of BibTeX entries in brackets.

    Raises:
        BadInput: not a run folder, or a stage of it is not installed here.
    """
    told = []
    if image is not None:
        rows, columns = image.shape
        told.append(
            f"The frame has {columns} × {rows} pixels of {image.pixel_size:.4g} Å (pixel size from the "
            f"{image.pixel_size_source})."
        )
    stages = ran(folder)
    told += [one.methods() for one in stages if isinstance(one, Segmenter)]
    told += [one.methods() for one in stages if isinstance(one, Builder)]
    findings = dict.fromkeys(finding for structure in structures for finding in structure.findings)
    if findings:
        told.append(f"In numbers: {'; '.join(findings)}.")
    told += [one.methods() for one in stages if isinstance(one, Simulator)]
    results = list(results)
    short = [_named(one) for one in results if not one.converged]
    if short:
        more = f"; and {len(short) - MOST} more" if len(short) > MOST else ""
        named = "; ".join(short[:MOST])
        told.append(f"Of {len(results)} results, {len(short)} did not reach what was asked for: {named}{more}.")
    engines = dict.fromkeys(filter(None, (engine_of(one) for one in results)))
    software = [f"stem2sim {__version__}", *engines, f"ASE {version('ase')} [larsen2017]"]
    told.append(
        f"All of it ran as one pipeline after [ghosh2022], with {', '.join(software)} and Python "
        f"{platform.python_version()}."
    )
    return " ".join(told)


def _named(result: SimulationResult) -> str:
    name = " ".join(filter(None, (str(result.made_by.get("use", "")), result.structure.label, result.label)))
    return f"{name} ({result.reason or 'not converged'})" if name else result.reason or "not converged"
