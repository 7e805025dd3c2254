"""Density functional tight binding through the dftb+ binary."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from stem2sim.engines.checkpoints import Claim
from stem2sim.engines.electronic_engine import ElectronicEngine
from stem2sim.errors import BadInput
from stem2sim.stages import Check
from stem2sim_dftb import slater_koster
from stem2sim_dftb.binary import INSTALL, find, release
from stem2sim_dftb.calculators import DftbPerStep, socket_calculator
from stem2sim_dftb.hsd import HsdBlock
from stem2sim_dftb.input import SOLVERS, Input, charge_mixer, dispersion_correction, slater_koster_files
from stem2sim_dftb.job import CHARGES, Job
from stem2sim_dftb.native_dynamics import velocity_verlet
from stem2sim_dftb.native_relaxation import EARLIER, relax
from stem2sim_dftb.results import GEOMETRIES
from stem2sim_dftb.single_point import single_point

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from ase.calculators.calculator import Calculator

    from stem2sim.engines.motion import Bath, Mode, Motion
    from stem2sim.simulation import SimulationResult
    from stem2sim.structure import Structure

SET_PAPERS = ("rauls1999", "sieck2000")
"""Of pbc-0-3."""

DISPERSION_PAPERS = {"d3": "grimme2010d3", "d4": "caldeweyher2019d4"}


class Dftb(ElectronicEngine):
    """DFTB+ (density functional tight binding) with a Slater–Koster set, or xTB if the binary includes it."""

    name: ClassVar[str] = "dftb"

    binary: str = Field("dftb+", description="DFTB+ binary, 24.1 or newer: a name on PATH, or a path")
    hamiltonian: Literal["DFTB", "GFN1-xTB", "GFN2-xTB"] = Field(
        "DFTB", description="DFTB requires a Slater–Koster set; xTB requires a binary built with tblite"
    )
    slater_koster: Path | None = Field(
        None, description=f"folder of the Slater–Koster set; default: ${slater_koster.VARIABLE}"
    )
    max_angular_momentum: dict[str, Literal["s", "p", "d", "f"]] = Field(
        {}, description="highest shell of each element; default: the highest in the tables of the set"
    )
    mode: Literal["socket", "file", "native"] = Field(
        "socket",
        description="socket: ASE moves the atoms, one dftb+ process keeps running; file: ASE moves the atoms, one "
        "process per step; native: DFTB+ relaxes with its own driver; `optimiser` has no effect",
    )
    electronic_temperature: float = Field(300.0, gt=0, description="electronic temperature (Fermi smearing) [K]")
    scc_tolerance: float = Field(1e-6, gt=0, description="SCC convergence tolerance [e]")
    max_iterations: int = Field(200, ge=1, description="maximum number of SCC iterations per step")
    mixer: Literal["broyden", "anderson", "diis", "simple"] = Field("broyden", description="charge mixer")
    mixing: float | None = Field(None, gt=0, le=1, description="mixing parameter; default: that of the mixer")
    solver: Literal["divide-and-conquer", "relatively-robust", "qr", "magma", "elpa"] = Field(
        "divide-and-conquer", description="eigensolver; magma and elpa require a binary built with them"
    )
    kpoints: tuple[int, int, int] = Field((1, 1, 1), description="k-point mesh of a periodic cell")
    dispersion: Literal["d3", "d4"] | None = Field(
        None,
        description="dispersion correction; d4 uses the damping parameters given in the DFTB+ manual for the pbc set",
    )
    dispersion_parameters: dict[str, float] = Field(
        {}, description="damping parameters (s6, s8, a1, a2) that replace the defaults"
    )
    threads: int | None = Field(None, ge=1, description="number of OpenMP threads; default: OMP_NUM_THREADS")

    def calculator(self, structure: Structure, workdir: Path) -> AbstractContextManager[Calculator]:
        """Return a calculator: one dftb+ process that keeps running, or one per step in mode file.

        Raises:
            BadInput: no binary, a set that lacks a pair of elements, a cell periodic along some axes only.
        """
        inputs, job = self._input(structure), self._job(workdir)
        return nullcontext(DftbPerStep(job, inputs)) if self.mode == "file" else socket_calculator(job, inputs)

    def simulate(self, structure: Structure, workdir: Path) -> Iterator[SimulationResult]:
        """Relax, by ASE or by DFTB+ itself, or evaluate; each resumes where it was interrupted."""
        if self.task == "single-point":
            yield from self._single_point(structure, workdir)
        elif self.mode == "native":
            yield from self._native(structure, workdir)
        else:
            yield from super().simulate(structure, workdir)

    def _single_point(self, structure: Structure, workdir: Path) -> Iterator[SimulationResult]:
        structure = self.adopt(structure)
        structure.check_distances()
        inputs = self._input(structure)
        made_with = {"structure": structure.fingerprint(), **self.provenance()}
        claim = Claim(workdir, "single-point", made_with, workdir / CHARGES)
        point = single_point(self._job(workdir), inputs, structure.atoms, claim.resumed, self.max_iterations)
        reason = "energy and forces of the given structure"
        if point.saved_charges:
            reason += ", started from the saved charges of an earlier run"
        yield self.result(structure, structure.atoms, point.energy, point.forces, reason, seconds=point.seconds)
        claim.settle()

    def _native(self, structure: Structure, workdir: Path) -> Iterator[SimulationResult]:
        if self.relax_cell:
            raise BadInput("relax_cell works with ASE's optimisers only: use mode = 'socket' or 'file'")
        structure = self.adopt(structure)
        structure.check_distances()
        inputs = self._input(structure)
        made_with = {key: value for key, value in self.provenance().items() if key != "max_steps"}
        earlier = workdir / EARLIER
        saved = earlier if earlier.is_file() else workdir / GEOMETRIES
        claim = Claim(workdir, "native", {"structure": structure.fingerprint(), **made_with}, saved)
        relaxed = relax(self._job(workdir), inputs, structure.atoms, claim.resumed, self.fmax, self.max_steps)
        result = self.result(structure, relaxed.atoms, relaxed.energy, relaxed.forces, "", seconds=relaxed.seconds)
        force, steps = f"maximum force {result.largest_force:.4f} eV/Å", len(relaxed.energies) - 1
        reason = (
            f"converged in {steps} steps of DFTB+'s own driver; {force} (fmax = {self.fmax} eV/Å)"
            if relaxed.converged
            else f"not converged: max_steps = {self.max_steps} of DFTB+'s own driver reached before fmax = "
            f"{self.fmax} eV/Å, {force}"
        )
        series = {"energy [eV]": relaxed.energies}
        yield result.model_copy(update={"reason": reason, "converged": relaxed.converged, "observables": series})
        claim.settle()

    def motions(
        self,
        structure: Structure,
        workdir: Path,
        steps: int,
        bath: Bath,
        state: dict[str, Any],
        mode: Mode = "run",
    ) -> Generator[Motion, None, None]:
        """Yield steps of DFTB+'s own dynamics."""
        return velocity_verlet(self._job(workdir), self._input(structure), structure.atoms, steps, bath, state)

    def _job(self, workdir: Path) -> Job:
        return Job(find(self.binary), workdir, self.threads)

    def _input(self, structure: Structure) -> Input:
        """Check all that can be checked before a launch; return what composes the input."""
        release(self.binary)
        self.check_periodic(structure.atoms)
        self.warn_of_few_points(structure.atoms, self.kpoints)
        if self.hamiltonian == "DFTB":
            elements = sorted(set(structure.atoms.get_chemical_symbols()))
            folder = slater_koster.folder_of(self.slater_koster)
            slater_koster.check(folder, elements)
            shells = {e: self.max_angular_momentum.get(e) or slater_koster.highest_shell(folder, e) for e in elements}
            model, tree = "DFTB", slater_koster_files(folder, shells)
        else:
            model, tree = "xTB", {"Method": self.hamiltonian}
        tree |= {
            "SCCTolerance": self.scc_tolerance,
            "MaxSCCIterations": self.max_iterations,
            "Charge": float(self.adopt(structure).charge),
            "Filling": HsdBlock("Fermi", {"Temperature [K]": self.electronic_temperature}),
            "Solver": HsdBlock(SOLVERS[self.solver], {}),
            "Mixer": charge_mixer(self.mixer, self.mixing),
        }
        if self.dispersion is not None:
            tree["Dispersion"] = dispersion_correction(self.dispersion, self.dispersion_parameters)
        return Input(model, tree, self.kpoints)

    def theory(self) -> str:
        """Return Hamiltonian and parameters."""
        details = []
        if self.hamiltonian == "DFTB":
            folder = slater_koster.folder_of(self.slater_koster).resolve().name
            papers = [key for key in self.cited() if key in SET_PAPERS]
            details.append(f"{folder} Slater–Koster set" + (f" [{', '.join(papers)}]" if papers else ""))
        if self.dispersion:
            details.append(f"{self.dispersion.upper()} dispersion [{DISPERSION_PAPERS[self.dispersion]}]")
        details.append(f"electronic temperature {self.electronic_temperature:g} K")
        method = "SCC-DFTB" if self.hamiltonian == "DFTB" else self.hamiltonian
        return f"the {method} method ({', '.join(details)}), as implemented in DFTB+ [hourahine2020]"

    def cited(self) -> tuple[str, ...]:
        """Return the papers of DFTB+, of the Slater-Koster set and of the dispersion correction."""
        keys = ["hourahine2020"]
        if self.hamiltonian == "DFTB" and slater_koster.folder_of(self.slater_koster).resolve().name == "pbc-0-3":
            keys += SET_PAPERS
        if self.dispersion:
            keys.append(DISPERSION_PAPERS[self.dispersion])
        return tuple(keys)

    def citations(self) -> dict[str, str]:
        """Return BibTeX entries by key; for an unknown Slater-Koster set, where to find its references."""
        entries = super().citations()
        if self.hamiltonian == "DFTB" and "sieck2000" not in entries:
            name = slater_koster.folder_of(self.slater_koster).resolve().name
            entries[name] = f"% cite the references of the Slater-Koster set {name}; they are listed in its README"
        return entries

    def diagnose(self, elements: Sequence[str]) -> Iterator[Check]:
        """Yield whether the binary, the Slater-Koster set and the files for these elements are there."""
        try:
            yield Check("dftb", "ok", f"DFTB+ {release(self.binary)} at {find(self.binary)}")
        except BadInput as problem:
            yield Check("dftb", "missing", str(problem).partition(": install")[0], INSTALL)
        if self.hamiltonian != "DFTB":
            return
        try:
            folder = slater_koster.folder_of(self.slater_koster)
        except BadInput as problem:
            fix = f"download a set from dftb.org, then export {slater_koster.VARIABLE}=/path/to/pbc-0-3"
            yield Check("dftb", "missing", str(problem), fix)
            return
        try:
            slater_koster.check(folder, elements)
            yield Check("dftb", "ok", f"{folder.name} covers {', '.join(elements)}")
        except BadInput as problem:
            missing, _, fix = str(problem).partition("; ")
            yield Check("dftb", "missing", missing, fix)

    def provenance(self) -> dict[str, Any]:
        """Return name, options, and the versions of this plugin, of DFTB+ and of the Slater-Koster set."""
        provenance: dict[str, Any] = {**super().provenance(), "engine": f"DFTB+ {release(self.binary)}"}
        if self.hamiltonian == "DFTB":
            folder = slater_koster.folder_of(self.slater_koster)
            provenance["parameters"] = f"{folder.resolve().name} ({slater_koster.digest(folder)})"
        return provenance
