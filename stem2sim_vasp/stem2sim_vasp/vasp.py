"""Density functional theory by VASP."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from stem2sim.engines.electronic_engine import ElectronicEngine
from stem2sim.errors import BadInput
from stem2sim.stages import Check
from stem2sim.structure import ELEMENTS
from stem2sim_vasp import potcar
from stem2sim_vasp.calculation import Calculation
from stem2sim_vasp.calculator import stepwise
from stem2sim_vasp.incar import CHEAPER, Value, parsed
from stem2sim_vasp.native import moves, settled
from stem2sim_vasp.recovery import EXTRA, installed
from stem2sim_vasp.request import ask

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from contextlib import AbstractContextManager

    from ase.calculators.calculator import Calculator

    from stem2sim.engines.motion import Account, Bath, Mode, Motion
    from stem2sim.simulation import SimulationResult
    from stem2sim.structure import Structure
    from stem2sim_vasp.request import Kind, Request

COMMANDS = ("ASE_VASP_COMMAND", "VASP_COMMAND")
"""Environment variables of ASE that say how VASP is run."""

PAPER: dict[str, Any] = {"encut": 400.0, "kpoints": (2, 2, 2), "scheme": "monkhorst-pack", "fmax": 1e-3}
PRESETS: dict[str, dict[str, Any]] = {
    "paper": PAPER,
    "paper-relax": PAPER,
    "paper-md": {**PAPER, "incar": dict(CHEAPER)},
    "cr-spin": {**PAPER, "spin": True},
}
"""What Ghosh et al., npj Comput. Mater. 8, 74 (2022), used; cr-spin is what they left out."""

WHERE_AND_HOW = ("max_steps", "command", "potentials", "ncore", "kpar", "launch", "recovery", "patience", "job",
                 "job_hours", "job_margin", "checkpoint")  # fmt: skip
"""Options that do not decide what comes out."""


class Vasp(ElectronicEngine):
    """VASP (plane waves, PAW): relaxation and ab initio dynamics by its own drivers, here or on a cluster."""

    name: ClassVar[str] = "vasp"
    keeps_steps: ClassVar[bool] = True

    preset: Literal["paper", "paper-relax", "paper-md", "cr-spin"] | None = Field(
        None, description="settings of the reference paper; paper-md: cheaper ones for dynamics; cr-spin: with spin"
    )
    command: tuple[str, ...] | None = Field(
        None, description="that runs VASP, as mpirun -n 16 vasp_std; left out, $VASP_COMMAND"
    )
    launch: Literal["here", "elsewhere"] = Field(
        "here", description="run the command, or wait for a run that somebody else starts in the folder"
    )
    potentials: Path | None = Field(
        None, description="folder of the PAW sets; left out, those that ASE and pymatgen are configured with"
    )
    potcar_version: Literal["", "52", "54", "64"] = Field("", description="of the PBE set; left out, the plain one")
    setups: dict[str, str] = Field({}, description="what follows an element in its potential's name: { Cr = '_pv' }")
    encut: float = Field(400.0, gt=0, description="cut-off energy of the plane waves [eV]")
    kpoints: tuple[int, int, int] = Field((1, 1, 1), description="mesh")
    scheme: Literal["gamma", "monkhorst-pack"] = Field(
        "gamma", description="of the mesh; an even Monkhorst-Pack mesh has no point at Gamma"
    )
    optimiser: Literal["cg", "quasi-newton", "damped"] = Field(  # type: ignore[assignment]  # VASP's, not ASE's
        "cg", description="of VASP: conjugate gradients, RMM-DIIS, or damped dynamics (IBRION 2, 1, 3)"
    )
    spin: bool = Field(False, description="spin-polarised, from the atoms' own moments or those of free atoms")
    unpaired: int | None = Field(None, ge=0, description="electrons, held fixed (NUPDOWN); left out, what comes out")
    dispersion: Literal["d3", "d3-bj"] | None = Field(None, description="correction by Grimme (IVDW 11, 12)")
    incar: dict[str, Value] = Field({}, description="any other tag, or another value: { ALGO = 'All' }")
    ncore: int | None = Field(None, ge=1, description="cores that share a band")
    kpar: int | None = Field(None, ge=1, description="groups of k-points")
    recovery: bool | None = Field(None, description="let custodian mend failures; left out, where it is installed")
    patience: float = Field(360.0, gt=0, description="without a word from VASP, after which it is taken to hang [min]")
    job: Path | None = Field(None, description="template of a batch job that runs run-vasp.sh; left out, one for Slurm")
    job_hours: float = Field(24.0, gt=0, description="that the batch job asks for [h]")
    job_margin: float = Field(
        10.0,
        gt=0,
        description="before its end, at which the batch job tells VASP to stop; longer than a step takes [min]",
    )

    @model_validator(mode="before")
    @classmethod
    def _as_preset(cls, given: Any) -> Any:
        preset = PRESETS.get(str(given.get("preset"))) if isinstance(given, dict) else None
        if preset is None:
            return given
        own = given.get("incar", {})
        tags = {**preset.get("incar", {}), **own} if isinstance(own, dict) else own
        return {**preset, **given, "incar": tags}

    @field_validator("command", mode="before")
    @classmethod
    def _words(cls, value: Any) -> Any:
        try:
            return tuple(shlex.split(value)) or None if isinstance(value, str) else value
        except ValueError as problem:
            raise ValueError(f"not a command: {problem}") from None

    @field_validator("kpoints")
    @classmethod
    def _positive(cls, value: tuple[int, int, int]) -> tuple[int, int, int]:
        if min(value) < 1:
            raise ValueError(f"a mesh has at least one point along each vector, got {value}")
        return value

    @field_validator("incar")
    @classmethod
    def _in_capitals(cls, value: dict[str, Value]) -> dict[str, Value]:
        for tag, given in value.items():
            if not re.fullmatch(r"\w+", tag, re.ASCII):
                raise ValueError(f"{tag!r} is no name of a tag")
            if isinstance(given, str) and (any(c in given for c in "\n\r;#!") or given.endswith("\\")):
                raise ValueError(f"the value of {tag} would end its line of the INCAR, or swallow the next")
        tags = {tag.upper(): parsed(given) if isinstance(given, str) else given for tag, given in value.items()}
        if len(tags) < len(value):
            raise ValueError(f"a tag is given twice: {', '.join(value)}")
        return tags

    @model_validator(mode="after")
    def _meaningful(self) -> Self:
        unknown = sorted(set(self.setups) - ELEMENTS)
        if unknown:
            raise ValueError(f"setups: no element '{unknown[0]}'; write symbols, as in {{ Cr = '_pv' }}")
        if self.unpaired is not None and not self.spin:
            raise ValueError("unpaired electrons need spin = true")
        return self

    @property
    def external(self) -> bool:
        """VASP may run anywhere."""
        return True

    def command_line(self) -> list[str]:
        """Return the command that runs VASP, word by word: no shell sees it.

        Raises:
            BadInput: none is configured.
        """
        words = self.command or next((tuple(shlex.split(os.environ[v])) for v in COMMANDS if os.environ.get(v)), ())
        if not words:
            raise BadInput(
                "there is no command that runs VASP: give command = 'mpirun -n 16 vasp_std' (or $VASP_COMMAND), or run "
                "it on another machine: --prepare-only here, and stem2sim collect when it is back"
            )
        return list(words)

    def adopt(self, structure: Structure) -> Structure:
        """Return the structure in a cell that repeats along all its vectors, as for plane waves, and its charge."""
        structure = super().adopt(structure).in_a_cell()
        atoms = structure.atoms.copy()
        atoms.pbc = True
        return structure.model_copy(update={"atoms": atoms})

    def with_spin(self, multiplicity: int) -> Vasp:
        """Return this engine, spin-polarised, with that multiplicity."""
        return self.model_copy(update={"spin": True, "unpaired": multiplicity - 1})

    def calculator(self, structure: Structure, workdir: Path) -> AbstractContextManager[Calculator]:
        """Return a calculator that starts VASP for each step, from the wave function of the step before."""
        structure = self.adopt(structure)
        return stepwise(self, structure, workdir, self.command_line())

    def simulate(self, structure: Structure, workdir: Path) -> Iterator[SimulationResult]:
        """Relax or evaluate by VASP itself; what was interrupted resumes, here or elsewhere."""
        yield settled(self, self.adopt(structure), self._calculation(structure, workdir, "run"))

    def prepare(self, structure: Structure, workdir: Path) -> str:
        """Write INCAR, KPOINTS, POSCAR, POTCAR (or POTCAR.spec) and the scripts; VASP is not needed."""
        return self._calculation(structure, workdir, "prepare").prepare()

    def collect(self, structure: Structure, workdir: Path) -> Iterator[SimulationResult]:
        """Yield what VASP has left in a folder so far, finished or not.

        Raises:
            NotRun: not a single step.
        """
        yield settled(self, self.adopt(structure), self._calculation(structure, workdir, "collect"))

    def _calculation(self, structure: Structure, workdir: Path, mode: Mode) -> Calculation:
        """The relaxation, or single point, of a structure in a folder of its own."""
        structure = self.adopt(structure)
        kind: Kind = "relaxation" if self.task == "relax" else "single-point"
        request = ask(self, structure, kind, self.max_steps, collecting=mode == "collect")
        return Calculation(self, request, workdir, self._inputs(structure, request), mode)

    def motions(
        self,
        structure: Structure,
        workdir: Path,
        steps: int,
        bath: Bath,
        state: dict[str, Any],
        mode: Mode = "run",
    ) -> Generator[Motion, None, Account]:
        """Yield the steps of VASP's own dynamics; the start counts as the first of them, as NSW has it."""
        request = ask(self, structure, "dynamics", steps, bath, collecting=mode == "collect")
        momenta = {"bath": vars(bath), "momenta": structure.atoms.get_momenta().round(6).tolist()}
        return moves(self, Calculation(self, request, workdir, {**self._inputs(structure, request), **momenta}, mode))

    def _inputs(self, structure: Structure, request: Request) -> dict[str, Any]:
        """All that decides what comes out; the tags say the rest of the options."""
        made = self.provenance()
        kept = {key: value for key, value in made.items() if key not in WHERE_AND_HOW}
        # by name: a machine that prepares or collects may have none of them, and the POTCAR in the folder stays
        return {"structure": structure.fingerprint(), **kept, "potentials": list(request.names)}

    def theory(self) -> str:
        """Return functional, potentials and basis."""
        mesh = " × ".join(map(str, self.kpoints))
        return (
            f"VASP [kresse1996] (PBE [perdew1996], projector augmented waves [blochl1994, kresse1999], cut-off "
            f"{self.encut:g} eV, {mesh} k-points)"
        )

    def cited(self) -> tuple[str, ...]:
        """Return VASP, its potentials and functional, and what the options bring."""
        keys = ["kresse1996", "blochl1994", "kresse1999", "perdew1996"]
        keys += ["monkhorst1976"] if self.scheme == "monkhorst-pack" else []
        keys += ["grimme2010d3"] if self.dispersion else []
        keys += ["grimme2011bj"] if self.dispersion == "d3-bj" else []
        return tuple(keys)

    def diagnose(self, elements: Sequence[str]) -> Iterator[Check]:
        """Yield whether there is a command, a potential of each element, and custodian."""
        try:
            yield Check("vasp", "ok", f"runs as: {shlex.join(self.command_line())}")
        except BadInput:
            fix = "export VASP_COMMAND='mpirun -n 16 vasp_std', or --prepare-only and collect"
            yield Check("vasp", "note" if self.launch == "elsewhere" else "missing", "no command is configured", fix)
        for element in elements:
            name = element + self.setups.get(element, "")
            try:
                found = potcar.read(element, self.setups.get(element, ""), self.potentials, self.potcar_version)
            except BadInput as problem:
                yield Check("vasp", "missing", str(problem))
                continue
            if found is None:
                where = ", ".join(map(str, potcar.folders(self.potentials))) or "no folder that is configured"
                fix = "potentials = '/folder', or export VASP_PP_PATH=/folder"
                yield Check("vasp", "missing", f"no potential {name} in {where}", fix)
            else:
                yield Check("vasp", "ok", found[0].describe())
        if not installed():
            yield Check("vasp", "note", "custodian is not installed: failures are told, not mended", EXTRA)
