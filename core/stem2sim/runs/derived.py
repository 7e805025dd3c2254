"""What follows from the results of a run: how they agree with the image, and what happened along trajectories."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from stem2sim.agreement.compare_back import agreement
from stem2sim.analysis.evolution import TIME, Evolution, evolution_of
from stem2sim.errors import BadInput
from stem2sim.progress import track
from stem2sim.runs.names import multislice_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from ase import Atoms
    from numpy.typing import NDArray

    from stem2sim.agreement.agreement import Agreement
    from stem2sim.engines.trajectory import Trajectory
    from stem2sim.image import Image
    from stem2sim.runs.contents import Contents
    from stem2sim.segmentation import Segmentation
    from stem2sim.simulation import SimulationResult
    from stem2sim.structure import Structure

TEMPERATURE = "temperature [K]"
"""Observable of dynamics: their mean structure is what an image shows, which takes far longer than any vibration."""


def compare_with_image(
    image: Image | None,
    segmentation: Segmentation | None,
    structures: Mapping[str, Structure],
    ends: Mapping[str, tuple[SimulationResult, Trajectory | None, Structure | None]],
) -> dict[str, Agreement | str]:
    """Compare every structure and every result with the image, or say why that is not possible; none without an image.

    Of dynamics the mean structure over the second half is compared.

    Args:
        image: the frame.
        segmentation: what was found in it.
        structures: as built, by the names of their files.
        ends: by name, each result, its trajectory, and the structure that was built and that it goes back to.
    """
    if image is None or segmentation is None:
        return {}
    members: list[tuple[str, Atoms, Atoms]] = [
        (Path(name).stem, structure.atoms, structure.atoms) for name, structure in structures.items()
    ]
    for name, (result, trajectory, built) in ends.items():
        atoms = result.structure.atoms
        if TEMPERATURE in result.observables and trajectory is not None:
            atoms = trajectory.mean_structure() or atoms
        if built is not None and len(built.atoms) == len(atoms):
            members.append((name, atoms, built.atoms))
    found: dict[str, Agreement | str] = {}
    probe = None  # of the frame: the first structure that shows it shows it for all
    with track("compare back", len(members)) as advance:
        for name, atoms, built_as in members:
            try:
                comparison = agreement(image, segmentation, atoms, built_as, probe)
                found[name], probe = comparison, comparison.probe
            except BadInput as problem:
                found[name] = str(problem)
            advance()
    return found


def evolution_along(
    result: SimulationResult, trajectory: Trajectory | None, contents: Contents, kept: Path
) -> Evolution | None:
    """Return what happened along the trajectory of a result; None for a result without times, or without frames.

    It is kept beside the result and read again from there as long as the trajectory has not changed. Where the
    trajectory is gone, what was kept of it counts, if it covers as many frames as the result.

    Args:
        result: of a simulation.
        trajectory: of it.
        contents: of the run folder.
        kept: where the evolution is kept.
    """
    if trajectory is None or TIME not in result.observables:
        return None
    gone = not trajectory.path.is_file()
    with suppress(OSError, BadInput):  # computed again below
        if gone or kept.stat().st_mtime_ns > trajectory.path.stat().st_mtime_ns:
            evolution = contents.evolution(kept)
            if evolution.frames == -(-len(result.observables[TIME]) // evolution.stride):
                return evolution
    if gone:
        return None
    try:
        evolution = evolution_of(result, trajectory)
    except BadInput:  # no frame of it is left to look at
        return None
    evolution.write(kept)
    contents.forget([kept])
    return evolution


class SimulatedImage(NamedTuple):
    """An image that a plugin simulated from a result, as with `stem2sim multislice`."""

    image: NDArray[np.float64]
    """(rows, columns), share of the beam."""
    pixel_size: float
    """[Å]"""
    origin: tuple[float, float]
    """x, y of its top-left pixel in the structure [Å]."""
    metadata: dict[str, Any]


def simulated_image(contents: Contents, result: Path) -> SimulatedImage | None:
    """Return the image that a plugin simulated from a result (see `multislice_of`); None where there is none.

    Args:
        contents: of the run folder.
        result: the `result*.json`.
    """
    with suppress(BadInput, KeyError, ValueError):  # no such file, or one of something else
        kept = contents.arrays(multislice_of(result))
        x, y = (float(value) for value in kept["origin"])
        return SimulatedImage(kept["image"], float(kept["pixel_size"]), (x, y), json.loads(str(kept["metadata"])))
    return None
