"""Relaxation by DFTB+'s own driver."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from ase.units import Hartree

from stem2sim.files import write_text
from stem2sim.progress import track
from stem2sim_dftb.binary import INPUT, LOG, find, run
from stem2sim_dftb.hsd import Block, dumps
from stem2sim_dftb.input import moved_atoms
from stem2sim_dftb.results import TAG, energies_and_forces, frames

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ase import Atoms
    from numpy.typing import NDArray

    from stem2sim.resume import Claim
    from stem2sim_dftb.dftb import Dftb

PREFIX = "geo_end"

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


def relax_natively(
    engine: Dftb, start: Atoms, workdir: Path, claim: Claim, compose: Callable[[Atoms, Any], dict[str, Any]]
) -> Ended:
    """Relax with the driver of DFTB+.

    What was cut off goes on from its last geometry, with an optimiser that starts anew: the end is the same minimum
    within fmax, not the same bits.
    """
    atoms = start.copy()
    moving = moved_atoms(atoms)
    earlier = list(frames(workdir / f"{PREFIX}.xyz", atoms)) if claim.resumed else []
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
    (workdir / f"{PREFIX}.xyz").unlink(missing_ok=True)
    write_text(workdir / INPUT, dumps(compose(atoms, driver)))
    started = time.monotonic()
    done = 0
    with track(f"{engine.name}: relaxation", engine.max_steps) as advance:

        def watch() -> None:
            nonlocal done
            now = (workdir / LOG).read_text(encoding="utf-8", errors="replace").count("***  Geometry step")
            advance(now - done)
            done = now

        said = run(find(engine.binary), workdir, engine.threads, watch)
    seconds = time.monotonic() - started
    found = energies_and_forces(workdir / TAG)
    ended = list(frames(workdir / f"{PREFIX}.xyz", start))
    atoms = ended[-1][1]
    atoms.set_momenta(None)
    forces = np.array(found["forces"])
    for constraint in atoms.constraints:
        constraint.adjust_forces(atoms, forces)
    energies = [float(e) * Hartree for e in re.findall(r"Total Mermin free energy:\s+(\S+) H", said)]
    return Ended(atoms, energies, float(found["energy"]), forces, "Geometry converged" in said, seconds)
