"""Relaxation with ASE that goes on where it was cut off, bit for bit as if it never had been.

The state of an optimiser is a function of the energies and forces it has seen, and the trajectory has all of them: a
relaxation that goes on is walked again through what was recorded, which costs no engine a thing, and computes on from
there. An engine starts anew at every checkpoint: what it keeps in memory (a wave function) would otherwise make the
step after a cut another one.
"""

from __future__ import annotations

import logging
import time
import warnings
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS, FIRE, LBFGS

from stem2sim.engines.calculator_session import Borrowed
from stem2sim.engines.checkpoints import Claim, check_time
from stem2sim.engines.trajectory import Frames, disk_full_reported, frames
from stem2sim.files import write_text
from stem2sim.progress import track

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from ase import Atoms

log = logging.getLogger("stem2sim")

OPTIMISERS = {"bfgs": BFGS, "lbfgs": LBFGS, "fire": FIRE}

STEM = "relaxation"
TRAJECTORY = f"{STEM}.traj"
MARK = f"{STEM}.checkpoint"
"""The last step that a relaxation can go on from, once there is one."""


class Differs(Exception):
    """The recorded steps are not those that are taken now."""


class Recorded(Calculator):
    """Gives what was recorded, frame by frame, and then what an engine computes."""

    implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012  # as ASE declares it

    def __init__(self, recorded: list[Atoms], wanted: tuple[str, ...], engine: Borrowed, block: int) -> None:
        """Start with the first frame.

        Args:
            recorded: frames with their results, a whole number of blocks.
            wanted: properties that are computed together.
            engine: for what was not recorded.
            block: steps from one fresh start of the engine to the next.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self.done = 0
        self._recorded, self._wanted, self._engine, self._block = recorded, wanted, engine, block

    @property
    def replays(self) -> bool:
        """Whether the last frame asked for was a recorded one."""
        return self.done <= len(self._recorded)

    def calculate(
        self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = tuple(all_changes)
    ) -> None:
        """Compute all that is wanted of these atoms."""
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        if self.done < len(self._recorded):
            frame = self._recorded[self.done]
            if not (np.array_equal(frame.positions, atoms.positions) and np.array_equal(frame.cell, atoms.cell)):
                raise Differs
            self.results = dict(frame.calc.results)
        else:
            if self.done % self._block == 0:
                self._engine.anew()
            self.results = self._engine.compute(atoms.copy(), self._wanted)
        self.done += 1


class Relaxed(NamedTuple):
    """How a relaxation ended."""

    converged: bool
    steps: int
    series: dict[str, list[float]]
    """Energy [eV] and largest force [eV/Å] of every step."""
    seconds: float
    """Wall-clock time, that of earlier tries counted."""


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
    """Steps between checkpoints: what a cut costs at most."""
    strains: list[bool] | None
    """Of the cell (xx, yy, zz, yz, xz, xy) that may change; None to keep it."""

    def relax(
        self, atoms: Atoms, lent: Callable[[], AbstractContextManager[Calculator]], workdir: Path, claim: Claim
    ) -> Relaxed:
        """Relax atoms in place, going on with what `workdir` holds.

        Args:
            atoms: without a calculator; has one with the last results afterwards.
            lent: lends a fresh calculator of the engine.
            workdir: for the trajectory and the log.
            claim: on the files of an earlier try.
        """
        earlier = _recorded(workdir, self.block)[: self.max_steps + 1] if claim.resumed else []
        start = atoms.copy()
        with Borrowed(lent) as engine:
            if earlier:
                log.info("%s goes on from step %d", self.title, len(earlier))
                try:
                    return self._walk(atoms, engine, earlier, workdir)
                except Differs:
                    told = "another ASE or machine takes other steps than those recorded; it starts again"
                    log.warning("%s: %s", self.title, told)
                    atoms.set_cell(start.cell)
                    atoms.set_positions(start.positions, apply_constraint=False)
            return self._walk(atoms, engine, [], workdir)

    def _walk(self, atoms: Atoms, engine: Borrowed, earlier: list[Atoms], workdir: Path) -> Relaxed:
        logfile = workdir / f"{STEM}.log"
        logfile.unlink(missing_ok=True)  # the steps that are walked again write theirs again
        series: dict[str, list[float]] = {"energy [eV]": [], "largest force [eV/Å]": []}
        wanted = ("energy", "forces") if self.strains is None else ("energy", "forces", "stress")
        recorded = Recorded(earlier, wanted, engine, self.block)
        atoms.calc = recorded
        moving = atoms if self.strains is None else FrechetCellFilter(atoms, mask=self.strains)
        before = float(earlier[-1].info["seconds"]) if earlier else 0.0
        started = block_started = time.monotonic()
        with (
            Frames(workdir / TRAJECTORY, len(earlier)) as trajectory,
            track(self.title, self.max_steps) as advance,
            warnings.catch_warnings(),
            OPTIMISERS[self.optimiser](moving, logfile=str(logfile)) as walk,
        ):
            warnings.filterwarnings("ignore", "logm result may be inaccurate")  # by 1e-12, of a cell's strain

            def note() -> None:
                nonlocal block_started
                force = float(np.linalg.norm(moving.get_forces(), axis=1).max())
                series["energy [eV]"].append(float(atoms.get_potential_energy()))
                series["largest force [eV/Å]"].append(force)
                advance(note=f"{force:.3f} eV/Å")
                if recorded.replays:
                    return
                step = walk.get_number_of_steps()
                trajectory.append(atoms, recorded.results, step=step, seconds=before + time.monotonic() - started)
                if (step + 1) % self.block == 0:
                    trajectory.sync()
                    with disk_full_reported(workdir / MARK):
                        write_text(workdir / MARK, f"{step}\n")
                    check_time(time.monotonic() - block_started, f"after step {step} of the relaxation")
                    block_started = time.monotonic()

            walk.attach(note)
            converged = bool(walk.run(fmax=self.fmax, steps=self.max_steps))
            trajectory.sync()
            steps = walk.get_number_of_steps()
        return Relaxed(converged, steps, series, before + time.monotonic() - started)


def _recorded(workdir: Path, block: int) -> list[Atoms]:
    """Frames up to the last checkpoint; what came after it may not have reached the disk whole."""
    try:
        last = int((workdir / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    found = list(islice(frames(workdir / TRAJECTORY), last + 1))
    return found[: len(found) - len(found) % block]
