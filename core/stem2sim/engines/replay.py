"""Recorded steps of a relaxation, replayed to its optimiser before an engine computes new ones.

The state of an optimiser is a function of the energies and forces it was given, and the trajectory has all of them: a
relaxation that resumes walks through its recorded steps again, at no cost, and computes on from there. An engine
restarts at every checkpoint: what it keeps in memory (a wave function) would otherwise change the next step.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.calculators.calculator import Calculator, all_changes

from stem2sim.engines.trajectory import frames

if TYPE_CHECKING:
    from pathlib import Path

    from ase import Atoms

    from stem2sim.engines.calculator_session import CalculatorSession


class StepsDiffer(Exception):
    """The recorded steps are not those that the optimiser takes now."""


class Replay(Calculator):
    """Returns what was recorded, frame by frame, and then what an engine computes."""

    implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012  # as ASE declares it

    def __init__(
        self, recorded: list[Atoms], properties: tuple[str, ...], engine: CalculatorSession, block: int
    ) -> None:
        """Start with the first frame.

        Args:
            recorded: frames with their results, a whole number of blocks.
            properties: that are computed together.
            engine: for what was not recorded.
            block: steps between two restarts of the engine.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self.done = 0
        self._recorded, self._properties, self._engine, self._block = recorded, properties, engine, block

    @property
    def is_replaying(self) -> bool:
        """Whether the latest frame was a recorded one."""
        return self.done <= len(self._recorded)

    def calculate(
        self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = tuple(all_changes)
    ) -> None:
        """Compute all properties of these atoms."""
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        if self.done < len(self._recorded):
            frame = self._recorded[self.done]
            if not (np.array_equal(frame.positions, atoms.positions) and np.array_equal(frame.cell, atoms.cell)):
                raise StepsDiffer
            self.results = dict(frame.calc.results)
        else:
            if self.done % self._block == 0:
                self._engine.restart()
            self.results = self._engine.compute(atoms.copy(), self._properties)
        self.done += 1


def recorded_frames(trajectory: Path, checkpoint: Path, block: int) -> list[Atoms]:
    """Return the frames up to the last checkpoint; later ones may not have reached the disk whole."""
    try:
        last = int(checkpoint.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    recorded = list(islice(frames(trajectory), last + 1))
    return recorded[: len(recorded) - len(recorded) % block]
