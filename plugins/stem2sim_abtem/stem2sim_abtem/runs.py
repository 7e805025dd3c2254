"""What a run folder holds to be imaged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stem2sim.run.folder import CONFIG, SEGMENTATION, RunFolder

from stem2sim.errors import BadInput
from stem2sim.segmentation import Segmentation
from stem2sim.simulation import SimulationResult
from stem2sim_abtem.phonons import moving

if TYPE_CHECKING:
    from pathlib import Path


def chosen(run: Path, name: str | None) -> tuple[Path, SimulationResult]:
    """Return a result of a run folder and its file: by name, else the last in thermal motion, else the last.

    Raises:
        BadInput: not a run folder, or no such result in it.
    """
    if not (run / CONFIG).is_file():
        raise BadInput(f"{run} is not a run folder: it has no {CONFIG}")
    files = RunFolder(run).simulations()
    if not files:
        raise BadInput(f"{run} has no result of a simulation yet")
    if name is not None:
        named = [file for file in files if str(file.relative_to(run)) in (name, f"{name}/result.json")]
        if not named:
            known = ", ".join(str(file.relative_to(run)) for file in files)
            raise BadInput(f"no result '{name}' in {run}; results: {known}")
        return named[0], SimulationResult.read(named[0])
    results = [(file, SimulationResult.read(file)) for file in reversed(files)]
    return next((one for one in results if moving(one[1])), results[0])


def pixel_size_of(run: Path) -> float | None:
    """Return the pixel size of the frame that a run started from [Å]; None where it did not start from one."""
    file = run / SEGMENTATION
    return Segmentation.load(file).pixel_size if file.is_file() else None
