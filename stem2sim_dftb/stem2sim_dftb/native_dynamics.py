"""Molecular dynamics by DFTB+'s own driver."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.units import Hartree, fs
from scipy.constants import speed_of_light

from stem2sim.engines.motion import Motion
from stem2sim.errors import BadInput, StageFailed
from stem2sim_dftb.hsd import HsdBlock, Rows
from stem2sim_dftb.input import movable_atoms
from stem2sim_dftb.results import GEOMETRIES, PREFIX, TAG, energies_and_forces, frames

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from ase import Atoms

    from stem2sim.engines.motion import Bath
    from stem2sim_dftb.input import Input
    from stem2sim_dftb.job import Job

STEPS = "md.out"

THERMOSTAT = re.compile(r"^([xvg]):\n((?:\s+\S+E[+-]\d+)+)", re.MULTILINE)
"""Variables of the thermostat in md.out."""

CHAIN_LENGTH = 3
"""Thermostats in a chain: the default of DFTB+."""


def velocity_verlet(
    job: Job, inputs: Input, start: Atoms, steps: int, bath: Bath, state: Mapping[str, Any]
) -> Generator[Motion, None, None]:
    """Run DFTB+'s velocity Verlet; yield every step once all are done.

    Its output has 8 decimals: a run in parts equals the run in one to about 1e-8 Å, and bit by bit if both consist of
    the same parts.

    Args:
        job: where dftb+ runs.
        inputs: composes the input.
        start: atoms with momenta.
        steps: number of time steps.
        bath: the ensemble.
        state: of the thermostat after the step before; empty at the start.

    Raises:
        BadInput: a thermostat or a constraint that DFTB+ does not have.
        StageFailed: DFTB+ failed.
    """
    driver = _driver(start, steps, bath, state)
    for name in (GEOMETRIES, STEPS):
        (job.folder / name).unlink(missing_ok=True)
    job.run(inputs.tree(start, driver))
    blocks = (job.folder / STEPS).read_text(encoding="utf-8").split("MD step:")[1:]
    last = energies_and_forces(job.folder / TAG)
    completed = list(zip(frames(job.folder / GEOMETRIES, start), blocks, strict=True))[1:]
    if len(completed) != steps:
        log = f"{job.folder.name}/{job.log.name}"
        raise StageFailed(f"DFTB+: it completed {len(completed)} of {steps} steps; log: {log}")
    for number, ((_, atoms), block) in enumerate(completed, start=1):
        potential = float(re.findall(r"Potential Energy:\s+(\S+) H", block)[0]) * Hartree
        chain = {name: [float(v) for v in values.split()] for name, values in THERMOSTAT.findall(block)}
        forces = np.array(last["forces"]) if number == steps else None
        yield Motion(atoms.positions, atoms.get_momenta(), potential, forces, chain)


def _driver(start: Atoms, steps: int, bath: Bath, state: Mapping[str, Any]) -> HsdBlock:
    thermostat = _thermostat(start, bath, state)
    movable = movable_atoms(start)
    return HsdBlock(
        "VelocityVerlet",
        {
            "MovedAtoms": movable,
            "Steps": steps,
            "TimeStep [fs]": bath.time_step,
            # with fixed atoms it would take out a common momentum that is not conserved, and heat the rest
            "KeepStationary": len(movable) == len(start),
            "MDRestartFrequency": 1,
            "OutputPrefix": PREFIX,
            "Thermostat": thermostat,
            "Velocities [AA/ps]": Rows(1e3 * fs * start.get_velocities()),
        },
    )


def _thermostat(start: Atoms, bath: Bath, state: Mapping[str, Any]) -> HsdBlock:
    if bath.ensemble != "nvt":
        return HsdBlock("None", {})
    if bath.thermostat != "nose-hoover":
        raise BadInput(f"DFTB+ has no {bath.thermostat} thermostat; use thermostat = 'nose-hoover', or native = false")
    movable = len(movable_atoms(start))
    waves = 1e15 / (100 * speed_of_light * bath.period)  # 1/cm of an oscillation of that period
    # DFTB+ counts three for each atom that moves, less the shifts of the whole, whatever else is fixed
    counted = 3 * movable - (3 if movable == len(start) else 0)
    chain = {
        "Temperature [Kelvin]": bath.temperature * bath.freedom / counted,
        "CouplingStrength [cm^-1]": waves,
        "ChainLength": bath.chain_length or CHAIN_LENGTH,
    }
    if state:
        chain["Restart"] = {name: Rows(np.array([state[name]])) for name in ("x", "v", "g")}
    return HsdBlock("NoseHoover", chain)
