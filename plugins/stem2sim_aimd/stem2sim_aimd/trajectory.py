"""One trajectory: started or resumed, run from checkpoint to checkpoint, its frames and values kept."""

from __future__ import annotations

import logging
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
from ase import units

from stem2sim.engines.calculator_session import CalculatorSession
from stem2sim.engines.checkpoints import Claim
from stem2sim.engines.deadline import check_time
from stem2sim.engines.trajectory import TrajectoryFile, frames
from stem2sim.errors import BadInput, NotRun
from stem2sim.progress import track
from stem2sim.simulation import SimulationResult, constrained, with_used
from stem2sim_aimd.freedom import thermal_momenta
from stem2sim_aimd.native import KeptDynamics, NativeDynamics
from stem2sim_aimd.outcome import TIME, describe, values
from stem2sim_aimd.thermostats import thermostat_of
from stem2sim_aimd.verlet import Dynamics, load

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from ase import Atoms

    from stem2sim.engines.engine import Engine
    from stem2sim.engines.motion import Account, Bath, Mode, Motion
    from stem2sim.structure import Structure

log = logging.getLogger("stem2sim")

BLOWN_UP = 20.0
"""A temperature of more than this many times the target is an integration that failed, not a fluctuation."""


@dataclass(frozen=True)
class TrajectoryRun:
    """One trajectory: where it starts, how it moves, and where its files are."""

    structure: Structure
    workdir: Path
    engine: Engine
    native: bool
    """Whether the engine moves the atoms with its own integrator."""
    bath: Bath
    relaxation_time: float
    """Of langevin and csvr [fs]."""
    seed: list[int]
    steps: int
    interval: int
    """Steps between the frames and values that are kept."""
    checkpoint: int
    """Steps between checkpoints."""
    made_by: dict[str, Any]
    """Provenance of the stage."""
    inputs: dict[str, Any]
    """Everything that decides the outcome, but for the structure."""
    stem: str
    """Of the names of its files."""
    title: str
    """Of the progress bar."""
    label: str
    """Of the result."""

    def prepare(self) -> str:
        """Write what an engine needs to run its own dynamics; return what to do next, '' where it has run already."""
        self._claim("prepare")
        with self._session() as session, closing(self._dynamics(session, "prepare")) as dynamics:
            try:
                dynamics.start()
            except NotRun as prepared:
                return str(prepared)
        return ""

    def run(self, mode: Mode) -> SimulationResult:
        """Return the end of the trajectory, run from its last checkpoint, or collected as far as it came.

        Raises:
            BadInput: there are more steps already, or other options.
            NotRun: there is nothing to collect.
            OutOfTime: the wall-clock limit came first.
            StageFailed: the engine failed.
        """
        claim = self._claim(mode)
        with self._session() as session:
            dynamics = self._dynamics(session, mode)
            series = self._resume(dynamics) if claim.resumed else {}
            if not series:
                dynamics.start()
            with (
                closing(dynamics),
                TrajectoryFile(self._path, len(series.get(TIME, ()))) as file,
                track(self.title, self.steps) as advance,
            ):
                record = _Record(dynamics, file, series)
                advance(dynamics.step)
                if not series or (dynamics.step == self.steps and record.last < dynamics.step):
                    record.keep()
                if not dynamics.keeps_steps:
                    check_time(0.0, f"before {self.stem}")
                while not dynamics.ended(self.steps):
                    before = dynamics.seconds
                    self._run_block(dynamics, record, advance)
                    file.sync()
                    dynamics.save(self._saved)
                    if not dynamics.ended(self.steps):
                        check_time(dynamics.seconds - before, f"at step {dynamics.step} of {self.steps}")
        if not dynamics.unfinished:
            claim.settle()
        return self._result(dynamics, series)

    def _run_block(self, dynamics: Dynamics, record: _Record, advance: Any) -> None:
        """Run to the next checkpoint."""
        block = self.checkpoint - dynamics.step % self.checkpoint
        for _ in dynamics.run(min(block, self.steps - dynamics.step)):
            advance(note=f"{dynamics.temperature():.0f} K")
            dynamics.blown_up = not dynamics.hottest < BLOWN_UP * self.bath.temperature
            if dynamics.step % self.interval == 0:
                record.keep()
            if dynamics.blown_up:
                break
        if record.last < dynamics.step and dynamics.ended(self.steps):
            record.keep()

    @property
    def _path(self) -> Path:
        return self.workdir / f"{self.stem}.traj"

    @property
    def _saved(self) -> Path:
        return self.workdir / f"{self.stem}.checkpoint.npz"

    def _claim(self, mode: Mode) -> Claim:
        inputs = {"structure": self.structure.fingerprint(), **self.inputs}
        return Claim(self.workdir, self.stem, inputs, self._saved, read_only=mode == "collect")

    def _session(self) -> CalculatorSession:
        return CalculatorSession(lambda: self.engine.calculator(self.structure, self.workdir))

    def _dynamics(self, session: CalculatorSession, mode: Mode) -> Dynamics:
        """The atoms at the start, with the momenta of the temperature."""
        atoms = self.structure.atoms.copy()
        bath = self.bath
        atoms.set_momenta(thermal_momenta(atoms, units.kB * bath.temperature, np.random.default_rng(self.seed)))
        if not self.native:
            thermostat = thermostat_of(atoms, bath, self.relaxation_time, [*self.seed, 1])
            return Dynamics(atoms, bath.time_step, thermostat, session)
        folder = self.workdir / self.stem
        if mode != "collect":
            folder.mkdir(exist_ok=True)

        def motions(atoms: Atoms, steps: int, state: dict[str, Any]) -> Generator[Motion, None, Account | None]:
            moving = self.structure.model_copy(update={"atoms": atoms})
            return self.engine.motions(moving, folder, steps, bath, state, mode)

        if self.engine.keeps_steps:
            return KeptDynamics(atoms, bath, session, motions, self.steps)
        return NativeDynamics(atoms, bath, session, motions)

    def _resume(self, dynamics: Dynamics) -> dict[str, list[float]]:
        """Resume from the last checkpoint; return the values kept until then, none where there is no checkpoint."""
        try:
            step, blown_up, state = load(self._saved)
        except (OSError, ValueError, KeyError, BadZipFile):
            return {}
        if step > self.steps:
            raise BadInput(f"{self._path.name} has {step} steps already; steps = {self.steps} is less than that")
        series: dict[str, list[float]] = {}
        last = -1
        for frame in frames(self._path):
            at = int(frame.info["step"])
            # the end of a shorter run may lie between two intervals
            ended = at == step and (step == self.steps or blown_up)
            if at > step or (at % self.interval and not ended):
                continue
            last = at
            for name, value in frame.info["values"].items():
                series.setdefault(name, []).append(value)
        if last < step - step % self.interval:
            log.warning(
                "%s lacks frames before step %d, the step of its checkpoint; starting again", self._path.name, step
            )
            return {}
        dynamics.restore(state)
        log.info("%s resumes from step %d", self.stem, step)
        return series

    def _result(self, dynamics: Dynamics, series: dict[str, list[float]]) -> SimulationResult:
        reason, warnings = describe(dynamics, series, self.bath)
        return SimulationResult(
            structure=self.structure.model_copy(update={"atoms": dynamics.atoms}),
            energy=dynamics.potential,
            forces=constrained(dynamics.atoms, dynamics.forces),
            converged=not dynamics.blown_up and not dynamics.unfinished and dynamics.sound,
            reason=reason,
            trajectory=self._path.name,
            observables=series,
            made_by={**self.made_by, "engine": dynamics.made_by(self.engine.provenance())},
            details=with_used(dynamics.details, time_step=self.bath.time_step),
            warnings=(*warnings, *dynamics.warnings),
            seconds=dynamics.seconds,
            unfinished=dynamics.unfinished,
            label=self.label,
        )


class _Record:
    """The values and frames that are kept."""

    def __init__(self, dynamics: Dynamics, file: TrajectoryFile, series: dict[str, list[float]]) -> None:
        self._dynamics, self._file, self._series = dynamics, file, series
        there = bool(series) and series[TIME][-1] == dynamics.step * dynamics.time_step
        self.last = dynamics.step if there else -1
        """The last step that was kept."""

    def keep(self) -> None:
        """Keep the present step."""
        dynamics = self._dynamics
        self.last = dynamics.step
        now = values(dynamics)
        if not np.isfinite(list(now.values())).all():  # blown up beyond all numbers
            return
        for name, value in now.items():
            self._series.setdefault(name, []).append(value)
        results = {"energy": dynamics.potential, **({"forces": dynamics.forces} if dynamics.current else {})}
        self._file.append(dynamics.atoms, results, step=dynamics.step, values=now)
