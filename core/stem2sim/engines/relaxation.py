"""Relaxation with ASE that resumes where it was interrupted, bit for bit as if it never had been."""

from __future__ import annotations

import logging
import time
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS, FIRE, LBFGS

from stem2sim.engines.calculator_session import CalculatorSession
from stem2sim.engines.deadline import check_time
from stem2sim.engines.replay import Replay, StepsDiffer, recorded_frames
from stem2sim.engines.trajectory import TrajectoryFile, disk_full_reported
from stem2sim.errors import BadInput
from stem2sim.files import write_text
from stem2sim.geometry.bonds import Bonds
from stem2sim.progress import track

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from ase import Atoms
    from ase.calculators.calculator import Calculator

    from stem2sim.engines.checkpoints import Claim

log = logging.getLogger("stem2sim")

OPTIMISERS = {"bfgs": BFGS, "lbfgs": LBFGS, "fire": FIRE}

STEM = "relaxation"
TRAJECTORY = f"{STEM}.traj"
MARK = f"{STEM}.checkpoint"
"""The last step that a relaxation can resume from, once there is one."""

ENERGY, FORCE = "energy [eV]", "largest force [eV/Å]"


class Relaxed(NamedTuple):
    """How a relaxation ended."""

    converged: bool
    steps: int
    series: dict[str, list[float]]
    """Energy [eV] and largest force [eV/Å] of every step."""
    seconds: float
    """Wall-clock time, that of earlier tries included."""


@dataclass(frozen=True)
class Relaxation:
    """How atoms are relaxed."""

    title: str
    """Of the progress bar."""
    optimiser: str
    """One of `OPTIMISERS`."""
    fmax: float
    """Largest force to reach [eV/Å]."""
    max_steps: int
    block: int
    """Steps between checkpoints: the most that an interruption costs."""
    strains: list[bool] | None
    """Of the cell (xx, yy, zz, yz, xz, xy) that may change; None to keep it."""

    def relax(
        self,
        atoms: Atoms,
        open_calculator: Callable[[], AbstractContextManager[Calculator]],
        workdir: Path,
        claim: Claim,
    ) -> Relaxed:
        """Relax atoms in place, resuming from what `workdir` holds.

        Args:
            atoms: without a calculator; has one with the last results afterwards.
            open_calculator: returns a fresh calculator of the engine.
            workdir: for the trajectory and the log.
            claim: on the files of an earlier try.
        """
        recorded: list[Atoms] = []
        if claim.resumed:
            recorded = recorded_frames(workdir / TRAJECTORY, workdir / MARK, self.block)[: self.max_steps + 1]
        start = atoms.copy()
        with CalculatorSession(open_calculator) as engine:
            if recorded:
                log.info("%s resumes from step %d", self.title, len(recorded))
                try:
                    return self._walk(atoms, engine, recorded, workdir)
                except StepsDiffer:
                    log.warning(
                        "%s: this version of ASE, or this machine, takes other steps than the recorded ones; starting "
                        "again",
                        self.title,
                    )
                    atoms.set_cell(start.cell)
                    atoms.set_positions(start.positions, apply_constraint=False)
            return self._walk(atoms, engine, [], workdir)

    def _walk(self, atoms: Atoms, engine: CalculatorSession, recorded: list[Atoms], workdir: Path) -> Relaxed:
        logfile = workdir / f"{STEM}.log"
        logfile.unlink(missing_ok=True)  # replayed steps are logged again
        series: dict[str, list[float]] = {ENERGY: [], FORCE: []}
        properties = ("energy", "forces") if self.strains is None else ("energy", "forces", "stress")
        replay = Replay(recorded, properties, engine, self.block)
        atoms.calc = replay
        moving = atoms if self.strains is None else FrechetCellFilter(atoms, mask=self.strains)
        before = float(recorded[-1].info["seconds"]) if recorded else 0.0
        started = block_started = time.monotonic()
        with (
            TrajectoryFile(workdir / TRAJECTORY, len(recorded)) as trajectory,
            track(self.title, self.max_steps) as advance,
            warnings.catch_warnings(),
            OPTIMISERS[self.optimiser](moving, logfile=str(logfile)) as walk,
        ):
            warnings.filterwarnings("ignore", "logm result may be inaccurate")  # by 1e-12, of a cell's strain

            def record() -> None:
                nonlocal block_started
                force = float(np.linalg.norm(moving.get_forces(), axis=1).max())
                series[ENERGY].append(float(atoms.get_potential_energy()))
                series[FORCE].append(force)
                advance(note=f"{force:.3f} eV/Å")
                if replay.is_replaying:
                    return
                step = walk.get_number_of_steps()
                trajectory.append(atoms, replay.results, step=step, seconds=before + time.monotonic() - started)
                if (step + 1) % self.block == 0:
                    trajectory.sync()
                    with disk_full_reported(workdir / MARK):
                        write_text(workdir / MARK, f"{step}\n")
                    check_time(time.monotonic() - block_started, f"after step {step} of the relaxation")
                    block_started = time.monotonic()

            walk.attach(record)
            converged = bool(walk.run(fmax=self.fmax, steps=self.max_steps))
            trajectory.sync()
            steps = walk.get_number_of_steps()
        return Relaxed(converged, steps, series, before + time.monotonic() - started)

    def describe(self, ended: Relaxed, before: Atoms, after: Atoms) -> str:
        """Return in words how far a relaxation came, and how much it stretched the cell where that may change."""
        force = f"maximum force {ended.series[FORCE][-1]:.4f} eV/Å"
        reason = (
            f"converged in {ended.steps} steps; {force} (fmax = {self.fmax} eV/Å)"
            if ended.converged
            else f"not converged: max_steps = {self.max_steps} reached before fmax = {self.fmax} eV/Å, {force}"
        )
        if self.strains is None:
            return reason
        stretch = np.linalg.svd(np.linalg.solve(before.cell, after.cell), compute_uv=False)
        return (
            f"{reason}; cell vectors {', '.join(f'{a:.3f}' for a in after.cell.lengths())} Å, stretched by up to "
            f"{100 * max(stretch - 1, key=abs):+.2f} %"
        )


def free_strains(atoms: Atoms) -> list[bool]:
    """Return the strains (xx, yy, zz, yz, xz, xy) that leave the vacuum beside a sheet, or a ribbon, as it is.

    Raises:
        BadInput: atoms are fixed, bonds repeat along no vector, or the vacuum is not along x, y or z.
    """
    if atoms.constraints:
        raise BadInput("relax_cell moves every atom, but some are fixed; use one or the other")
    joined = Bonds.of(atoms).repeats
    if not joined.any():
        raise BadInput(
            "relax_cell has no cell to relax: bonds repeat along none of its vectors; add the builder periodic"
        )
    along = (np.abs(np.asarray(atoms.cell)[joined]) > 1e-6).any(axis=0)
    across = (np.abs(np.asarray(atoms.cell)[~joined]) > 1e-6).any(axis=0)
    if (along & across).any():
        raise BadInput("relax_cell needs a cell whose vacuum is at right angles to the rest, along x, y or z")
    x, y, z = along.tolist()
    return [x, y, z, y and z, x and z, x and y]
