"""Relaxation and dynamics by DFTB+'s own drivers."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from ase.units import Hartree, fs
from scipy.constants import speed_of_light

from stem2sim.engines.deadline import check_time
from stem2sim.engines.motion import Motion
from stem2sim.errors import BadInput, StageFailed
from stem2sim.files import write_text
from stem2sim.progress import track
from stem2sim.simulation import constrained
from stem2sim_dftb.binary import INPUT, LOG, find, run
from stem2sim_dftb.hsd import Block, Rows, dumps
from stem2sim_dftb.input import moved_atoms
from stem2sim_dftb.results import TAG, energies_and_forces, frames

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from ase import Atoms
    from numpy.typing import NDArray

    from stem2sim.engines.checkpoints import Claim
    from stem2sim.engines.motion import Bath
    from stem2sim_dftb.dftb import Dftb

    Composer = Callable[[Atoms, Any], dict[str, Any]]
    """Makes the input for atoms and a driver."""

PREFIX = "geo_end"
GEOMETRIES, EARLIER = f"{PREFIX}.xyz", "geo_earlier.xyz"
"""Of the present try, and the last ones of the try before."""

CHAIN = re.compile(r"^([xvg]):\n((?:\s+\S+E[+-]\d+)+)", re.MULTILINE)
"""Variables of the thermostat in md.out."""

LENGTH = 3
"""Thermostats in a chain, as DFTB+ has it where nothing else is said."""

MEMORY = 1000
"""Atoms; Rational keeps a matrix of all coordinates squared, LBFGS does not."""


class Ended(NamedTuple):
    """How a relaxation by DFTB+ ended."""

    atoms: Atoms
    energies: list[float]
    """Of every step [eV]."""
    energy: float
    """[eV]."""
    forces: NDArray[np.float64]
    """(atoms, 3) [eV/Å], constraints applied."""
    converged: bool
    seconds: float


def relax_natively(engine: Dftb, start: Atoms, workdir: Path, claim: Claim, compose: Composer) -> Ended:
    """Relax with the driver of DFTB+.

    What was cut off goes on from its last geometry, with an optimiser that starts anew: the end is the same minimum
    within fmax, not the same bits, and steps and time are those of the last part.
    """
    atoms = start.copy()
    moving = moved_atoms(atoms)
    now, before = workdir / GEOMETRIES, workdir / EARLIER
    earlier = [*frames(before, atoms), *frames(now, atoms)] if claim.resumed else []
    if earlier:
        atoms = earlier[-1][1]
        atoms.set_momenta(None)
    driver = Block(
        "GeometryOptimisation",
        {
            "Optimiser": Block("Rational" if len(atoms) <= MEMORY else "LBFGS", {}),
            "MovedAtoms": moving,
            "MaxSteps": engine.max_steps,
            "OutputPrefix": PREFIX,
            "AppendGeometries": True,
            # DFTB+ looks at components, fmax is of the whole vector
            "Convergence": {"GradElem [eV/Angstrom]": engine.fmax / np.sqrt(3)},
        },
    )
    (workdir / TAG).unlink(missing_ok=True)
    if any(frames(now, start)):
        os.replace(now, before)  # until there is a newer geometry, this is the one to go on from
    elif not claim.resumed:
        before.unlink(missing_ok=True)
    now.unlink(missing_ok=True)
    write_text(workdir / INPUT, dumps(compose(atoms, driver)))
    started = time.monotonic()
    done = 0
    with track(f"{engine.name}: relaxation", engine.max_steps) as advance:

        def watch() -> None:
            nonlocal done
            steps = (workdir / LOG).read_text(encoding="utf-8", errors="replace").count("***  Geometry step")
            advance(steps - done)
            done = steps
            check_time(0.0, f"after step {steps} of DFTB+'s own relaxation")

        said = run(find(engine.binary), workdir, engine.threads, watch)
    seconds = time.monotonic() - started
    found = energies_and_forces(workdir / TAG)
    ended = list(frames(now, start))
    atoms = ended[-1][1]
    atoms.set_momenta(None)
    forces = constrained(atoms, np.array(found["forces"]))
    energies = [float(e) * Hartree for e in re.findall(r"Total Mermin free energy:\s+(\S+) H", said)]
    return Ended(atoms, energies, float(found["energy"]), forces, "Geometry converged" in said, seconds)


def moves_natively(
    engine: Dftb, start: Atoms, workdir: Path, steps: int, bath: Bath, state: dict[str, Any], compose: Composer
) -> Generator[Motion, None, None]:
    """Run DFTB+'s velocity Verlet; yield every step once all are made.

    Its output has 8 decimals, so that a run in parts is the run in one to about 1e-8 Å, and to the bit where both are
    made of the same parts.

    Raises:
        BadInput: a thermostat or a constraint that DFTB+ does not have.
    """
    if bath.ensemble == "nvt" and bath.thermostat != "nose-hoover":
        raise BadInput(f"DFTB+ has no thermostat {bath.thermostat}; use nose-hoover, or leave native out")
    moving = moved_atoms(start)
    chain = {}
    if state:
        chain = {"Restart": {name: Rows(np.array([state[name]])) for name in ("x", "v", "g")}}
    thermostat = Block("None", {})
    if bath.ensemble == "nvt":
        waves = 1e15 / (100 * speed_of_light * bath.period)  # 1/cm of an oscillation of that period
        # DFTB+ counts three for each atom that moves, less the shifts of the whole, whatever else stands still
        counted = 3 * len(moving) - (3 if len(moving) == len(start) else 0)
        target = {
            "Temperature [Kelvin]": bath.temperature * bath.freedom / counted,
            "CouplingStrength [cm^-1]": waves,
            "ChainLength": bath.chain_length or LENGTH,
        }
        thermostat = Block("NoseHoover", {**target, **chain})
    driver = Block(
        "VelocityVerlet",
        {
            "MovedAtoms": moving,
            "Steps": steps,
            "TimeStep [fs]": bath.time_step,
            # with fixed atoms it would take out a common momentum that is not conserved, and heat the rest
            "KeepStationary": len(moving) == len(start),
            "MDRestartFrequency": 1,
            "OutputPrefix": PREFIX,
            "Thermostat": thermostat,
            "Velocities [AA/ps]": Rows(1e3 * fs * start.get_velocities()),
        },
    )
    for name in (TAG, f"{PREFIX}.xyz", "md.out"):
        (workdir / name).unlink(missing_ok=True)
    write_text(workdir / INPUT, dumps(compose(start, driver)))
    run(find(engine.binary), workdir, engine.threads)
    blocks = (workdir / "md.out").read_text(encoding="utf-8").split("MD step:")[1:]
    last = energies_and_forces(workdir / TAG)
    made = list(zip(frames(workdir / f"{PREFIX}.xyz", start), blocks, strict=True))[1:]
    if len(made) != steps:
        raise StageFailed(f"DFTB+ made {len(made)} of {steps} steps; its log: {workdir.name}/{LOG}")
    for number, ((_, atoms), block) in enumerate(made, start=1):
        potential = float(re.findall(r"Potential Energy:\s+(\S+) H", block)[0]) * Hartree
        found = {name: [float(v) for v in re.findall(r"\S+", values)] for name, values in CHAIN.findall(block)}
        forces = np.array(last["forces"]) if number == steps else None
        yield Motion(atoms.positions, atoms.get_momenta(), potential, forces, found)
