"""ASE calculators of DFTB+: one process that keeps running, or one process per step."""

from __future__ import annotations

import contextlib
import os
import subprocess
import uuid
import warnings
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.socketio import SocketIOCalculator

from stem2sim.engines.trajectory import FULL
from stem2sim.errors import StageFailed
from stem2sim.process import ended
from stem2sim_dftb.failures import failure
from stem2sim_dftb.hsd import HsdBlock
from stem2sim_dftb.input import NOTHING
from stem2sim_dftb.results import TAG, energies_and_forces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from stem2sim_dftb.input import Input
    from stem2sim_dftb.job import Job


@contextmanager
def socket_calculator(job: Job, inputs: Input) -> Iterator[Calculator]:
    """Yield a calculator whose dftb+ keeps running and gets positions through a Unix socket (the i-PI protocol)."""
    _remove_dead_sockets()
    name = f"stem2sim-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    driver = HsdBlock("Socket", {"File": name, "Protocol": HsdBlock("i-PI", {}), "MaxSteps": -1, "Verbosity": 0})
    process: subprocess.Popen[bytes] | None = None
    with ExitStack() as running:

        def launch(atoms: Any, properties: Any = None, port: Any = None, unixsocket: Any = None) -> Any:
            nonlocal process
            process = job.start(inputs.tree(atoms, driver, options={"WriteCharges": False}))
            running.enter_context(ended(process))
            return process

        calculator = SocketIOCalculator(unixsocket=name, launch_client=launch)
        try:
            yield calculator
        except (OSError, EOFError) as problem:
            if isinstance(problem, OSError) and problem.errno in FULL:
                raise
            status = None
            if process is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    status = process.wait(timeout=2)
            running.close()
            raise StageFailed(failure(job.log, status)) from problem
        except BaseException:
            running.close()  # in the middle of a step dftb+ does not listen, and a goodbye would wait for it
            raise
        finally:
            with contextlib.suppress(OSError, RuntimeError), warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Subprocess exited with status")  # 255 is how it takes a goodbye
                calculator.close()


def _remove_dead_sockets() -> None:
    """Remove the sockets of killed runs: ASE puts them where the i-PI protocol has them."""
    for path in Path("/tmp").glob("ipi_stem2sim-*"):
        number = path.name.split("-")[1]
        if number.isdigit() and not Path(f"/proc/{number}").exists() and Path("/proc").is_dir():
            path.unlink(missing_ok=True)


class DftbPerStep(Calculator):
    """Starts dftb+ for every step, from the charges of the step before."""

    implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012  # as ASE declares it

    def __init__(
        self,
        job: Job,
        inputs: Input,
        options: Mapping[str, Any] = NOTHING,
        saved_charges: bool = False,
        watch: Callable[[], None] | None = None,
    ) -> None:
        """Prepare the first step.

        Args:
            job: where dftb+ runs.
            inputs: composes the input of each step.
            options: more entries of its Options block.
            saved_charges: whether the first step starts from the charges that an earlier run saved.
            watch: called a few times a second while dftb+ runs.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self._job, self._inputs, self._options = job, inputs, options
        self._saved_charges, self._watch = saved_charges, watch

    def calculate(
        self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = tuple(all_changes)
    ) -> None:
        """Run dftb+ once."""
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        tree = self._inputs.tree(atoms, saved_charges=self._saved_charges, options=self._options)
        self._job.run(tree, self._watch)
        self._saved_charges = True
        self.results = energies_and_forces(self._job.folder / TAG)
