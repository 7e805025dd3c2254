"""DFTB+ at work in a folder: its input written, its process started, its output read."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stem2sim import process
from stem2sim.engines.diagnosis import read_output
from stem2sim.errors import StageFailed
from stem2sim.files import write_text
from stem2sim_dftb.failures import failure
from stem2sim_dftb.hsd import dumps
from stem2sim_dftb.results import TAG

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import Any

INPUT, LOG, CHARGES = "dftb_in.hsd", "dftb.out", "charges.bin"


@dataclass(frozen=True)
class Job:
    """DFTB+ in one folder, run on one input after the other."""

    binary: Path
    folder: Path
    threads: int | None
    """Of OpenMP; None for what the environment sets."""

    @property
    def log(self) -> Path:
        """All that DFTB+ printed."""
        return self.folder / LOG

    def start(self, tree: Mapping[str, Any]) -> subprocess.Popen[bytes]:
        """Write the input and start dftb+ on it."""
        write_text(self.folder / INPUT, dumps(tree))
        # unbuffered, or its log stays empty for minutes
        environment = {"OMP_STACKSIZE": "64M", "GFORTRAN_UNBUFFERED_PRECONNECTED": "y"}
        environment = {name: value for name, value in environment.items() if name not in os.environ}
        if self.threads is not None:
            environment["OMP_NUM_THREADS"] = str(self.threads)
        return process.start([self.binary], self.folder, LOG, environment)

    def run(self, tree: Mapping[str, Any], watch: Callable[[], None] | None = None) -> str:
        """Run dftb+ on an input to its end; return what it printed.

        Args:
            tree: the input.
            watch: called a few times a second while it runs.

        Raises:
            StageFailed: it failed; the reason and where its log is.
        """
        (self.folder / TAG).unlink(missing_ok=True)
        running = self.start(tree)
        pause = 0.002
        with process.ended(running):
            while running.poll() is None:
                time.sleep(pause)
                pause = min(2 * pause, 0.2)
                if watch is not None and pause == 0.2:
                    watch()
            status = running.returncode
        output = read_output(self.log)
        if status != 0 or "ERROR!" in output:
            raise StageFailed(failure(self.log, status))
        return output
