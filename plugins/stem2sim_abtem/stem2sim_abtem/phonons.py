"""Frozen phonons: configurations of a simulated structure, to be imaged one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stem2sim.errors import BadInput, StageFailed
from stem2sim.geometry.superposition import moved

if TYPE_CHECKING:
    from ase import Atoms

    from stem2sim.engines.trajectory import Trajectory
    from stem2sim.simulation import SimulationResult

TEMPERATURE = "temperature [K]"
"""Among the observables of a result whose trajectory is thermal motion; others are ways to a minimum."""


def moving(result: SimulationResult) -> bool:
    """Return whether a result's trajectory shows thermal motion."""
    return result.trajectory is not None and TEMPERATURE in result.observables


def configurations(
    result: SimulationResult, trajectory: Trajectory | None, count: int, thermal: float, seed: int
) -> list[Atoms]:
    """Return configurations of a result: frames of its second half, evenly spaced, else displaced at random.

    Drift and rotation in the plane since the first of these frames are removed, in a periodic cell drift only: that
    is no vibration, and a microscope would see it as a blur that is not there.

    Args:
        result: a simulation's.
        trajectory: of it.
        count: how many; there are fewer where the trajectory has fewer.
        thermal: standard deviation of the random displacements along each axis [Å]; 0 for none, and one frame.
        seed: of these.

    Raises:
        BadInput: no configuration, or a negative displacement.
        StageFailed: the trajectory is damaged.
    """
    if count < 1:
        raise BadInput(f"at least 1 frozen phonon is needed, got {count}")
    if not (np.isfinite(thermal) and thermal >= 0):
        raise BadInput(f"thermal displacements cannot be negative, got {thermal:g} Å")
    atoms = result.structure.atoms
    if trajectory is not None and moving(result):
        frames = list(trajectory.second_half(count))
        if not frames:
            raise StageFailed(f"no frame can be read from {trajectory.path}")
        chosen = np.unique(np.linspace(0, len(frames) - 1, count).round().astype(int))
        first = frames[0].positions.copy()
        for frame in frames:
            frame.positions = first + moved(frames[0], frame, "in plane")
        return [frames[number] for number in chosen]
    if thermal == 0:
        return [atoms.copy()]
    rng = np.random.default_rng(seed)
    displaced = []
    for _ in range(count):
        one = atoms.copy()
        one.set_constraint()
        one.positions += rng.normal(0, thermal, one.positions.shape)
        displaced.append(one)
    return displaced
