"""Dynamics by an engine's own integrator, one checkpoint at a time."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

from ase import units

from stem2sim.engines.motion import BlownUp
from stem2sim_aimd.thermostats import NoThermostat
from stem2sim_aimd.verlet import Dynamics

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from ase import Atoms

    from stem2sim.engines.calculator_session import CalculatorSession
    from stem2sim.engines.engine import Engine
    from stem2sim.engines.motion import Account, Bath, Mode, Motion
    from stem2sim.structure import Structure


class Inside(NoThermostat):
    """Stands for the thermostat that the engine has inside, and keeps its state."""

    inside: dict[str, Any]

    def state(self) -> dict[str, Any]:
        """Return it."""
        return getattr(self, "inside", {})

    def restore(self, state: dict[str, Any]) -> None:
        """Take it up."""
        self.inside = state


class NativeDynamics(Dynamics):
    """The engine moves the atoms; each run of it ends at a checkpoint."""

    def __init__(
        self,
        atoms: Atoms,
        bath: Bath,
        borrowed: CalculatorSession,
        engine: Engine,
        structure: Structure,
        workdir: Path,
        total: int,
        mode: Mode,
    ) -> None:
        """Start at step 0 with the momenta of the atoms."""
        super().__init__(atoms, bath.time_step, Inside(atoms, bath.time_step, bath.temperature), borrowed)
        if mode != "collect":
            workdir.mkdir(exist_ok=True)
        self._bath, self._stage, self._structure, self._workdir = bath, engine, structure, workdir
        self._total, self._mode = total, mode
        self._kinetic: float | None = None
        self._conserved: float | None = None

    def run(self, steps: int) -> Iterator[None]:
        """Take steps; they come once the engine has made them all."""
        self._engine.restart()
        started = time.monotonic()
        for motion in self._motions(steps):
            self._take(motion)
            self.step += 1
            yield
        self.seconds += time.monotonic() - started

    def _motions(self, steps: int) -> Generator[Motion, None, Account | None]:
        moving = self._structure.model_copy(update={"atoms": self.atoms})
        return self._stage.motions(moving, self._workdir, steps, self._bath, self.thermostat.state(), self._mode)

    def _take(self, motion: Motion) -> None:
        self.atoms.set_positions(motion.positions, apply_constraint=False)
        self.atoms.set_momenta(motion.momenta, apply_constraint=False)
        self.potential, self.current = motion.potential, motion.forces is not None
        self.forces = self.forces if motion.forces is None else motion.forces
        self.thermostat.restore(motion.state)
        self._kinetic, self._conserved = motion.kinetic, motion.conserved
        self.hottest = self.temperature()

    def temperature(self) -> float:
        """Temperature over the free degrees of freedom, of the engine's own kinetic energy where it tells [K]."""
        if self._kinetic is None:
            return super().temperature()
        return 2 * self._kinetic / (self.thermostat.freedom * units.kB)

    def conserved(self) -> float | None:
        """What the engine says; without that, the total energy in NVE."""
        if self._conserved is not None:
            return self._conserved
        return super().conserved() if self._bath.ensemble == "nve" else None


class KeptDynamics(NativeDynamics):
    """The engine moves the atoms and keeps its steps: one run, whose files are the checkpoint."""

    keeps_steps: ClassVar[bool] = True

    def start(self) -> None:
        """Take the first of its steps, which is the start."""
        self._all: Generator[Motion, None, None] = self._accounted()
        self._take(next(self._all))

    def run(self, steps: int) -> Iterator[None]:
        """Take all of its steps, as they come."""
        for motion in self._all:
            self._take(motion)
            self.step += 1
            yield

    def _accounted(self) -> Generator[Motion, None, None]:
        self._over = False
        account = yield from self._motions(self._total)
        self._over = True
        if account is not None:
            self.unfinished, self.sound, self.warnings = account.unfinished, account.sound, account.warnings
            self.seconds, self.details = account.seconds, account.details
            self._made_by = account.made_by

    def ended(self, steps: int) -> bool:
        """Return whether there are no more."""
        if self.blown and not self._over:
            with suppress(StopIteration):
                self._all.throw(BlownUp())
        return self._over

    def made_by(self, engine: dict[str, Any]) -> dict[str, Any]:
        """Return what the engine says of itself once it has run."""
        return getattr(self, "_made_by", None) or engine

    def close(self) -> None:
        """End the engine's run where it still goes on."""
        self._all.close()

    def save(self, path: Path) -> None:
        """Do nothing: the engine's files are the checkpoint."""
