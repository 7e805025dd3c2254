"""A run that is started elsewhere in the same folder, and waited for."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from stem2sim.engines.deadline import time_left
from stem2sim.errors import OutOfTime, StageFailed
from stem2sim.progress import track
from stem2sim_vasp import folder as contract
from stem2sim_vasp import job
from stem2sim_vasp.failures import failure
from stem2sim_vasp.growing_output import LONGEST_PAUSE
from stem2sim_vasp.outputs import count_steps, ending
from stem2sim_vasp.running import GRACE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

log = logging.getLogger("stem2sim")


def wait_for(folder: Path, total: int, is_complete: Callable[[], bool]) -> None:
    """Wait until somebody else has run VASP to its end, in as many parts as that takes.

    Args:
        folder: of the calculation.
        total: ionic steps at most, for the progress bar.
        is_complete: reads the output, and returns whether everything is done.

    Raises:
        OutOfTime: the wall-clock limit came first.
        StageFailed: the script ended with an error.
    """
    signature: list[tuple[str, int, int]] = []
    done = 0
    log.info("%s: waiting for a run that is started on another machine (sh %s)", folder, job.SCRIPT)
    with track("vasp: waiting", total) as advance:
        while True:
            count = sum(count_steps(part) for part in _folders(folder))
            advance(count - done)
            done = count
            before, signature = signature, list(_signature(folder))
            ended = ending(folder)[0] or (folder / job.STATUS).is_file()
            if ended and signature != before and is_complete():
                return
            status = job.status(folder)
            if status not in (None, 0, job.MORE):
                raise StageFailed(failure(folder, status))
            if time_left() < GRACE:
                raise OutOfTime(
                    "stopped waiting: the run continues on the other machine; the same command waits for it again"
                )
            time.sleep(LONGEST_PAUSE)


def _folders(folder: Path) -> list[Path]:
    return [*contract.earlier_parts(folder), folder]


def _signature(folder: Path) -> Iterator[tuple[str, int, int]]:
    """Sizes and times of the files that show how far VASP is: while they stay, there is nothing new to read."""
    for part in _folders(folder):
        for name in (*contract.OUTPUTS, job.STATUS):
            if (part / name).is_file():
                stat = (part / name).stat()
                yield str(part / name), stat.st_size, stat.st_mtime_ns
