"""Density functional tight binding through the dftb+ binary."""

from __future__ import annotations

import logging
import re
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from stem2sim.engines.checkpoints import Claim
from stem2sim.engines.deadline import check_time
from stem2sim.engines.electronic_engine import ElectronicEngine
from stem2sim.errors import BadInput, StageFailed
from stem2sim.progress import track
from stem2sim.stages import Check
from stem2sim_dftb import input as written
from stem2sim_dftb import slater_koster
from stem2sim_dftb.binary import INSTALL, LOG, SPOILT, find, release
from stem2sim_dftb.calculators import CHARGES, PerStep, listening
from stem2sim_dftb.native import EARLIER, GEOMETRIES, moves_natively, relax_natively

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from ase import Atoms
    from ase.calculators.calculator import Calculator

    from stem2sim.engines.motion import Bath, Mode, Motion
    from stem2sim.simulation import SimulationResult
    from stem2sim.structure import Structure

log = logging.getLogger("stem2sim")


class Dftb(ElectronicEngine):
    """DFTB+ (density functional tight binding) with a Slater-Koster set, or xTB where the binary has it."""

    name: ClassVar[str] = "dftb"

    binary: str = Field("dftb+", description="name on PATH, or path, of DFTB+ 24.1 or newer")
    hamiltonian: Literal["DFTB", "GFN1-xTB", "GFN2-xTB"] = Field(
        "DFTB", description="DFTB needs a Slater-Koster set, xTB a binary built with tblite"
    )
    slater_koster: Path | None = Field(
        None, description=f"folder of the Slater-Koster set; left out, that of ${slater_koster.VARIABLE}"
    )
    max_angular_momentum: dict[str, Literal["s", "p", "d", "f"]] = Field(
        {}, description="highest shell of an element, where the set's own tables are not to say"
    )
    mode: Literal["socket", "file", "native"] = Field(
        "socket",
        description="how steps are taken: by ASE with a process that stays, by ASE with a process per step, or by "
        "DFTB+'s own drivers (`optimiser` is ASE's)",
    )
    electronic_temperature: float = Field(300.0, gt=0, description="of the Fermi smearing [K]")
    scc_tolerance: float = Field(1e-6, gt=0, description="of the self-consistent charges [e]")
    max_iterations: int = Field(200, ge=1, description="most self-consistent iterations per step")
    mixer: Literal["broyden", "anderson", "diis", "simple"] = Field("broyden", description="of the charges")
    mixing: float | None = Field(None, gt=0, le=1, description="share of the new charges; left out, the mixer's own")
    solver: Literal["divide-and-conquer", "relatively-robust", "qr", "magma", "elpa"] = Field(
        "divide-and-conquer", description="of the eigenvalue problem; magma and elpa need a build that has them"
    )
    kpoints: tuple[int, int, int] = Field((1, 1, 1), description="mesh in a periodic cell")
    dispersion: Literal["d3", "d4"] | None = Field(None, description="correction; d4 as the manual has it for pbc")
    dispersion_parameters: dict[str, float] = Field({}, description="damping (s6, s8, a1, a2), where another is wanted")
    threads: int | None = Field(None, ge=1, description="of OpenMP; left out, what OMP_NUM_THREADS says")

    def calculator(self, structure: Structure, workdir: Path) -> AbstractContextManager[Calculator]:
        """Return a calculator: a dftb+ that stays and listens, or one per step in mode file.

        Raises:
            BadInput: no binary, a set that lacks a pair of elements, a cell periodic along some axes only.
        """
        compose = self._compose(structure)
        path = find(self.binary)
        if self.mode == "file":
            return nullcontext(PerStep(path, workdir, self.threads, lambda atoms, warm: compose(atoms, {}, warm, {})))
        return listening(path, workdir, self.threads, lambda atoms, driver, o: compose(atoms, driver, False, o))

    def simulate(self, structure: Structure, workdir: Path) -> Iterator[SimulationResult]:
        """Relax, by ASE or by DFTB+ itself, or evaluate; each goes on where it was cut off."""
        if self.task == "single-point":
            yield from self._single_point(structure, workdir)
        elif self.mode == "native":
            yield from self._native(structure, workdir)
        else:
            yield from super().simulate(structure, workdir)

    def _single_point(self, structure: Structure, workdir: Path) -> Iterator[SimulationResult]:
        structure = self.adopt(structure)
        structure.check_distances()
        compose = self._compose(structure)
        charges = workdir / CHARGES
        inputs = {"structure": structure.fingerprint(), **self.provenance()}
        claim = Claim(workdir, "single-point", inputs, charges)
        warm = claim.resumed and charges.is_file()
        if warm:
            log.info("%s: goes on from the charges of the last iteration", self.name)
        atoms = structure.atoms.copy()
        started = time.monotonic()
        with track(f"{self.name}: self-consistent charges", self.max_iterations) as advance:
            done = 0

            def watch() -> None:
                nonlocal done
                said = (workdir / LOG).read_text(encoding="utf-8", errors="replace")
                lines = re.findall(r"^ +(\d+) +\S+E\S+ +\S+E\S+ +(\S+E\S+)", said, re.MULTILINE)
                if lines:
                    advance(len(lines) - done, note=f"error {float(lines[-1][1]):.1e} e")
                    done = len(lines)
                check_time(0.0, f"after iteration {done} of the self-consistent charges")

            def calculator(warm: bool) -> PerStep:
                # charges after every iteration: what a cut costs at most
                options = {"RestartFrequency": 1}
                return PerStep(
                    find(self.binary), workdir, self.threads, lambda a, w: compose(a, {}, w, options), warm, watch
                )

            atoms.calc = calculator(warm)
            try:
                energy = float(atoms.get_potential_energy())
            except StageFailed as problem:
                if not any(words in str(problem) for words in SPOILT):
                    raise
                charges.unlink(missing_ok=True)  # of iterations that came to nothing
                if not warm:
                    raise
                log.warning("%s: the charges of the earlier try are of no use; it starts again", self.name)
                warm = False
                atoms.calc = calculator(warm)
                energy = float(atoms.get_potential_energy())
        reason = "energy and forces of the given structure" + (", from charges of an earlier try" if warm else "")
        yield self.result(structure, atoms, energy, atoms.get_forces(), reason, seconds=time.monotonic() - started)
        claim.settle()

    def _native(self, structure: Structure, workdir: Path) -> Iterator[SimulationResult]:
        if self.relax_cell:
            raise BadInput("relax_cell goes through ASE: use mode = 'socket' or 'file'")
        structure = self.adopt(structure)
        structure.check_distances()
        compose = self._compose(structure)
        inputs = {key: value for key, value in self.provenance().items() if key != "max_steps"}
        earlier = workdir / EARLIER
        saved = earlier if earlier.is_file() else workdir / GEOMETRIES
        claim = Claim(workdir, "native", {"structure": structure.fingerprint(), **inputs}, saved)
        ended = relax_natively(self, structure.atoms, workdir, claim, lambda a, driver: compose(a, driver, False, {}))
        result = self.result(structure, ended.atoms, ended.energy, ended.forces, "", seconds=ended.seconds)
        reason = (
            f"largest force {result.largest_force:.4f} eV/Å after {len(ended.energies) - 1} steps of DFTB+'s own "
            "driver, "
            + ("within" if ended.converged else f"not converged: max_steps = {self.max_steps} reached before")
            + f" fmax = {self.fmax} eV/Å"
        )
        series = {"energy [eV]": ended.energies}
        yield result.model_copy(update={"reason": reason, "converged": ended.converged, "observables": series})
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
        compose = self._compose(structure)
        return moves_natively(
            self, structure.atoms, workdir, steps, bath, state, lambda a, driver: compose(a, driver, False, {})
        )

    def _compose(self, structure: Structure) -> Callable[[Atoms, Any, bool, dict[str, Any]], dict[str, Any]]:
        """Check all that can be checked before a launch; return what makes the input of given atoms."""
        release(self.binary)
        atoms = structure.atoms
        self.check_periodic(atoms)
        elements = sorted(set(atoms.get_chemical_symbols()))
        folder, shells = None, {}
        if self.hamiltonian == "DFTB":
            folder = slater_koster.folder_of(self.slater_koster)
            slater_koster.check(folder, elements)
            shells = {e: self.max_angular_momentum.get(e) or slater_koster.highest_shell(folder, e) for e in elements}
        charge = self.adopt(structure).charge

        def compose(atoms: Atoms, driver: Any, warm: bool, options: dict[str, Any]) -> dict[str, Any]:
            hamiltonian = written.hamiltonian(self, atoms, charge, folder, shells, warm)
            return written.whole(atoms, driver, hamiltonian, options)

        return compose

    def theory(self) -> str:
        """Return Hamiltonian and parameters."""
        if self.hamiltonian == "DFTB":
            folder = slater_koster.folder_of(self.slater_koster).resolve().name
            papers = [key for key in self.cited() if key in ("rauls1999", "sieck2000")]
            of = f"SCC-DFTB with the Slater-Koster set {folder}" + (f" [{', '.join(papers)}]" if papers else "")
        else:
            of = self.hamiltonian
        more = f", {self.dispersion.upper()} dispersion" if self.dispersion else ""
        return f"{of}{more} in DFTB+ [hourahine2020] (electronic temperature {self.electronic_temperature:g} K)"

    def cited(self) -> tuple[str, ...]:
        """Return DFTB+, what its Slater-Koster set requires, and the dispersion correction."""
        keys = ["hourahine2020"]
        if self.hamiltonian == "DFTB" and slater_koster.folder_of(self.slater_koster).resolve().name == "pbc-0-3":
            keys += ["rauls1999", "sieck2000"]
        keys += {"d3": ["grimme2010d3"], "d4": ["caldeweyher2019d4"]}.get(self.dispersion or "", [])
        return tuple(keys)

    def citations(self) -> dict[str, str]:
        """Return BibTeX entries by key; for a set that is not known here, where to look."""
        found = super().citations()
        if self.hamiltonian == "DFTB" and "sieck2000" not in found:
            name = slater_koster.folder_of(self.slater_koster).resolve().name
            found[name] = f"% the Slater-Koster set {name} requires references of its own: see its README"
        return found

    def diagnose(self, elements: Sequence[str]) -> Iterator[Check]:
        """Yield whether the binary, the Slater-Koster set and each of its pairs are there."""
        try:
            yield Check("dftb", "ok", f"DFTB+ {release(self.binary)} at {find(self.binary)}")
        except BadInput as problem:
            yield Check("dftb", "missing", str(problem).partition(": install")[0], INSTALL)
        if self.hamiltonian != "DFTB":
            return
        try:
            folder = slater_koster.folder_of(self.slater_koster)
        except BadInput as problem:
            fix = f"get a set from dftb.org, then export {slater_koster.VARIABLE}=/path/to/pbc-0-3"
            yield Check("dftb", "missing", str(problem), fix)
            return
        try:
            slater_koster.check(folder, elements)
            yield Check("dftb", "ok", f"{folder.name} has every pair of {', '.join(elements)}")
        except BadInput as problem:
            missing, _, fix = str(problem).partition("; ")
            yield Check("dftb", "missing", missing, fix)

    def provenance(self) -> dict[str, Any]:
        """Return name, options, and the versions of this plugin, of DFTB+ and of the Slater-Koster set."""
        made: dict[str, Any] = {**super().provenance(), "engine": f"DFTB+ {release(self.binary)}"}
        if self.hamiltonian == "DFTB":
            folder = slater_koster.folder_of(self.slater_koster)
            made["parameters"] = f"{folder.resolve().name} ({slater_koster.digest(folder)})"
        return made
