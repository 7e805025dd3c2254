"""Dynamics with the forces of any engine: one trajectory, or one per temperature and replica."""

from __future__ import annotations

import logging
from contextlib import closing
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self
from zipfile import BadZipFile

import numpy as np
from ase import units
from pydantic import Field, field_validator, model_validator

from stem2sim.engines.calculator_session import CalculatorSession
from stem2sim.engines.checkpoints import Claim
from stem2sim.engines.deadline import check_time
from stem2sim.engines.engine_simulator import EngineSimulator
from stem2sim.engines.motion import Bath
from stem2sim.engines.trajectory import TrajectoryFile, frames
from stem2sim.errors import BadInput, NotRun, OutOfTime, StageFailed
from stem2sim.progress import track
from stem2sim.simulation import SimulationResult, constrained
from stem2sim_aimd.drift import drift
from stem2sim_aimd.freedom import check_constraints, degrees_of_freedom, moves, thermal_momenta
from stem2sim_aimd.native import KeptDynamics, NativeDynamics
from stem2sim_aimd.thermostats import Csvr, Langevin, NoseHooverChain, NoThermostat, Thermostat
from stem2sim_aimd.verlet import Dynamics, load

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ase import Atoms

    from stem2sim.engines.motion import Mode
    from stem2sim.structure import Structure

log = logging.getLogger("stem2sim")

BLOWN_UP = 20.0
"""A temperature of more than this many times the target is an integration that failed, not a fluctuation."""

LONGEST_STEP = 5.0
"""[fs]; a C-C bond vibrates in 20 fs."""

CHAIN = 3
"""Thermostats in a chain, where nothing else is said."""

TIME, CONSERVED = "time [fs]", "conserved quantity [eV]"

PRESETS: dict[str, dict[str, Any]] = {"paper": {"time_step": 1.0, "thermostat": "nose-hoover"}}
"""What Ghosh et al., npj Comput. Mater. 8, 74 (2022), used: VASP's Nosé thermostat and steps of 1 fs."""


class Aimd(EngineSimulator):
    """Dynamics (NVT or NVE) with the forces of any engine; several temperatures make a ladder."""

    name: ClassVar[str] = "aimd"

    preset: Literal["paper"] | None = Field(None, description="paper: a time step of 1 fs and nose-hoover")
    ensemble: Literal["nvt", "nve"] = Field("nvt", description="constant temperature, or constant energy")
    thermostat: Literal["nose-hoover", "langevin", "csvr"] = Field(
        "nose-hoover", description="a chain, friction and noise, or stochastic rescaling of the velocities"
    )
    temperature: float | tuple[float, ...] = Field(
        300.0, description="of the thermostat and of the first velocities; several: one trajectory for each [K]"
    )
    replicas: int = Field(1, ge=1, description="trajectories per temperature, each with velocities of its own")
    time_step: float | None = Field(None, gt=0, description="left out, 0.5 where hydrogen moves, else 1 [fs]")
    steps: int = Field(200, ge=1, description="number of time steps")
    interval: int = Field(2, ge=1, description="steps between the frames and values that are kept")
    checkpoint: int = Field(100, ge=1, description="steps between checkpoints: what a cut costs at most")
    seed: int = Field(0, ge=0, description="of the first velocities and of the thermostat's random numbers")
    thermostat_period: float = Field(40.0, gt=0, description="of the oscillation of nose-hoover [fs]")
    chain_length: int | None = Field(
        None, ge=1, description="thermostats in the chain of nose-hoover; left out, 3, or the engine's own"
    )
    relaxation_time: float = Field(100.0, gt=0, description="in which langevin and csvr forget [fs]")
    native: bool | None = Field(
        None, description="let the engine run the dynamics with its own integrator; left out, where it keeps its steps"
    )
    force: bool = Field(False, description=f"accept a time step above {LONGEST_STEP:g} fs")

    @model_validator(mode="before")
    @classmethod
    def _as_preset(cls, given: Any) -> Any:
        preset = PRESETS.get(str(given.get("preset"))) if isinstance(given, dict) else None
        return {**preset, **given} if preset else given

    @field_validator("temperature")
    @classmethod
    def _positive(cls, value: float | tuple[float, ...]) -> float | tuple[float, ...]:
        several = value if isinstance(value, tuple) else (value,)
        wrong = [t for t in several if not t > 0]
        if wrong:
            raise ValueError(f"a temperature must be positive, got {wrong[0]:g} K")
        if not several or len(set(several)) < len(several):
            raise ValueError(f"a ladder has each temperature once, and at least one, got {list(several)}")
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
    def moves_natively(self) -> bool:
        """Whether the engine moves the atoms: as told, else where it keeps its steps and has this ensemble."""
        ours = self.ensemble == "nvt" and self.thermostat != "nose-hoover"
        return self.engine.keeps_steps and not ours if self.native is None else self.native

    def methods(self) -> str:
        """Return it for a methods section."""
        several = self.temperature if isinstance(self.temperature, tuple) else (self.temperature,)
        temperatures = ", ".join(f"{t:g}" for t in several)
        step = f"{self.time_step:g} fs" if self.time_step else "0.5 fs where hydrogen moves, else 1 fs"
        papers = f" [{', '.join(self.cited())}]" if self.cited() else ""
        held = (
            "at constant energy, begun"
            if self.ensemble == "nve"
            else f"at constant temperature ({self.thermostat}{papers})"
        )
        many = f", {self.replicas} trajectories each" if self.replicas > 1 else ""
        return (
            f"Molecular dynamics {held} at {temperatures} K ran for {self.steps} steps of {step}{many} (seed "
            f"{self.seed}), with forces of {self.engine.theory()}."
        )

    def cited(self) -> tuple[str, ...]:
        """Return the thermostat's papers."""
        if self.ensemble == "nve":
            return ()
        chain = () if self.moves_natively and self.engine.keeps_steps else ("martyna1992",)
        of = {"nose-hoover": ("nose1984", "hoover1985", *chain), "csvr": ("bussi2007csvr",),
              "langevin": ("bussi2007langevin",)}  # fmt: skip
        return of[self.thermostat]

    def simulate(self, structure: Structure, workdir: Path) -> Iterator[SimulationResult]:
        """Yield the end of each trajectory; its frames are in `dynamics*.traj`. Cut off, each goes on by itself.

        An engine that fails ends its own trajectory only; the others are run before that is raised.
        """
        return self._trajectories(structure, workdir, "run")

    def prepare(self, structure: Structure, workdir: Path) -> str:
        """Write what the engine needs to run its own dynamics, for every trajectory."""
        if not (self.moves_natively and self.engine.external):
            return super().prepare(structure, workdir)
        try:
            for _ in self._trajectories(structure, workdir, "prepare"):
                pass
        except NotRun as prepared:
            return str(prepared)
        return f"complete in {workdir}; stem2sim collect reads it"

    def collect(self, structure: Structure, workdir: Path) -> Iterator[SimulationResult]:
        """Yield each trajectory that the engine has run by itself, finished or not; then say which are not there."""
        if not (self.moves_natively and self.engine.external):
            return super().collect(structure, workdir)
        return self._trajectories(structure, workdir, "collect")

    def _trajectories(self, structure: Structure, workdir: Path, mode: Mode) -> Iterator[SimulationResult]:
        structure = self.engine.adopt(structure)
        structure.check_distances()
        check_constraints(structure.atoms)
        several = self.temperature if isinstance(self.temperature, tuple) else (self.temperature,)
        failed, waiting = [], []
        for temperature in several:
            for replica in range(self.replicas):
                parts = [f"{temperature:g}K"] if len(several) > 1 else []
                parts += [str(replica + 1)] if self.replicas > 1 else []
                label = "-".join(parts)
                try:
                    yield self._trajectory(structure, workdir, temperature, replica, label, mode)
                except NotRun as problem:
                    waiting.append(str(problem))
                except OutOfTime:
                    raise
                except StageFailed as problem:
                    if not label:
                        raise
                    log.warning("%s: %s", label, problem)
                    failed.append(f"{label}: {problem}")
        if failed:
            raise StageFailed("; ".join(failed))
        if waiting:
            raise NotRun("; ".join(waiting))

    def _trajectory(
        self, structure: Structure, workdir: Path, temperature: float, replica: int, label: str, mode: Mode
    ) -> SimulationResult:
        # named alike whether it is alone or one of many, so that a ladder can grow
        stem = f"dynamics-{temperature:g}K" + (f"-{replica + 1}" if replica else "")
        atoms = structure.atoms.copy()
        dt = self.time_step or (0.5 if moves(atoms, "H") else 1.0)
        seed = [self.seed, replica, round(1000 * temperature)]
        alone = {"temperature": temperature, "time_step": dt, "seed": seed}
        # a trajectory may be made longer; all else decides how it goes
        options = {k: v for k, v in self.provenance().items() if k not in ("steps", "replicas", "force", "preset")}
        checkpoint, path = workdir / f"{stem}.checkpoint.npz", workdir / f"{stem}.traj"
        inputs = {"structure": structure.fingerprint(), **options, **alone}
        claim = Claim(workdir, stem, inputs, checkpoint, read_only=mode == "collect")
        atoms.set_momenta(thermal_momenta(atoms, units.kB * temperature, np.random.default_rng(seed)))
        title = f"{self.name}: {temperature:g} K" + (f", {replica + 1}" if self.replicas > 1 else "")
        with CalculatorSession(lambda: self.engine.calculator(structure, workdir)) as engine:
            if self.moves_natively:
                freedom = degrees_of_freedom(atoms)
                period, length = self.thermostat_period, self.chain_length
                bath = Bath(self.ensemble, self.thermostat, temperature, dt, period, length, freedom)
                kind = KeptDynamics if self.engine.keeps_steps else NativeDynamics
                dynamics: Dynamics = kind(atoms, bath, engine, self.engine, structure, workdir / stem, self.steps, mode)
            else:
                dynamics = Dynamics(atoms, dt, self._thermostat(atoms, dt, temperature, seed), engine)
            series = self._taken_up(dynamics, checkpoint, path) if claim.resumed else {}
            if not series:
                dynamics.start()
            with (
                closing(dynamics),
                TrajectoryFile(path, len(series.get(TIME, ()))) as trajectory,
                track(title, self.steps) as advance,
            ):
                kept = dynamics.step if series and series[TIME][-1] == dynamics.step * dt else -1

                def keep() -> None:
                    nonlocal kept
                    kept = dynamics.step
                    now = self._values(dynamics)
                    if not np.isfinite(list(now.values())).all():  # blown up beyond all numbers
                        return
                    for name, value in now.items():
                        series.setdefault(name, []).append(value)
                    found = {"energy": dynamics.potential, **({"forces": dynamics.forces} if dynamics.current else {})}
                    trajectory.append(atoms, found, step=dynamics.step, values=now)

                advance(dynamics.step)
                if not series or (dynamics.step == self.steps and kept < dynamics.step):
                    keep()
                if not dynamics.keeps_steps:
                    check_time(0.0, f"before {stem}")
                while not dynamics.ended(self.steps):
                    before = dynamics.seconds
                    block = self.checkpoint - dynamics.step % self.checkpoint
                    for _ in dynamics.run(min(block, self.steps - dynamics.step)):
                        advance(note=f"{dynamics.temperature():.0f} K")
                        dynamics.blown = not dynamics.hottest < BLOWN_UP * temperature
                        if dynamics.step % self.interval == 0:
                            keep()
                        if dynamics.blown:
                            break
                    if kept < dynamics.step and dynamics.ended(self.steps):
                        keep()
                    trajectory.sync()
                    dynamics.save(checkpoint)
                    if not dynamics.ended(self.steps):
                        check_time(dynamics.seconds - before, f"at step {dynamics.step} of {self.steps}")
        reason, warnings = self._describe(dynamics, series, temperature)
        if not dynamics.unfinished:
            claim.settle()
        return SimulationResult(
            structure=structure.model_copy(update={"atoms": atoms}),
            energy=dynamics.potential,
            forces=constrained(atoms, dynamics.forces),
            converged=not dynamics.blown and not dynamics.unfinished and dynamics.sound,
            reason=reason,
            trajectory=path.name,
            observables=series,
            made_by={**self.provenance(), "engine": dynamics.made_by(self.engine.provenance())},
            details=dynamics.details,
            warnings=(*warnings, *dynamics.warnings),
            seconds=dynamics.seconds,
            unfinished=dynamics.unfinished,
            label=label,
        )

    def _thermostat(self, atoms: Atoms, dt: float, temperature: float, seed: list[int]) -> Thermostat:
        if self.ensemble == "nve":
            return NoThermostat(atoms, dt, temperature)
        if self.thermostat == "nose-hoover":
            return NoseHooverChain(atoms, dt, temperature, self.thermostat_period, self.chain_length or CHAIN)
        kind = Langevin if self.thermostat == "langevin" else Csvr
        return kind(atoms, dt, temperature, self.relaxation_time, [*seed, 1])

    def _taken_up(self, dynamics: Dynamics, checkpoint: Path, path: Path) -> dict[str, list[float]]:
        """Take up the last checkpoint; return what was kept until then, nothing where there is none to take up."""
        try:
            step, blown, saved = load(checkpoint)
        except (OSError, ValueError, KeyError, BadZipFile):
            return {}
        if step > self.steps:
            raise BadInput(f"{path.name} has {step} steps already; steps = {self.steps} is less than that")
        series: dict[str, list[float]] = {}
        last = -1
        for frame in frames(path):
            at = int(frame.info["step"])
            # the end of a shorter run may lie between two intervals
            ended = at == step and (step == self.steps or blown)
            if at > step or (at % self.interval and not ended):
                continue
            last = at
            for name, value in frame.info["values"].items():
                series.setdefault(name, []).append(value)
        if last < step - step % self.interval:
            log.warning("%s lacks frames before step %d, where its checkpoint is; it starts again", path.name, step)
            return {}
        dynamics.restore(saved)
        log.info("%s resumes from step %d", path.stem, step)
        return series

    def _values(self, dynamics: Dynamics) -> dict[str, float]:
        conserved = dynamics.conserved()
        return {
            TIME: dynamics.step * dynamics.time_step,
            "temperature [K]": dynamics.temperature(),
            "potential energy [eV]": dynamics.potential,
            **({} if conserved is None else {CONSERVED: conserved}),
        }

    def _describe(
        self, dynamics: Dynamics, series: dict[str, list[float]], temperature: float
    ) -> tuple[str, tuple[str, ...]]:
        """What was reached, in words, and what to be warned of."""
        if dynamics.blown:
            return (
                f"blew up at step {dynamics.step}: {dynamics.hottest:.0f} K for a target of {temperature:g} K; "
                f"try a time step below {dynamics.time_step} fs"
            ), ()
        second_half = np.array(series["temperature [K]"])[len(series[TIME]) // 2 :]
        at = "at" if self.ensemble == "nvt" else "from"
        reason = (
            f"{dynamics.step * dynamics.time_step:g} fs {at} {temperature:g} K: second half "
            f"{second_half.mean():.0f} K on average (spread {second_half.std():.0f} K, {dynamics.thermostat.freedom} "
            "degrees of freedom)"
        )
        if CONSERVED not in series:
            return f"{reason}, by the engine's own integrator", ()
        conserved = np.array(series[CONSERVED])
        reason += f", conserved quantity within {1000 * np.ptp(conserved):.1f} meV"
        drifts = drift(np.array(series[TIME]), conserved, len(dynamics.atoms))
        return reason, (drifts,) if drifts else ()
