"""Density functional theory by VASP."""

from __future__ import annotations

import shlex
import shutil
from typing import TYPE_CHECKING, Any, Literal

from stem2sim.errors import BadInput
from stem2sim.stages import Check
from stem2sim_vasp import potcar
from stem2sim_vasp.calculation import Calculation
from stem2sim_vasp.calculator import stepwise
from stem2sim_vasp.kpoints import PERIODIC
from stem2sim_vasp.launch import Launch
from stem2sim_vasp.motions import motions_of
from stem2sim_vasp.options import WHERE_AND_HOW, VaspOptions
from stem2sim_vasp.recovery import EXTRA, installed
from stem2sim_vasp.request import request_for
from stem2sim_vasp.result import result_of

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from ase.calculators.calculator import Calculator

    from stem2sim.engines.motion import Account, Bath, Mode, Motion
    from stem2sim.simulation import SimulationResult
    from stem2sim.structure import Structure
    from stem2sim_vasp.request import Request
    from stem2sim_vasp.tags import Kind


class Vasp(VaspOptions):
    """VASP (plane waves, PAW): relaxation and ab initio molecular dynamics with VASP's own drivers."""

    @property
    def external(self) -> bool:
        """VASP may run anywhere."""
        return True

    def _launch(self) -> Launch:
        """Return how VASP is launched."""
        return Launch(
            self.command,
            self.launch == "elsewhere",
            self.patience,
            self.recovery,
            self.job,
            self.job_hours,
            self.job_margin,
        )

    def input_fingerprint(self) -> str:
        """Return '': the template of the batch job decides where VASP runs, not what it computes."""
        return ""

    def adopt(self, structure: Structure) -> Structure:
        """Return the structure in a cell that repeats along all its vectors, as for plane waves, and its charge."""
        structure = super().adopt(structure).in_a_cell()
        atoms = structure.atoms.copy()
        atoms.info.setdefault(PERIODIC, atoms.pbc.tolist())
        atoms.pbc = True
        return structure.model_copy(update={"atoms": atoms})

    def with_spin(self, multiplicity: int) -> Vasp:
        """Return this engine, spin-polarised, with that multiplicity."""
        return self.model_copy(update={"spin": True, "unpaired": multiplicity - 1})

    def calculator(self, structure: Structure, workdir: Path) -> AbstractContextManager[Calculator]:
        """Return a calculator that starts VASP for each step, from the wave function of the step before."""
        return stepwise(self, self.adopt(structure), workdir, self._launch())

    def simulate(self, structure: Structure, workdir: Path) -> Iterator[SimulationResult]:
        """Relax or evaluate by VASP itself; what was interrupted resumes, here or elsewhere."""
        yield result_of(self, self.adopt(structure), self._calculation(structure, workdir, "run"))

    def prepare(self, structure: Structure, workdir: Path) -> str:
        """Write INCAR, KPOINTS, POSCAR, POTCAR (or POTCAR.spec) and the scripts; VASP is not needed."""
        return self._calculation(structure, workdir, "prepare").prepare()

    def collect(self, structure: Structure, workdir: Path) -> Iterator[SimulationResult]:
        """Yield what VASP has left in a folder so far, complete or not.

        Raises:
            NotRun: not a single step.
        """
        yield result_of(self, self.adopt(structure), self._calculation(structure, workdir, "collect"))

    def _calculation(self, structure: Structure, workdir: Path, mode: Mode) -> Calculation:
        """The relaxation, or single point, of a structure in a folder of its own."""
        structure = self.adopt(structure)
        kind: Kind = "relaxation" if self.task == "relax" else "single-point"
        request = request_for(self, structure, kind, self.max_steps, collecting=mode == "collect")
        return Calculation(self._launch(), request, workdir, self._inputs(structure, request), mode)

    def motions(
        self,
        structure: Structure,
        workdir: Path,
        steps: int,
        bath: Bath,
        state: dict[str, Any],
        mode: Mode = "run",
    ) -> Generator[Motion, None, Account]:
        """Yield the steps of VASP's own dynamics; the start counts as the first of them, as in NSW."""
        request = request_for(self, structure, "dynamics", steps, bath, collecting=mode == "collect")
        momenta = {"bath": vars(bath), "momenta": structure.atoms.get_momenta().round(6).tolist()}
        inputs = {**self._inputs(structure, request), **momenta}
        return motions_of(self, Calculation(self._launch(), request, workdir, inputs, mode))

    def _inputs(self, structure: Structure, request: Request) -> dict[str, Any]:
        """All that decides the outcome; the tags contain the other options."""
        made = self.provenance()
        options = {key: value for key, value in made.items() if key not in WHERE_AND_HOW}
        # by name: a machine that prepares or collects may have none of them, and the POTCAR in the folder stays
        return {"structure": structure.fingerprint(), **options, "potentials": list(request.names)}

    def theory(self) -> str:
        """Return functional, potentials and basis."""
        mesh = (
            f"{' × '.join(map(str, self.kpoints))} k-point mesh"
            if self.kpoints
            else f"k-point spacing of at most {self.kspacing:g} Å⁻¹ along periodic directions"
        )
        return (
            "density functional theory (PBE functional [perdew1996], projector augmented waves [blochl1994, "
            f"kresse1999], plane-wave cutoff {self.encut:g} eV, {mesh}), as implemented in VASP "
            "[kresse1996]"
        )

    def cited(self) -> tuple[str, ...]:
        """Return VASP, its potentials and functional, and what the options add."""
        keys = ["kresse1996", "blochl1994", "kresse1999", "perdew1996"]
        keys += ["monkhorst1976"] if self.scheme == "monkhorst-pack" else []
        keys += ["grimme2010d3"] if self.dispersion else []
        keys += ["grimme2011bj"] if self.dispersion == "d3-bj" else []
        return tuple(keys)

    def diagnose(self, elements: Sequence[str]) -> Iterator[Check]:
        """Yield whether there is a command, a potential of each element, and custodian."""
        needed: Literal["note", "missing"] = "note" if self.launch == "elsewhere" else "missing"
        fix = "export VASP_COMMAND='mpirun -n 16 vasp_std', or --prepare-only and collect"
        try:
            command = self._launch().command_line()
        except BadInput:
            yield Check("vasp", needed, "no command that runs VASP is configured", fix)
        else:
            if shutil.which(command[0]) is None:
                yield Check("vasp", needed, f"there is no program {command[0]}", fix)
            else:
                yield Check("vasp", "ok", f"runs as: {shlex.join(command)}")
        for element in elements:
            name = element + self.setups.get(element, "")
            try:
                entry = potcar.read(element, self.setups.get(element, ""), self.potentials, self.potcar_version)
            except BadInput as problem:
                yield Check("vasp", "missing", str(problem))
                continue
            if entry is None:
                where = ", ".join(map(str, potcar.folders(self.potentials))) or "no configured folder"
                fix = "potentials = '/folder', or export VASP_PP_PATH=/folder"
                yield Check("vasp", needed, f"no potential {name} in {where}", fix)
            else:
                yield Check("vasp", "ok", entry[0].describe())
        if not installed():
            yield Check("vasp", "note", "custodian is not installed: failures are reported, not corrected", EXTRA)
