"""An ASE calculator that starts VASP for every step: for dynamics and searches that are not VASP's own."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ase.calculators.calculator import Calculator, all_changes

from stem2sim.errors import BadInput, StageFailed
from stem2sim.process import ended, start
from stem2sim_vasp import folder as contract
from stem2sim_vasp import potcar
from stem2sim_vasp.calculation import Growing
from stem2sim_vasp.failures import failure
from stem2sim_vasp.native import KILOBAR, undone
from stem2sim_vasp.outputs import SAID, read
from stem2sim_vasp.request import ask

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stem2sim.structure import Structure
    from stem2sim_vasp.vasp import Vasp

FOLDER = "steps"


@contextmanager
def stepwise(engine: Vasp, structure: Structure, workdir: Path, command: list[str]) -> Iterator[Calculator]:
    """Lend a calculator whose files lie in a folder of their own."""
    if engine.launch == "elsewhere":
        raise BadInput("launch = 'elsewhere' is for VASP's own relaxation and dynamics; these steps need VASP here")
    folder = workdir / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "WAVECAR").unlink(missing_ok=True)
    yield PerStep(engine, structure, folder, command)


class PerStep(Calculator):
    """Energies, forces and stress of VASP, each from a launch of its own."""

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012  # as ASE declares it

    def __init__(self, engine: Vasp, structure: Structure, folder: Path, command: list[str]) -> None:
        """Start without a wave function."""
        super().__init__()  # type: ignore[no-untyped-call]
        kept = {**engine.incar, "LWAVE": True}
        self._engine = engine.model_copy(update={"task": "single-point", "incar": kept})
        self._structure, self._folder, self._command = structure, folder, command

    def calculate(
        self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = tuple(all_changes)
    ) -> None:
        """Run VASP once."""
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        free = atoms.copy()
        free.set_constraint()
        free.pbc = True
        moved = self._structure.model_copy(update={"atoms": free})
        request = ask(self._engine, moved, "single-point", 1)
        for name in contract.ANSWERED:
            (self._folder / name).unlink(missing_ok=True)
        request.write(self._folder)
        potcar.check_order(self._folder, request.species)
        try:
            process = start(self._command, self._folder, SAID, {})
        except OSError as problem:
            raise BadInput(f"VASP cannot be run: {self._command[0]}: {problem.strerror}") from problem
        with ended(process):
            growing = Growing(self._folder)
            for alive in growing.looks(lambda: process.poll() is None):
                if alive and growing.silent() > 60 * self._engine.patience:
                    raise StageFailed(f"VASP hangs: nothing was written for {self._engine.patience:g} min (patience)")
        part = read(self._folder)
        forces = part.steps[-1].forces if part.steps and part.closed else None
        if forces is None:
            raise StageFailed(failure(self._folder, process.returncode))
        if part.unconverged():
            raise StageFailed(
                f"the electrons did not converge within NELM steps; incar = {{ NELM = 200 }} gives more; its output: "
                f"{self._folder.name}/{SAID}"
            )
        step = part.steps[-1]
        self.results = {"energy": step.free, "free_energy": step.free, "forces": undone(request, forces)}
        if step.stress is not None:
            stress = -step.stress / KILOBAR
            self.results["stress"] = stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
