"""The contract of engines: simulators that provide forces."""

from __future__ import annotations

import time
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from stem2sim.engines.checkpoints import Claim
from stem2sim.engines.relaxation import MARK, STEM, TRAJECTORY, Relaxation, free_strains
from stem2sim.errors import BadInput
from stem2sim.simulation import SimulationResult
from stem2sim.stages import Simulator, Workload

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from ase import Atoms
    from ase.calculators.calculator import Calculator

    from stem2sim.engines.motion import Account, Bath, Mode, Motion
    from stem2sim.structure import Structure


USUAL_STEPS = 100
"""Steps of a relaxation that an estimate is made for: how many it takes is not known beforehand."""


class Engine(Simulator):
    """A simulator that provides forces to others; its own task is to relax a structure, with ASE."""

    keeps_steps: ClassVar[bool] = False
    """Whether its own dynamics find their earlier steps in its files, and need no checkpoints of ours."""

    linear: ClassVar[bool] = False
    """Whether its cost grows linearly with the number of atoms; for estimates."""

    optimisers: ClassVar[dict[str, str]] = {"bfgs": "BFGS", "lbfgs": "L-BFGS", "fire": "FIRE"}
    """Names of the optimisers in print."""

    task: Literal["relax", "single-point"] = Field("relax", description="relax, or only compute energy and forces")
    fmax: float = Field(0.01, gt=0, description="convergence criterion: maximum force on any atom [eV/Å]")
    max_steps: int = Field(500, ge=1, description="maximum number of relaxation steps")
    optimiser: Literal["bfgs", "lbfgs", "fire"] = Field(
        "bfgs", description="relaxation algorithm; lbfgs needs less memory above 500 atoms"
    )

    checkpoint: int = Field(
        20, ge=1, description="steps between checkpoints (at most this many are lost on interruption)"
    )
    relax_cell: bool = Field(False, description="also relax the cell, along its bonded periodic directions")

    def methods(self) -> str:
        """Return a sentence for the methods section of a paper, with the engine's own method."""
        if self.task == "single-point":
            return f"Energies and forces were computed with {self.theory()}."
        cell = " and the cell" if self.relax_cell else ""
        return (
            f"Atomic positions{cell} were relaxed with {self.theory()}, using the {self.optimisers[self.optimiser]} "
            f"optimiser (maximum {self.max_steps} steps), until the maximum force on any atom was below {self.fmax:g} "
            "eV/Å."
        )

    def theory(self) -> str:
        """Return how forces are computed, with references, as in 'GFN1-xTB [grimme2017gfn1]'."""
        return f"the engine {self.name} ({self.distribution()})"

    def workload(self) -> Workload:
        """Return one evaluation for a single point, and a round number of steps for a relaxation."""
        single = self.task == "single-point"
        return Workload(self, 0 if single else USUAL_STEPS, 1, known=single)

    @abstractmethod
    def calculator(self, structure: Structure, workdir: Path) -> AbstractContextManager[Calculator]:
        """Return a fresh ASE calculator for this structure, closed when the context ends.

        Raises:
            BadInput: a structure this engine cannot compute.
        """

    def adopt(self, structure: Structure) -> Structure:
        """Return the structure as this engine computes it (its charge, say); results keep it."""
        return structure

    def motions(
        self,
        structure: Structure,
        workdir: Path,
        steps: int,
        bath: Bath,
        state: dict[str, Any],
        mode: Mode = "run",
    ) -> Generator[Motion, None, Account | None]:
        """Yield steps of the engine's own dynamics, from the momenta of the atoms.

        Args:
            structure: the start, with momenta.
            workdir: for its files alone.
            steps: number of time steps.
            bath: the ensemble.
            state: of its thermostat after the step before; empty at the start.
            mode: of an external program that keeps its steps: run it, write its input only, or read its output only.

        An engine that keeps its steps yields all of them, from the start, including those made earlier.

        Raises:
            BadInput: it has no dynamics of its own, or not in this ensemble.
            NotRun: prepared, and not complete (where it is, and what to do next); or there is nothing to collect yet.
        """
        raise BadInput(f"{self.name} has no dynamics of its own; remove native = true")

    def with_spin(self, multiplicity: int) -> Engine:
        """Return this engine, spin-polarised, with that multiplicity.

        Raises:
            BadInput: it has no spin polarisation.
        """
        raise BadInput(f"{self.name} has no spin polarisation; remove spin, or use an engine that has it")

    def simulate(self, structure: Structure, workdir: Path) -> Iterator[SimulationResult]:
        """Relax (or evaluate) with ASE; constraints of the structure hold. An interrupted relaxation resumes."""
        structure = self.adopt(structure)
        structure.check_distances()
        yield from self._relax(structure, workdir) if self.task == "relax" else self._evaluate(structure, workdir)

    def _evaluate(self, structure: Structure, workdir: Path) -> Iterator[SimulationResult]:
        if self.relax_cell:
            free_strains(structure.atoms)  # an option that this cell does not allow is refused here too
        atoms = structure.atoms.copy()
        started = time.monotonic()
        with self.calculator(structure, workdir) as calculator:
            atoms.calc = calculator
            energy, forces = float(atoms.get_potential_energy()), np.array(atoms.get_forces())
        reason = "energy and forces of the given structure"
        yield self.result(structure, atoms, energy, forces, reason, seconds=time.monotonic() - started)

    def _relax(self, structure: Structure, workdir: Path) -> Iterator[SimulationResult]:
        relaxation = Relaxation(
            title=f"{self.name}: relaxation",
            optimiser=self.optimiser,
            fmax=self.fmax,
            max_steps=self.max_steps,
            block=self.checkpoint,
            strains=free_strains(structure.atoms) if self.relax_cell else None,
        )
        # a relaxation may be given more steps; everything else decides its outcome
        inputs = {key: value for key, value in self.provenance().items() if key != "max_steps"}
        claim = Claim(workdir, STEM, {"structure": structure.fingerprint(), **inputs}, workdir / MARK)
        atoms = structure.atoms.copy()
        ended = relaxation.relax(atoms, lambda: self.calculator(structure, workdir), workdir, claim)
        energy, forces = float(atoms.get_potential_energy()), np.array(atoms.get_forces())
        yield self.result(
            structure,
            atoms,
            energy,
            forces,
            relaxation.describe(ended, structure.atoms, atoms),
            converged=ended.converged,
            trajectory=TRAJECTORY,
            observables=ended.series,
            seconds=ended.seconds,
        )
        claim.settle()

    def result(
        self, structure: Structure, atoms: Atoms, energy: float, forces: Any, reason: str, **more: Any
    ) -> SimulationResult:
        """Return the result of this engine on a structure whose atoms ended as `atoms`: energy [eV], forces [eV/Å]."""
        ended = atoms.copy()
        ended.calc = None
        return SimulationResult(
            structure=structure.model_copy(update={"atoms": ended}),
            energy=energy,
            forces=forces,
            reason=reason,
            made_by=self.provenance(),
            **{"converged": True, **more},
        )
