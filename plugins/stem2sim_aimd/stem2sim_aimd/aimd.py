"""Dynamics with the forces of any engine: one trajectory, or one per temperature and replica."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar

from pydantic import Field, field_validator, model_validator

from stem2sim.engines.engine_simulator import EngineSimulator
from stem2sim.engines.motion import Bath
from stem2sim.errors import NotRun, OutOfTime, StageFailed
from stem2sim.stages import Workload
from stem2sim_aimd.freedom import check_constraints, degrees_of_freedom, moves
from stem2sim_aimd.trajectory import TrajectoryRun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from stem2sim.simulation import SimulationResult
    from stem2sim.structure import Structure

log = logging.getLogger("stem2sim")

Done = TypeVar("Done")

LONGEST_STEP = 5.0
"""[fs]; a C-C bond vibrates in 20 fs."""

THERMOSTATS = {
    "nose-hoover": "Nosé–Hoover thermostat",
    "langevin": "Langevin thermostat",
    "csvr": "stochastic velocity rescaling thermostat",
}

PRESETS: dict[str, dict[str, Any]] = {"paper": {"time_step": 1.0, "thermostat": "nose-hoover"}}
"""What Ghosh et al., npj Comput. Mater. 8, 74 (2022), used: VASP's Nosé thermostat and steps of 1 fs."""


class Aimd(EngineSimulator):
    """Molecular dynamics (NVT or NVE) with the forces of any engine, at one or several temperatures."""

    name: ClassVar[str] = "aimd"

    preset: Literal["paper"] | None = Field(None, description="paper: time step of 1 fs and a Nosé–Hoover thermostat")
    ensemble: Literal["nvt", "nve"] = Field("nvt", description="constant temperature, or constant energy")
    thermostat: Literal["nose-hoover", "langevin", "csvr"] = Field(
        "nose-hoover",
        description="Nosé–Hoover chain, Langevin, or stochastic velocity rescaling",
    )
    temperature: float | tuple[float, ...] = Field(
        300.0,
        description="target and initial temperature; a list gives one trajectory per temperature [K]",
    )
    replicas: int = Field(1, ge=1, description="trajectories per temperature, each with its own initial velocities")
    time_step: float | None = Field(
        None, gt=0, description="time step; default: 0.5 if hydrogen atoms move, otherwise 1 [fs]"
    )
    steps: int = Field(200, ge=1, description="number of time steps")
    interval: int = Field(2, ge=1, description="steps between saved frames")
    checkpoint: int = Field(
        100, ge=1, description="steps between checkpoints (at most this many are lost on interruption)"
    )
    seed: int = Field(0, ge=0, description="random seed of the initial velocities and the thermostat")
    thermostat_period: float = Field(40.0, gt=0, description="oscillation period of the Nosé–Hoover thermostat [fs]")
    chain_length: int | None = Field(
        None, ge=1, description="number of thermostats in the Nosé–Hoover chain; default: 3, or that of the engine"
    )
    relaxation_time: float = Field(100.0, gt=0, description="relaxation time of the Langevin and CSVR thermostats [fs]")
    native: bool | None = Field(
        None,
        description="run the dynamics with the integrator of the engine; default: on if the engine stores every step",
    )
    force: bool = Field(False, description=f"accept a time step above {LONGEST_STEP:g} fs")

    @model_validator(mode="before")
    @classmethod
    def _as_preset(cls, options: Any) -> Any:
        preset = PRESETS.get(str(options.get("preset"))) if isinstance(options, dict) else None
        return {**preset, **options} if preset else options

    @field_validator("temperature")
    @classmethod
    def _positive(cls, value: float | tuple[float, ...]) -> float | tuple[float, ...]:
        several = value if isinstance(value, tuple) else (value,)
        wrong = [t for t in several if not t > 0]
        if wrong:
            raise ValueError(f"a temperature must be positive, got {wrong[0]:g} K")
        if not several or len(set(several)) < len(several):
            raise ValueError(f"give at least one temperature, and each temperature once; got {list(several)}")
        return value

    @model_validator(mode="after")
    def _short_enough(self) -> Self:
        if self.time_step is not None and self.time_step > LONGEST_STEP and not self.force:
            raise ValueError(
                f"a time step of {self.time_step:g} fs is too long for atoms that vibrate in 10 to 20 fs; use "
                f"at most {LONGEST_STEP:g} fs, or force = true"
            )
        return self

    @property
    def _temperatures(self) -> tuple[float, ...]:
        return self.temperature if isinstance(self.temperature, tuple) else (self.temperature,)

    @property
    def moves_natively(self) -> bool:
        """Whether the engine moves the atoms: option `native`, else where it keeps its steps and has this ensemble."""
        ours = self.ensemble == "nvt" and self.thermostat != "nose-hoover"
        return self.engine.keeps_steps and not ours if self.native is None else self.native

    def methods(self) -> str:
        """Return a sentence for the methods section of a paper."""
        *first, last = (f"{t:g}" for t in self._temperatures)
        temperatures = f"{', '.join(first)} and {last}" if first else last
        step = (
            f"{self.time_step:g} fs"
            if self.time_step
            else "0.5 fs (1 fs for structures in which no hydrogen atom moves)"
        )
        chain = "martyna1992" in self.cited()
        thermostat = "Nosé–Hoover chain thermostat" if chain else THERMOSTATS[self.thermostat]
        ensemble = (
            f"in the microcanonical (NVE) ensemble, starting at {temperatures} K,"
            if self.ensemble == "nve"
            else f"in the canonical (NVT) ensemble at {temperatures} K, with the temperature controlled by a "
            f"{thermostat} [{', '.join(self.cited())}],"
        )
        replicas = f"; {self.replicas} trajectories were run at each temperature" if self.replicas > 1 else ""
        return (
            f"Molecular dynamics simulations were run {ensemble} for {self.steps} steps with a time step of {step}; "
            f"initial velocities were drawn from a Maxwell–Boltzmann distribution (random seed {self.seed}){replicas}. "
            f"Forces were computed with {self.engine.theory()}."
        )

    def cited(self) -> tuple[str, ...]:
        """Return the papers of the thermostat."""
        if self.ensemble == "nve":
            return ()
        chain = () if self.moves_natively and self.engine.keeps_steps else ("martyna1992",)
        of = {"nose-hoover": ("nose1984", "hoover1985", *chain), "csvr": ("bussi2007csvr",),
              "langevin": ("bussi2007langevin",)}  # fmt: skip
        return of[self.thermostat]

    def workload(self) -> Workload:
        """Return the steps of all trajectories; each starts with an evaluation of its own."""
        starts = len(self._temperatures) * self.replicas
        return Workload(self.engine, self.steps * starts, starts)

    def simulate(self, structure: Structure, workdir: Path) -> Iterator[SimulationResult]:
        """Yield the end of each trajectory; its frames are in `dynamics*.traj`. Each resumes where it was interrupted.

        An engine that fails ends its own trajectory only; the others are run before that is raised.
        """
        return self._each(structure, workdir, lambda trajectory: trajectory.run("run"))

    def prepare(self, structure: Structure, workdir: Path) -> str:
        """Write what the engine needs to run its own dynamics, for every trajectory."""
        if not (self.moves_natively and self.engine.external):
            return super().prepare(structure, workdir)
        lines = list(self._each(structure, workdir, TrajectoryRun.prepare))
        return "; ".join(filter(None, lines)) or f"complete in {workdir}; stem2sim collect reads it"

    def collect(self, structure: Structure, workdir: Path) -> Iterator[SimulationResult]:
        """Yield each trajectory that the engine has run by itself, complete or not; then report the missing ones."""
        if not (self.moves_natively and self.engine.external):
            return super().collect(structure, workdir)
        return self._each(structure, workdir, lambda trajectory: trajectory.run("collect"))

    def _each(self, structure: Structure, workdir: Path, work: Callable[[TrajectoryRun], Done]) -> Iterator[Done]:
        failed, waiting = [], []
        for trajectory in self._trajectories(structure, workdir):
            try:
                yield work(trajectory)
            except NotRun as problem:
                waiting.append(str(problem))
            except OutOfTime:
                raise
            except StageFailed as problem:
                if not trajectory.label:
                    raise
                log.warning("%s: %s", trajectory.label, problem)
                failed.append(f"{trajectory.label}: {problem}")
        if failed:
            raise StageFailed("; ".join(failed))
        if waiting:
            raise NotRun("; ".join(waiting))

    def _trajectories(self, structure: Structure, workdir: Path) -> Iterator[TrajectoryRun]:
        structure = self.engine.adopt(structure)
        structure.check_distances()
        check_constraints(structure.atoms)
        for temperature in self._temperatures:
            for replica in range(self.replicas):
                yield self._trajectory(structure, workdir, temperature, replica)

    def _trajectory(self, structure: Structure, workdir: Path, temperature: float, replica: int) -> TrajectoryRun:
        parts = [f"{temperature:g}K"] if len(self._temperatures) > 1 else []
        parts += [str(replica + 1)] if self.replicas > 1 else []
        time_step = self.time_step or (0.5 if moves(structure.atoms, "H") else 1.0)
        seed = [self.seed, replica, round(1000 * temperature)]
        made_by = self.provenance()
        # a trajectory may be made longer; everything else decides its outcome
        options = {k: v for k, v in made_by.items() if k not in ("steps", "replicas", "force", "preset")}
        return TrajectoryRun(
            structure=structure,
            workdir=workdir,
            engine=self.engine,
            native=self.moves_natively,
            bath=Bath(
                self.ensemble,
                self.thermostat,
                temperature,
                time_step,
                self.thermostat_period,
                self.chain_length,
                degrees_of_freedom(structure.atoms),
            ),
            relaxation_time=self.relaxation_time,
            seed=seed,
            steps=self.steps,
            interval=self.interval,
            checkpoint=self.checkpoint,
            made_by=made_by,
            inputs={**options, "temperature": temperature, "time_step": time_step, "seed": seed},
            # the same name whether it is the only one or one of several, so that a ladder can grow
            stem=f"dynamics-{temperature:g}K" + (f"-{replica + 1}" if replica else ""),
            title=f"{self.name}: {temperature:g} K" + (f", {replica + 1}" if self.replicas > 1 else ""),
            label="-".join(parts),
        )
