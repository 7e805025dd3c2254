"""Velocity Verlet between two half-steps of a thermostat: one trajectory, whose whole state can be saved."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from ase import Atoms, units

from stem2sim.engines.trajectory import disk_full_reported
from stem2sim.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stem2sim.engines.calculator_session import CalculatorSession
    from stem2sim_aimd.thermostats import Thermostat


class Dynamics:
    """Atoms on their way: positions, momenta, forces, thermostat, and the step they have come to."""

    keeps_steps: ClassVar[bool] = False
    """Whether the engine finds its earlier steps by itself."""

    def __init__(self, atoms: Atoms, time_step: float, thermostat: Thermostat, engine: CalculatorSession) -> None:
        """Start at step 0.

        Args:
            atoms: with momenta and constraints; moved in place.
            time_step: [fs].
            thermostat: of these atoms.
            engine: whose forces.
        """
        self.atoms, self.thermostat = atoms, thermostat
        self.step, self.time_step = 0, time_step
        self.seconds = 0.0
        """Wall-clock time that the steps took."""
        self.hottest = 0.0
        """Temperature before the thermostat acts [K], which shows an integration that fails."""
        self.blown_up = False
        """Whether the integration failed; such a trajectory does not continue."""
        self.unfinished = False
        """Whether it was read before its end."""
        self.sound = True
        """Whether every step was computed as requested."""
        self.details: dict[str, Any] = {}
        """What the engine computed with, besides its options."""
        self.warnings: tuple[str, ...] = ()
        """What a reader should know of how it was computed."""
        self.potential = 0.0
        self.forces = np.zeros((len(atoms), 3))
        """Of the engine [eV/Å], constraints not applied."""
        self.current = True
        """Whether the forces are those of this step."""
        self._engine = engine
        self._unheld = atoms.copy()
        self._unheld.set_constraint()

    def start(self) -> None:
        """Compute energy and forces of the first step."""
        started = time.monotonic()
        self._evaluate()
        self.seconds += time.monotonic() - started

    def run(self, steps: int) -> Iterator[None]:
        """Take steps, up to a checkpoint, after which the engine restarts."""
        started = time.monotonic()
        for _ in range(steps):
            self._advance()
            yield
        self._engine.restart()
        self.seconds += time.monotonic() - started

    def _advance(self) -> None:
        atoms, dt = self.atoms, self.time_step * units.fs
        masses = self.thermostat.masses
        atoms.set_momenta(self.thermostat.half_step(atoms.get_momenta()))
        atoms.set_momenta(atoms.get_momenta() + 0.5 * dt * self.forces)
        atoms.set_positions(atoms.positions + dt * atoms.get_momenta() / masses)
        self._evaluate()
        atoms.set_momenta(atoms.get_momenta() + 0.5 * dt * self.forces)
        self.hottest = self.temperature()
        atoms.set_momenta(self.thermostat.half_step(atoms.get_momenta()))
        self.step += 1

    def _evaluate(self) -> None:
        self._unheld.set_positions(self.atoms.positions)
        results = self._engine.compute(self._unheld)
        self.potential, self.forces = float(results["energy"]), np.array(results["forces"], dtype=float)

    def ended(self, steps: int) -> bool:
        """Return whether all steps are done, or the integration failed."""
        return self.blown_up or self.step >= steps

    def temperature(self) -> float:
        """Temperature over the free degrees of freedom [K]."""
        return 2 * float(self.atoms.get_kinetic_energy()) / (self.thermostat.freedom * units.kB)

    def conserved(self) -> float | None:
        """The quantity that exact dynamics conserves: atoms and heat bath together [eV]; None if unknown."""
        return self.potential + float(self.atoms.get_kinetic_energy()) + self.thermostat.bath()

    def made_by(self, engine: dict[str, Any]) -> dict[str, Any]:
        """Return the provenance of the engine, with what it reports of itself."""
        return engine

    def close(self) -> None:
        """End any process that runs for it."""

    def save(self, path: Path) -> None:
        """Write the whole state; a reader finds the old one or the new one, never a part.

        Raises:
            StageFailed: the disk is full; the old one is kept.
        """
        rest = [self.step, self.potential, self.seconds, self.hottest, self.blown_up, self.thermostat.state()]
        with disk_full_reported(path), write_atomically(path) as part:
            np.savez(
                part,
                positions=self.atoms.positions,
                momenta=self.atoms.get_momenta(),
                forces=self.forces,
                rest=json.dumps(rest),
            )

    def restore(self, saved: dict[str, Any]) -> None:
        """Continue from the state that `load` read."""
        positions, momenta, forces = saved["positions"], saved["momenta"], saved["forces"]
        rest = json.loads(str(saved["rest"]))
        self.step, self.potential, self.seconds, self.hottest, self.blown_up, state = rest
        self.atoms.set_positions(positions, apply_constraint=False)
        self.atoms.set_momenta(momenta, apply_constraint=False)
        self.forces = forces
        self.thermostat.restore(state)


def load(path: Path) -> tuple[int, bool, dict[str, Any]]:
    """Return the step, whether the trajectory blew up there, and the whole of a state that was saved.

    Raises:
        OSError, ValueError, KeyError, BadZipFile: there is none, or it is damaged.
    """
    with np.load(path, allow_pickle=False) as file:
        saved = {name: file[name] for name in ("positions", "momenta", "forces", "rest")}
    step, _, _, _, blown_up, _ = json.loads(str(saved["rest"]))
    return step, blown_up, saved
