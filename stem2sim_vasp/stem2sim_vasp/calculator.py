"""An ASE calculator that starts VASP for every step: for dynamics and searches that are not VASP's own."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ase.calculators.calculator import Calculator, all_changes

from stem2sim.errors import BadInput, StageFailed
from stem2sim_vasp import folder as contract
from stem2sim_vasp import potcar
from stem2sim_vasp.failures import failure
from stem2sim_vasp.growing_output import GrowingOutput
from stem2sim_vasp.kpoints import mesh_of
from stem2sim_vasp.outputs import STDOUT, read
from stem2sim_vasp.request import request_for
from stem2sim_vasp.running import launched

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stem2sim.structure import Structure
    from stem2sim_vasp.launch import Launch
    from stem2sim_vasp.options import VaspOptions

FOLDER = "steps"


@contextmanager
def stepwise(options: VaspOptions, structure: Structure, workdir: Path, launch: Launch) -> Iterator[Calculator]:
    """Yield a calculator whose files lie in a folder of their own.

    Raises:
        BadInput: VASP is not configured to run here.
    """
    command = launch.command_line()
    if launch.elsewhere:
        raise BadInput(
            "launch = 'elsewhere' is for VASP's own relaxation and dynamics; these steps require VASP on this machine"
        )
    folder = workdir / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "WAVECAR").unlink(missing_ok=True)
    yield StepwiseVasp(options, structure, folder, command, launch.patience)


class StepwiseVasp(Calculator):
    """Energies, forces and stress of VASP, each from a launch of its own."""

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012  # as ASE declares it

    def __init__(
        self, options: VaspOptions, structure: Structure, folder: Path, command: list[str], patience: float
    ) -> None:
        """Start without a wave function; after `patience` [min] without output VASP counts as hung."""
        super().__init__()  # type: ignore[no-untyped-call]
        tags = {**options.incar, "LWAVE": True}
        # one mesh for all steps: atoms that leave the structure must not change it
        kpoints = options.kpoints or mesh_of(structure.atoms, options.kspacing)
        self._options = options.model_copy(update={"task": "single-point", "incar": tags, "kpoints": kpoints})
        self._structure, self._folder, self._command, self._patience = structure, folder, command, patience

    def calculate(
        self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = tuple(all_changes)
    ) -> None:
        """Run VASP once."""
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        free = atoms.copy()
        free.set_constraint()
        free.pbc = True
        moved = self._structure.model_copy(update={"atoms": free})
        request = request_for(self._options, moved, "single-point", 1)
        for name in contract.OUTPUTS:
            (self._folder / name).unlink(missing_ok=True)
        request.write(self._folder)
        potcar.check_order(self._folder, request.species)
        with launched(self._command, self._folder) as process:
            output = GrowingOutput(self._folder)
            for alive in output.poll(lambda: process.poll() is None):
                if alive and output.silence() > 60 * self._patience:
                    raise StageFailed(f"VASP hangs: nothing was written for {self._patience:g} min (patience)")
        part = read(self._folder)
        forces = part.steps[-1].forces if part.steps and part.closed else None
        if forces is None:
            raise StageFailed(failure(self._folder, process.returncode))
        if part.unconverged():
            raise StageFailed(
                "the electrons did not converge within NELM steps; incar = { NELM = 200 } allows more; log: "
                f"{self._folder.name}/{STDOUT}"
            )
        step = part.steps[-1]
        forces = request.in_order_of_structure(forces)
        self.results = {"energy": step.free, "free_energy": step.free, "forces": forces}
        stress = step.ase_stress()
        if stress is not None:
            self.results["stress"] = stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
