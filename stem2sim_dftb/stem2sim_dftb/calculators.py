"""ASE calculators of DFTB+: a process that stays and listens, or one process per step."""

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
from stem2sim.files import write_text
from stem2sim.process import ended
from stem2sim_dftb.binary import INPUT, failure, run, start
from stem2sim_dftb.hsd import Block, dumps
from stem2sim_dftb.results import TAG, energies_and_forces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ase import Atoms

CHARGES = "charges.bin"


@contextmanager
def listening(
    binary: Path, folder: Path, threads: int | None, compose: Callable[[Atoms, Any, dict[str, Any]], dict[str, Any]]
) -> Iterator[Calculator]:
    """Lend a calculator whose dftb+ keeps running and gets positions through a Unix socket (the i-PI protocol).

    Args:
        binary: dftb+.
        folder: for its files.
        threads: of OpenMP.
        compose: returns the input for atoms, a driver, and options.
    """
    _forget_dead_sockets()
    name = f"stem2sim-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    driver = Block("Socket", {"File": name, "Protocol": Block("i-PI", {}), "MaxSteps": -1, "Verbosity": 0})
    process: subprocess.Popen[bytes] | None = None
    with ExitStack() as running:

        def launch(atoms: Atoms, properties: Any = None, port: Any = None, unixsocket: Any = None) -> Any:
            nonlocal process
            write_text(folder / INPUT, dumps(compose(atoms, driver, {"WriteCharges": False})))
            process = start(binary, folder, threads)
            running.enter_context(ended(process))
            return process

        calculator = SocketIOCalculator(unixsocket=name, launch_client=launch)
        try:
            yield calculator
        except (OSError, EOFError) as problem:
            if isinstance(problem, OSError) and problem.errno in FULL:
                raise
            code = None
            if process is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    code = process.wait(timeout=2)
            running.close()
            raise StageFailed(failure(folder, code)) from problem
        except BaseException:
            running.close()  # in the middle of a step dftb+ does not listen, and a goodbye would wait for it
            raise
        finally:
            with contextlib.suppress(OSError, RuntimeError), warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Subprocess exited with status")  # 255 is how it takes a goodbye
                calculator.close()


def _forget_dead_sockets() -> None:
    """Remove what killed runs left of their sockets: ASE puts them where the i-PI protocol has them."""
    for path in Path("/tmp").glob("ipi_stem2sim-*"):
        number = path.name.split("-")[1]
        if number.isdigit() and not Path(f"/proc/{number}").exists() and Path("/proc").is_dir():
            path.unlink(missing_ok=True)


class PerStep(Calculator):
    """Starts dftb+ for every step, from the charges of the step before."""

    implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012  # as ASE declares it

    def __init__(
        self,
        binary: Path,
        folder: Path,
        threads: int | None,
        compose: Callable[[Atoms, bool], dict[str, Any]],
        warm: bool = False,
        watch: Callable[[], None] | None = None,
    ) -> None:
        """Start cold, or from the charges that an earlier try left in `folder`."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._binary, self._folder, self._threads, self._compose = binary, folder, threads, compose
        self._warm, self._watch = warm, watch

    def calculate(
        self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = tuple(all_changes)
    ) -> None:
        """Run dftb+ once."""
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        (self._folder / TAG).unlink(missing_ok=True)
        write_text(self._folder / INPUT, dumps(self._compose(atoms, self._warm)))
        run(self._binary, self._folder, self._threads, self._watch)
        self._warm = True
        self.results = energies_and_forces(self._folder / TAG)
