"""One launch of VASP in a folder, watched until it ends."""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from stem2sim.engines.deadline import check_time, time_left
from stem2sim.errors import BadInput, OutOfTime, StageFailed
from stem2sim.files import write_text
from stem2sim.process import ended, start
from stem2sim_vasp import folder as contract
from stem2sim_vasp import potcar
from stem2sim_vasp.growing_output import GrowingOutput
from stem2sim_vasp.outputs import STDOUT

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from stem2sim_vasp.ionic import Ionic
    from stem2sim_vasp.launch import Launch

log = logging.getLogger("stem2sim")

MARGIN = 2.0
"""Ionic steps of time that VASP is given to end by itself: it looks for a STOPCAR once in each."""

GRACE = 10.0
"""Seconds before the wall-clock limit at which it is ended if it has not."""


class VaspProcess:
    """One launch of VASP."""

    def __init__(self, launch: Launch, folder: Path) -> None:
        """Start nothing yet; `folder` has the input."""
        self._launch, self._folder = launch, folder
        self.status: int | None = None
        """Exit status, once it has ended."""
        self.stopped = False
        """Whether it was stopped with a STOPCAR at the wall-clock limit."""

    def steps(self, species: list[str]) -> Iterator[Ionic]:
        """Run VASP; yield its ionic steps as they come.

        Args:
            species: of the POSCAR, in order.

        Raises:
            BadInput: potentials in another order; a command that cannot be run.
            OutOfTime: the wall-clock limit came first.
            StageFailed: it hangs.
        """
        potcar.check_order(self._folder, species)
        command = self._launch.command_line()
        check_time(0.0, f"before VASP was started in {self._folder.name}")
        (self._folder / contract.STOPCAR).unlink(missing_ok=True)
        (self._folder / contract.STARTED).touch()
        with launched(command, self._folder) as process:
            yield from self._watch(process)
        self.status = process.returncode

    def _watch(self, process: subprocess.Popen[bytes]) -> Iterator[Ionic]:
        output = GrowingOutput(self._folder)
        for alive in output.poll(lambda: process.poll() is None):
            yield from output.new_steps()
            if not alive:
                return
            self._check_deadline(output)
            if output.silence() > 60 * self._launch.patience:
                raise StageFailed(
                    f"VASP hangs: nothing was written for {output.silence() / 60:.3g} min (patience); the same command "
                    f"resumes from its last step; log: {self._folder.name}/{STDOUT}"
                )

    def _check_deadline(self, output: GrowingOutput) -> None:
        if time_left() < MARGIN * output.longest + GRACE and not self.stopped:
            write_text(self._folder / contract.STOPCAR, "LSTOP = .TRUE.\n")
            self.stopped = True
            log.info("%s: the wall-clock limit is near; VASP will stop after this step", self._folder.name)
        if time_left() < min(GRACE, output.longest):
            raise OutOfTime(f"stopped within step {output.count + 1}: the same command resumes from the step before")


@contextmanager
def launched(command: list[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run VASP in a folder while the block lasts.

    Raises:
        BadInput: the command cannot be run.
    """
    try:
        process = start(command, folder, STDOUT, {})
    except OSError as problem:
        raise BadInput(f"VASP cannot be run: {command[0]}: {problem.strerror}") from problem
    with ended(process):
        yield process


def check_alone(folder: Path) -> None:
    """Raise BadInput where another process writes output in this folder (Linux)."""
    ours = {str(folder.resolve() / name) for name in contract.OUTPUTS}
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        process = link.parent.parent
        writes = False
        with suppress(OSError, ValueError, IndexError):  # another user's, or gone
            if os.readlink(link) in ours:
                flags = (process / "fdinfo" / link.name).read_text(encoding="utf-8").split("flags:")[1].split()[0]
                writes = bool(int(flags, 8) & (os.O_WRONLY | os.O_RDWR))
        if writes:
            raise BadInput(f"process {process.name} writes in {folder} already; wait for it, or kill {process.name}")
