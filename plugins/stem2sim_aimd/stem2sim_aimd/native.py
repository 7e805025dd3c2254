"""Dynamics by an engine's own integrator, one checkpoint at a time."""

from __future__ import annotations

import time
from collections.abc import Callable
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
    from stem2sim.engines.motion import Account, Bath, Motion


Motions = Callable[["Atoms", int, dict[str, Any]], "Generator[Motion, None, Account | None]"]
"""Atoms with momenta, number of steps and state of the thermostat -> steps of an engine's own dynamics."""


class InternalThermostat(NoThermostat):
    """Represents the engine's own thermostat: keeps its state."""

    _state: dict[str, Any]

    def state(self) -> dict[str, Any]:
        """Return the state of the engine's thermostat."""
        return getattr(self, "_state", {})

    def restore(self, state: dict[str, Any]) -> None:
        """Set it."""
        self._state = state


class NativeDynamics(Dynamics):
    """The engine moves the atoms; each run of it ends at a checkpoint."""

    def __init__(self, atoms: Atoms, bath: Bath, session: CalculatorSession, motions: Motions) -> None:
        """Start at step 0 with the momenta of the atoms.

        Args:
            atoms: with momenta and constraints; moved in place.
            bath: the ensemble.
            session: closed while the engine runs its own dynamics.
            motions: of the engine: atoms, number of steps and state of the thermostat -> steps.
        """
        super().__init__(atoms, bath.time_step, InternalThermostat(atoms, bath.time_step, bath.temperature), session)
        self._bath, self._motions = bath, motions
        self._kinetic: float | None = None
        self._conserved: float | None = None

    def run(self, steps: int) -> Iterator[None]:
        """Take steps; they come once the engine has made them all."""
        self._engine.restart()
        started = time.monotonic()
        for motion in self._motions(self.atoms, steps, self.thermostat.state()):
            self._take(motion)
            self.step += 1
            yield
        self.seconds += time.monotonic() - started

    def _take(self, motion: Motion) -> None:
        self.atoms.set_positions(motion.positions, apply_constraint=False)
        self.atoms.set_momenta(motion.momenta, apply_constraint=False)
        self.potential, self.current = motion.potential, motion.forces is not None
        self.forces = self.forces if motion.forces is None else motion.forces
        self.thermostat.restore(motion.state)
        self._kinetic, self._conserved = motion.kinetic, motion.conserved
        self.hottest = self.temperature()

    def temperature(self) -> float:
        """Temperature over the free degrees of freedom, of the kinetic energy that the engine reports, if any [K]."""
        if self._kinetic is None:
            return super().temperature()
        return 2 * self._kinetic / (self.thermostat.freedom * units.kB)

    def conserved(self) -> float | None:
        """What the engine reports; without that, the total energy in NVE."""
        if self._conserved is not None:
            return self._conserved
        return super().conserved() if self._bath.ensemble == "nve" else None


class KeptDynamics(NativeDynamics):
    """The engine moves the atoms and keeps its steps: one run, whose files are the checkpoint."""

    keeps_steps: ClassVar[bool] = True

    def __init__(self, atoms: Atoms, bath: Bath, session: CalculatorSession, motions: Motions, total: int) -> None:
        """Start at step 0 with the momenta of the atoms; `total` is the number of steps."""
        super().__init__(atoms, bath, session, motions)
        self._total = total

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
        account = yield from self._motions(self.atoms, self._total, self.thermostat.state())
        self._over = True
        if account is not None:
            self.unfinished, self.sound, self.warnings = account.unfinished, account.sound, account.warnings
            self.seconds, self.details = account.seconds, account.details
            self._made_by = account.made_by

    def ended(self, steps: int) -> bool:
        """Return whether there are no more steps."""
        if self.blown_up and not self._over:
            with suppress(StopIteration):
                self._all.throw(BlownUp())
        return self._over

    def made_by(self, engine: dict[str, Any]) -> dict[str, Any]:
        """Return what the engine reports of itself once it has run."""
        return getattr(self, "_made_by", None) or engine

    def close(self) -> None:
        """End the engine's run where it has not ended."""
        self._all.close()

    def save(self, path: Path) -> None:
        """Do nothing: the engine's files are the checkpoint."""
