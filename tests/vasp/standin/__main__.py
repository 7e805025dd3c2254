"""A VASP stand-in for tests: `python tests/vasp/standin` runs in the current directory as `vasp_std` would.

It reads INCAR, POSCAR, KPOINTS and POTCAR, computes energies, forces and stress with a real engine, and writes OUTCAR,
vasprun.xml, CONTCAR, OSZICAR and XDATCAR step by step, so that killing it leaves files as torn as those of VASP. All
of them say STAND-IN. It shares no code with what it tests.

Environment:
    VASP_STANDIN_ENGINE: tblite (default), emt, lj, or springs, which needs numpy alone.
    VASP_STANDIN_FLAVOUR: 6 (default) or 5, with the manners of VASP 5.4.4.
    VASP_STANDIN_FAIL: kind@step[;kind@step], see `standin_failures`; VASP_STANDIN_FAIL_ALWAYS=1 repeats them.
    VASP_STANDIN_SLEEP: Seconds that each ionic step takes at least.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from standin_engines import engine_of
from standin_failures import Crashed, Failures, die_of_full_disk, is_full
from standin_identity import Identity, Refused, identity_of_environment, refusal
from standin_job import Job, read_job
from standin_motion import is_thermostatted, run_dynamics
from standin_relax import run_relaxation, run_single_point
from standin_run import Run

if TYPE_CHECKING:
    from collections.abc import Callable


def main() -> int:
    """Run, and return the exit status."""
    identity = identity_of_environment()
    try:
        _run(identity)
    except Refused as error:
        print(refusal(str(error), identity.flavour), flush=True)
        return 1
    except Crashed as crash:
        return crash.status
    except OSError as error:
        if not is_full(error):
            raise
        die_of_full_disk(error)
    return 0


def _run(identity: Identity) -> None:
    failures = Failures()
    _say(" running    1 mpi-ranks, with    1 threads/rank, on    1 nodes")
    _say(" distrk:  each k-point on    1 cores,    1 groups")
    _say(" distr:  one band on    1 cores,    1 groups")
    _say(identity.banner)
    if failures.fires("refuse"):
        raise Refused("No initial positions read in")
    job: Job | None = None
    for item in read_job(identity):
        if isinstance(item, Job):
            job = item
        else:
            _say(item)
    assert job is not None
    work = _work_of(job)
    engine = engine_of(job)
    for line in ("POSCAR, INCAR and KPOINTS ok, starting setup", "FFT: planning ... GRIDC", "WAVECAR not read"):
        _say(f" {line}")
    _say(" entering main loop")
    work(Run(job, engine, failures))


def _work_of(job: Job) -> Callable[[Run], None]:
    """Return what IBRION and NSW ask for."""
    ibrion, steps = job.settings.integer("IBRION"), job.settings.integer("NSW")
    if ibrion == -1 or steps <= 0:
        return run_single_point
    if ibrion == 0:
        is_thermostatted(job)
        return run_dynamics
    if ibrion in (1, 2, 3):
        return run_relaxation
    raise Refused(f"the stand-in does nothing for IBRION={ibrion}: it knows -1, 0, 1, 2 and 3")


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
