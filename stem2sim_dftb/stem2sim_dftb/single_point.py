"""Energy and forces of one geometry, resumed from the charges of the last iteration."""

from __future__ import annotations

import logging
import re
import time
from typing import TYPE_CHECKING, NamedTuple

from stem2sim.engines.deadline import check_time
from stem2sim.engines.diagnosis import read_output
from stem2sim.errors import StageFailed
from stem2sim.progress import track
from stem2sim_dftb.calculators import DftbPerStep
from stem2sim_dftb.failures import UNUSABLE_CHARGES
from stem2sim_dftb.job import CHARGES

if TYPE_CHECKING:
    import numpy as np
    from ase import Atoms
    from numpy.typing import NDArray

    from stem2sim_dftb.input import Input
    from stem2sim_dftb.job import Job

log = logging.getLogger("stem2sim")

ITERATION = re.compile(r"^ +(\d+) +\S+E\S+ +\S+E\S+ +(\S+E\S+)", re.MULTILINE)
"""Number and error [e] of a self-consistent iteration in the log."""


class SinglePoint(NamedTuple):
    """Energy and forces of a geometry."""

    energy: float
    """[eV]."""
    forces: NDArray[np.float64]
    """(atoms, 3) [eV/Å], constraints applied."""
    saved_charges: bool
    """Whether it started from the charges of an earlier run."""
    seconds: float


def single_point(job: Job, inputs: Input, atoms: Atoms, resumed: bool, max_iterations: int) -> SinglePoint:
    """Compute energy and forces; charges are saved after every iteration.

    Args:
        job: where dftb+ runs.
        inputs: composes the input.
        atoms: the geometry.
        resumed: whether charges in the folder belong to this very calculation.
        max_iterations: of the self-consistent charges.

    Raises:
        StageFailed: DFTB+ failed. Charges that did not converge are deleted.
    """
    charges = job.folder / CHARGES
    saved_charges = resumed and charges.is_file()
    if saved_charges:
        log.info("dftb: resuming from the charges of the last iteration")
    atoms = atoms.copy()
    started = time.monotonic()
    with track("dftb: self-consistent charges", max_iterations) as advance:
        done = 0

        def watch() -> None:
            nonlocal done
            iterations = ITERATION.findall(read_output(job.log))
            if iterations:
                advance(len(iterations) - done, note=f"error {float(iterations[-1][1]):.1e} e")
                done = len(iterations)
            check_time(0.0, f"after iteration {done} of the self-consistent charges")

        def energy(saved_charges: bool) -> float:
            atoms.calc = DftbPerStep(job, inputs, {"RestartFrequency": 1}, saved_charges, watch)
            return float(atoms.get_potential_energy())

        try:
            value = energy(saved_charges)
        except StageFailed as problem:
            if not any(words in str(problem) for words in UNUSABLE_CHARGES):
                raise
            charges.unlink(missing_ok=True)
            if not saved_charges:
                raise
            log.warning("dftb: the saved charges of the earlier run cannot be used; starting again without them")
            saved_charges = False
            value = energy(saved_charges)
    return SinglePoint(value, atoms.get_forces(), saved_charges, time.monotonic() - started)
