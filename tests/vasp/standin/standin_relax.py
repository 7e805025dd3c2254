"""Relaxation of positions and cell: one quasi-Newton method for all of IBRION = 1, 2 and 3."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from standin_identity import Refused
from standin_text import volume_of

if TYPE_CHECKING:
    from standin_engines import Point
    from standin_run import Run

STIFFNESS = 70.0  # of the Hessian at the start [eV/Å²]
LONGEST = 0.15  # move of any coordinate in one step [Å]


class Bfgs:
    """A quasi-Newton method that keeps its Hessian positive."""

    def __init__(self, size: int) -> None:
        self._hessian = np.eye(size) * STIFFNESS
        self._last: tuple[np.ndarray, np.ndarray] | None = None

    def step(self, gradient: np.ndarray) -> np.ndarray:
        """Return the next move [Å] from a gradient [eV/Å]."""
        if self._last is not None:
            self._learn(self._last[0], gradient - self._last[1])
        move = -np.linalg.solve(self._hessian, gradient)
        longest = float(np.abs(move).max(initial=0.0))
        if longest > LONGEST:
            move *= LONGEST / longest
        self._last = (move, gradient)
        return move

    def _learn(self, move: np.ndarray, change: np.ndarray) -> None:
        curvature, seen = float(move @ change), self._hessian @ move
        if curvature <= 1e-10:
            return
        self._hessian += np.outer(change, change) / curvature - np.outer(seen, seen) / float(move @ seen)


class Shape:
    """Positions and cell as one vector of coordinates that a minimiser may change freely.

    Positions are taken in the cell of the start, and the deformation of that cell is scaled by the number of atoms,
    so that both have the stiffness of a bond.
    """

    def __init__(self, run: Run) -> None:
        poscar, isif = run.job.poscar, run.job.settings.integer("ISIF")
        self._start, self._free, self._selective = poscar.cell, poscar.free, poscar.selective
        self._cell_moves, self._keeps_volume = isif in (3, 4), isif == 4
        self._scale = float(len(poscar))
        self._deformation = np.eye(3)
        self.fractional = poscar.fractional
        self.cell = poscar.cell

    @property
    def size(self) -> int:
        return self.fractional.size + (9 if self._cell_moves else 0)

    def forces(self, point: Point) -> np.ndarray:
        """Return forces that vanish on held components [eV/Å]."""
        if not self._selective:
            return point.forces
        along = point.forces @ self.cell.T * self._free
        return along @ np.linalg.inv(self.cell).T

    def strain_forces(self, point: Point) -> np.ndarray:
        """Return minus the slope of the energy with strain [eV], less its trace where the volume is kept."""
        virial = -volume_of(self.cell) * 0.5 * (point.stress + point.stress.T)
        return virial - np.eye(3) * np.trace(virial) / 3 if self._keeps_volume else virial

    def gradient(self, point: Point) -> np.ndarray:
        """Return the slope of the energy with all coordinates [eV/Å]."""
        parts = [-(self.forces(point) @ self._deformation.T).ravel()]
        if self._cell_moves:
            parts.append(-(np.linalg.inv(self._deformation).T @ self.strain_forces(point)).ravel() / self._scale)
        return np.concatenate(parts)

    def move(self, step: np.ndarray) -> None:
        """Add a step to all coordinates [Å]."""
        size = self.fractional.size
        shift = step[:size].reshape(-1, 3) @ np.linalg.inv(self._start)
        # held components get exactly nothing, not a rounding error
        self.fractional = self.fractional + np.where(self._free, shift, 0.0)
        if not self._cell_moves:
            return
        self._deformation = self._deformation + step[size:].reshape(3, 3) / self._scale
        if self._keeps_volume:
            self._deformation /= np.cbrt(np.linalg.det(self._deformation))
        self.cell = self._start @ self._deformation

    def largest_force(self, point: Point) -> float:
        """Return the largest force on an atom, or on the cell per atom where it moves [eV/Å]."""
        largest = float(np.linalg.norm(self.forces(point), axis=1).max())
        if self._cell_moves:
            largest = max(largest, float(np.abs(self.strain_forces(point)).max()) / self._scale)
        return largest


def run_relaxation(run: Run) -> None:
    """Move until EDIFFG is met, NSW is exhausted or STOPCAR says so; the last two leave no message of success."""
    settings = run.job.settings
    if settings.integer("ISIF") not in (0, 1, 2, 3, 4):
        raise Refused(f"the stand-in relaxes nothing with ISIF={settings.integer('ISIF')}: it knows 0 to 4")
    goal, steps = settings.real("EDIFFG"), settings.integer("NSW")
    shape = Shape(run)
    minimiser = Bfgs(shape.size)
    before: float | None = None
    for step in range(1, steps + 1):
        point = run.compute(shape.fractional, shape.cell)
        run.record(shape.fractional, shape.cell, point)
        change = abs(point.energy - before) if before is not None else np.inf
        before = point.energy
        if shape.largest_force(point) < -goal if goal < 0 else change < goal:
            run.say("reached required accuracy - stopping structural energy minimisation")
            break
        if run.is_stopped() or step == steps:
            break
        shape.move(minimiser.step(shape.gradient(point)))
        run.write_contcar(shape.fractional, shape.cell)
    run.write_contcar(shape.fractional, shape.cell)
    run.finish(shape.fractional, shape.cell)


def run_single_point(run: Run) -> None:
    """Compute where the atoms are."""
    poscar = run.job.poscar
    point = run.compute(poscar.fractional, poscar.cell)
    run.record(poscar.fractional, poscar.cell, point)
    run.write_contcar(poscar.fractional, poscar.cell)
    run.finish(poscar.fractional, poscar.cell)
