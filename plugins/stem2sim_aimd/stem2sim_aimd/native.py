"""Dynamics by an engine's own integrator, one checkpoint at a time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from stem2sim_aimd.thermostats import NoThermostat
from stem2sim_aimd.verlet import Dynamics

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ase import Atoms

    from stem2sim.borrowed import Borrowed
    from stem2sim.motion import Bath
    from stem2sim.stages import Engine
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
        self, atoms: Atoms, bath: Bath, borrowed: Borrowed, engine: Engine, structure: Structure, workdir: Path
    ) -> None:
        """Start at step 0 with the momenta of the atoms."""
        super().__init__(atoms, bath.time_step, Inside(atoms, bath.time_step, bath.temperature), borrowed)
        self._bath, self._stage, self._structure, self._workdir = bath, engine, structure, workdir

    def run(self, steps: int) -> Iterator[None]:
        """Take steps; they come once the engine has made them all."""
        self._engine.anew()
        started = time.monotonic()
        moving = self._structure.model_copy(update={"atoms": self.atoms})
        for motion in self._stage.motions(moving, self._workdir, steps, self._bath, self.thermostat.state()):
            self.atoms.set_positions(motion.positions, apply_constraint=False)
            self.atoms.set_momenta(motion.momenta, apply_constraint=False)
            self.potential, self.current = motion.potential, motion.forces is not None
            self.forces = self.forces if motion.forces is None else motion.forces
            self.thermostat.restore(motion.state)
            self.hottest = self.temperature()
            self.step += 1
            yield
        self.seconds += time.monotonic() - started

    def conserved(self) -> float | None:
        """Total energy in NVE; with a thermostat the engine has its own account."""
        return super().conserved() if self._bath.ensemble == "nve" else None
