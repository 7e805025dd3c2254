"""Engines: simulators that provide forces."""

from __future__ import annotations

import time
from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    WithJsonSchema,
)

from stem2sim.engines.checkpoints import Claim
from stem2sim.engines.relaxation import MARK, STEM, TRAJECTORY, Relaxation
from stem2sim.errors import BadInput
from stem2sim.geometry.bonds import Bonds
from stem2sim.options import read_stage
from stem2sim.registry import installed
from stem2sim.simulation import SimulationResult
from stem2sim.stages import Simulator

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from ase import Atoms
    from ase.calculators.calculator import Calculator

    from stem2sim.engines.motion import Account, Bath, Motion
    from stem2sim.stages import Check
    from stem2sim.structure import Structure


class Engine(Simulator):
    """A simulator that can also lend its forces; by itself it relaxes a structure with ASE."""

    keeps_steps: ClassVar[bool] = False
    """Whether its own dynamics find their earlier steps again in its files, and so need no checkpoints of ours."""

    linear: ClassVar[bool] = False
    """Whether its cost grows with the number of atoms, not with a power of it; for estimates."""

    task: Literal["relax", "single-point"] = Field("relax", description="relax the atoms, or energy and forces only")
    fmax: float = Field(0.01, gt=0, description="relaxed when no force on an atom is larger [eV/Å]")
    max_steps: int = Field(500, ge=1, description="most relaxation steps")
    optimiser: Literal["bfgs", "lbfgs", "fire"] = Field(
        "bfgs", description="how to relax; lbfgs saves memory beyond 500 atoms"
    )

    checkpoint: int = Field(
        20, ge=1, description="steps between the checkpoints of a relaxation: what a cut costs at most"
    )
    relax_cell: bool = Field(False, description="relax the cell as well, along the vectors that bonds repeat along")

    def methods(self) -> str:
        """Return a sentence for the methods section of a paper, the engine's own method in it."""
        if self.task == "single-point":
            return f"Energies and forces were computed with {self.theory()}."
        cell = " together with the cell" if self.relax_cell else ""
        return (
            f"The atoms were relaxed{cell} with {self.theory()} until no force on an atom was larger than "
            f"{self.fmax:g} eV/Å ({self.optimiser} optimiser, at most {self.max_steps} steps)."
        )

    def theory(self) -> str:
        """Return how forces are computed, with references, as in 'GFN1-xTB [grimme2017gfn1]'."""
        return f"the engine {self.name} ({self.distribution()})"

    @abstractmethod
    def calculator(self, structure: Structure, workdir: Path) -> AbstractContextManager[Calculator]:
        """Return a fresh ASE calculator for this structure, closed when the context ends.

        Raises:
            BadInput: a structure this engine cannot compute.
        """

    def adopt(self, structure: Structure) -> Structure:
        """Return the structure as this engine computes it, its charge for one; results carry it on."""
        return structure

    def motions(
        self, structure: Structure, workdir: Path, steps: int, bath: Bath, state: dict[str, Any]
    ) -> Generator[Motion, None, Account | None]:
        """Yield steps of the engine's own dynamics, from the momenta of the atoms.

        Args:
            structure: the start, with momenta.
            workdir: for its files, and nobody else's.
            steps: number of time steps.
            bath: the ensemble.
            state: of its thermostat, as the last step before gave it; empty at the start.

        One that keeps its steps yields all of them, the start first and those made earlier among them.

        Raises:
            BadInput: it has none, or not this ensemble.
            NotRun: only prepared, or nothing to read yet.
        """
        raise BadInput(f"{self.name} has no dynamics of its own; leave native out")

    def with_spin(self, multiplicity: int) -> Engine:
        """Return this engine, spin-polarised, with that multiplicity.

        Raises:
            BadInput: it has no spin polarisation.
        """
        raise BadInput(f"{self.name} has no spin polarisation; leave spin out, or use an engine that has, such as xtb")

    def simulate(self, structure: Structure, workdir: Path) -> Iterator[SimulationResult]:
        """Relax (or evaluate) with ASE; constraints of the structure hold. A relaxation that was cut off goes on."""
        structure = self.adopt(structure)
        structure.check_distances()
        strains = _strains(structure.atoms) if self.relax_cell else None
        atoms = structure.atoms.copy()
        started = time.monotonic()
        if self.task == "single-point":
            with self.calculator(structure, workdir) as calculator:
                atoms.calc = calculator
                energy, forces = float(atoms.get_potential_energy()), np.array(atoms.get_forces())
            reason = "energy and forces of the given structure"
            yield self.result(structure, atoms, energy, forces, reason, seconds=time.monotonic() - started)
            return
        # a relaxation may be given more steps; all else decides how it goes
        inputs = {key: value for key, value in self.provenance().items() if key != "max_steps"}
        claim = Claim(workdir, STEM, {"structure": structure.fingerprint(), **inputs}, workdir / MARK)
        relaxation = Relaxation(
            title=f"{self.name}: relaxation",
            optimiser=self.optimiser,
            fmax=self.fmax,
            max_steps=self.max_steps,
            block=self.checkpoint,
            strains=strains,
        )
        ended = relaxation.relax(atoms, lambda: self.calculator(structure, workdir), workdir, claim)
        reason = (
            f"largest force {ended.series['largest force [eV/Å]'][-1]:.4f} eV/Å after {ended.steps} steps, "
            + ("within" if ended.converged else f"not converged: max_steps = {self.max_steps} reached before")
            + f" fmax = {self.fmax} eV/Å"
        )
        if strains is not None:
            stretch = np.linalg.svd(np.linalg.solve(structure.atoms.cell, atoms.cell), compute_uv=False)
            reason += f"; cell vectors {', '.join(f'{a:.3f}' for a in atoms.cell.lengths())} Å, stretched by up to "
            reason += f"{100 * max(stretch - 1, key=abs):+.2f} %"
        energy, forces = float(atoms.get_potential_energy()), np.array(atoms.get_forces())
        yield self.result(
            structure,
            atoms,
            energy,
            forces,
            reason,
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


class ElectronicEngine(Engine):
    """An engine that computes electrons: as many as the charge leaves, in cells that repeat along all axes or none."""

    charge: int | None = Field(None, description="total charge; left out, the structure's own [e]")

    def adopt(self, structure: Structure) -> Structure:
        """Return the structure with the charge that is asked for."""
        return structure if self.charge is None else structure.model_copy(update={"charge": self.charge})

    @staticmethod
    def check_periodic(atoms: Atoms) -> None:
        """Raise BadInput for a cell that repeats along some axes only: it would be taken to repeat along all."""
        if atoms.pbc.any() and not atoms.pbc.all():
            raise BadInput(
                f"a cell that repeats along some axes only (pbc = {atoms.pbc.tolist()}) would be taken to repeat along "
                "all; use all or none, with vacuum where there should be no neighbour"
            )


def _strains(atoms: Atoms) -> list[bool]:
    """Strains (xx, yy, zz, yz, xz, xy) that leave the vacuum beside a sheet, or a ribbon, as it is."""
    if atoms.constraints:
        raise BadInput("relax_cell moves every atom, but some are held in place; leave one of the two out")
    joined = Bonds.of(atoms).repeats
    if not joined.any():
        raise BadInput("relax_cell has no cell to relax: bonds repeat along none of its vectors; put periodic before")
    along = (np.abs(np.asarray(atoms.cell)[joined]) > 1e-6).any(axis=0)
    across = (np.abs(np.asarray(atoms.cell)[~joined]) > 1e-6).any(axis=0)
    if (along & across).any():
        raise BadInput("relax_cell takes a cell whose vacuum is at right angles to the rest, along x, y or z")
    x, y, z = along.tolist()
    return [x, y, z, y and z, x and z, x and y]


def read_engine(given: Any) -> Engine:
    """Build the engine of `engine = { use = ... }` (or of its bare name).

    Raises:
        BadInput: as `read_config`; also for a simulator that lends no forces.
    """
    given = {"use": given} if isinstance(given, str) else given
    name = str(given.get("use")) if isinstance(given, dict) else None
    engines = {offer.stage.name for offer in installed().offers if issubclass(offer.stage, Engine)}
    if name not in engines and name in installed().names("simulator"):
        raise BadInput(f"'{name}' lends no forces; engines: {', '.join(sorted(engines))}")
    stage = read_stage("simulator", given, "")
    assert isinstance(stage, Engine)  # by its name
    return stage


def _engine(value: Any) -> Any:
    if isinstance(value, Engine):
        return value
    return read_engine(value)


EngineOption = Annotated[
    Engine,
    BeforeValidator(_engine),
    PlainSerializer(lambda engine: engine.model_dump(mode="json"), return_type=dict[str, Any]),
    WithJsonSchema({"type": "object", "title": "engine", "required": ["use"]}),
]
"""Type of a field that takes an engine: `engine = { use = "xtb" }` in a config."""


class EngineSimulator(Simulator):
    """A simulator that works with the forces of any engine."""

    engine: EngineOption = Field(description='whose forces: { use = "xtb" }')

    @property
    def external(self) -> bool:
        """Whether the engine is."""
        return self.engine.external

    def diagnose(self, elements: Sequence[str]) -> Iterator[Check]:
        """Yield what the engine needs."""
        return self.engine.diagnose(elements)

    def citations(self) -> dict[str, str]:
        """Return BibTeX entries by key, those of the engine among them."""
        return super().citations() | self.engine.citations()

    def provenance(self) -> dict[str, Any]:
        """Return name, options and version, those of the engine among them."""
        return {**super().provenance(), "engine": self.engine.provenance()}
