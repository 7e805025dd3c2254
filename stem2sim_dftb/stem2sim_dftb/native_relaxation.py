"""Relaxation by DFTB+'s own driver."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from ase.units import Hartree

from stem2sim.engines.deadline import check_time
from stem2sim.engines.diagnosis import read_output
from stem2sim.progress import track
from stem2sim.simulation import constrained
from stem2sim_dftb.hsd import HsdBlock
from stem2sim_dftb.input import movable_atoms
from stem2sim_dftb.results import GEOMETRIES, PREFIX, TAG, energies_and_forces, frames

if TYPE_CHECKING:
    from pathlib import Path

    from ase import Atoms
    from numpy.typing import NDArray

    from stem2sim_dftb.input import Input
    from stem2sim_dftb.job import Job

EARLIER = "geo_earlier.xyz"
"""The last geometries of the run before."""

MEMORY = 1000
"""Atoms; Rational keeps a matrix of all coordinates squared, LBFGS does not."""


class NativeRelaxation(NamedTuple):
    """The end of a relaxation by DFTB+."""

    atoms: Atoms
    energies: list[float]
    """Of every step [eV]."""
    energy: float
    """[eV]."""
    forces: NDArray[np.float64]
    """(atoms, 3) [eV/Å], constraints applied."""
    converged: bool
    seconds: float


def relax(job: Job, inputs: Input, start: Atoms, resumed: bool, fmax: float, max_steps: int) -> NativeRelaxation:
    """Relax with the driver of DFTB+.

    An interrupted relaxation resumes from its last geometry, with a new optimiser: it ends at the same minimum within
    fmax, not bit by bit, and steps and time are those of the last part.

    Args:
        job: where dftb+ runs.
        inputs: composes the input.
        start: the geometry to begin with.
        resumed: whether geometries in the folder belong to this very relaxation.
        fmax: largest force on an atom to reach [eV/Å].
        max_steps: of this part.

    Raises:
        BadInput: a constraint that the driver does not support.
        StageFailed: DFTB+ failed.
    """
    driver = _driver(start, fmax, max_steps)
    atoms = _continued(job.folder, start) if resumed else None
    _keep_geometries(job.folder, start, resumed)
    started = time.monotonic()
    done = 0
    with track("dftb: relaxation", max_steps) as advance:

        def watch() -> None:
            nonlocal done
            steps = read_output(job.log).count("***  Geometry step")
            advance(steps - done)
            done = steps
            check_time(0.0, f"after step {steps} of DFTB+'s own relaxation")

        output = job.run(inputs.tree(start if atoms is None else atoms, driver), watch)
    seconds = time.monotonic() - started
    results = energies_and_forces(job.folder / TAG)
    *_, (_, relaxed) = frames(job.folder / GEOMETRIES, start)
    relaxed.set_momenta(None)
    forces = constrained(relaxed, np.array(results["forces"]))
    energies = [float(e) * Hartree for e in re.findall(r"Total Mermin free energy:\s+(\S+) H", output)]
    converged = "Geometry converged" in output
    return NativeRelaxation(relaxed, energies, float(results["energy"]), forces, converged, seconds)


def _driver(start: Atoms, fmax: float, max_steps: int) -> HsdBlock:
    return HsdBlock(
        "GeometryOptimisation",
        {
            "Optimiser": HsdBlock("Rational" if len(start) <= MEMORY else "LBFGS", {}),
            "MovedAtoms": movable_atoms(start),
            "MaxSteps": max_steps,
            "OutputPrefix": PREFIX,
            "AppendGeometries": True,
            # DFTB+ looks at components, fmax is of the whole vector
            "Convergence": {"GradElem [eV/Angstrom]": fmax / np.sqrt(3)},
        },
    )


def _continued(folder: Path, start: Atoms) -> Atoms | None:
    """The last geometry that an interrupted relaxation wrote, None if it wrote none."""
    geometries = [*frames(folder / EARLIER, start), *frames(folder / GEOMETRIES, start)]
    if not geometries:
        return None
    atoms = geometries[-1][1]
    atoms.set_momenta(None)
    return atoms


def _keep_geometries(folder: Path, start: Atoms, resumed: bool) -> None:
    """Put the geometries so far aside: until there is a newer one, they are those to resume from."""
    now, earlier = folder / GEOMETRIES, folder / EARLIER
    if any(frames(now, start)):
        os.replace(now, earlier)
    elif not resumed:
        earlier.unlink(missing_ok=True)
    now.unlink(missing_ok=True)
