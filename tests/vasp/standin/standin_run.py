"""One run: the engine, the files, and what can go wrong between them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from standin_electrons import energies_of, iterations
from standin_failures import BRMIX, ZBRENT, ZHEGV, Crashed, Failures, die, hang, segfault
from standin_frames import Frame, Heat
from standin_identity import labelled, warning
from standin_incar import read_tags
from standin_logs import Oszicar, Xdatcar
from standin_outcar import UNCONVERGED, Outcar
from standin_poscar import Halfway, contcar
from standin_vasprun import Vasprun

if TYPE_CHECKING:
    import numpy as np
    from standin_engines import Engine, Point
    from standin_job import Job


class Run:
    """Computes points and writes each to all files before the next."""

    def __init__(self, job: Job, engine: Engine, failures: Failures) -> None:
        self.job = job
        self._engine = engine
        self._failures = failures
        self._pause = float(os.environ.get("VASP_STANDIN_SLEEP", 0))
        self._step = 0
        self._energy = 0.0
        self._outcar, self._vasprun = Outcar(job), Vasprun(job)
        self._oszicar, self._xdatcar = Oszicar(job), Xdatcar(job)
        self._flush()

    def compute(self, fractional: np.ndarray, cell: np.ndarray) -> Point:
        """Return energy and forces, after an electronic loop that the files report."""
        self._step += 1
        self._fail_before()
        self._outcar.begin(self._step)
        self._vasprun.begin()
        self._oszicar.begin()
        try:
            point = self._engine.point(fractional, cell)
        except (RuntimeError, ArithmeticError, NotImplementedError) as error:
            raise self._stopped(f"{ZHEGV}   (STAND-IN engine: {error})", 1) from error
        self._iterate(point.energy)
        return point

    def record(self, fractional: np.ndarray, cell: np.ndarray, point: Point, heat: Heat | None = None) -> None:
        """Write an ionic step."""
        energies = energies_of(point.energy, len(self.job.poscar))
        change, self._energy = point.energy - self._energy, point.energy
        last = self._step >= self.job.settings.integer("NSW")
        frame = Frame(self._step, cell, fractional, point, energies, heat, change, last)
        self._vasprun.full = self._failures.fires("full", self._step)
        for file in (self._outcar, self._vasprun, self._oszicar, self._xdatcar):
            file.frame(frame)
        self._flush()

    def write_contcar(self, fractional: np.ndarray, cell: np.ndarray, halfway: Halfway | None = None) -> None:
        """Write from where a next run would go on."""
        poscar, timestep = self.job.poscar, self.job.settings.real("POTIM")
        text = contcar(poscar, labelled(poscar.comment), cell, fractional, halfway, timestep)
        Path("CONTCAR").write_text(text, encoding="utf-8")

    def say(self, line: str) -> None:
        """Print a line and write it to OUTCAR."""
        print(f" {line}", flush=True)
        self._outcar.write(f"\n {line}\n")

    def is_stopped(self) -> bool:
        """Return whether STOPCAR asks to end after this ionic step, and say so."""
        if self._stopcar("LSTOP"):
            self.say("soft stop encountered!  aborting job ...")
            return True
        return self._stopcar("LABORT")

    def finish(self, fractional: np.ndarray, cell: np.ndarray, velocities: np.ndarray | None = None) -> None:
        """Write the ends of the files and the large files that nobody reads."""
        for tag, name in (("LWAVE", "WAVECAR"), ("LCHARG", "CHGCAR")):
            if self.job.settings.flag(tag):
                Path(name).write_text("STAND-IN: not a file of VASP\n")
        self._outcar.finish()
        self._vasprun.finish(cell, fractional, velocities)
        self._flush()

    def _iterate(self, energy: float) -> None:
        settings = self.job.settings
        nelm, nelmin, ediff = settings.integer("NELM"), settings.integer("NELMIN"), settings.real("EDIFF")
        sloshing = self._failures.fires("nelm", self._step)
        breaks = self._failures.fires("zhegv", self._step)
        change, stop = 0.0, ""
        for iteration in iterations(energy, len(self.job.poscar), nelm, nelmin, ediff, sloshing):
            change = iteration.change
            self._oszicar.iteration(iteration)
            self._outcar.iteration(self._step, iteration)
            self._vasprun.iteration(iteration)
            if iteration.number == 1:
                # from outside, a run is stopped or killed here
                self._flush()
                time.sleep(self._pause)
                stop = "hard stop encountered!  aborting job ..." if self._stopcar("LABORT") else ""
            if breaks and iteration.number == 3:
                raise self._stopped(ZHEGV, 1)
            if stop:
                break
        reached = abs(change) < ediff
        self._outcar.end_iterations(reached, stop)
        if not reached and self.job.identity.flavour == 6:
            print(warning(UNCONVERGED), flush=True)
        self._flush()

    def _fail_before(self) -> None:
        if self._failures.fires("brmix", self._step):
            print(BRMIX, flush=True)
        if self._failures.fires("zbrent", self._step):
            raise self._stopped(ZBRENT, 0)
        if self._failures.fires("segv", self._step):
            raise segfault()
        if self._failures.fires("hang", self._step):
            hang()
        if self._failures.fires("kill", self._step):
            self._vasprun.begin()
            self._vasprun.half_an_iteration()
            die()

    def _stopped(self, message: str, status: int) -> Crashed:
        print(message, flush=True)
        self._outcar.write(f" {message}\n")
        self._flush()
        return Crashed(status)

    def _stopcar(self, tag: str) -> bool:
        path = Path("STOPCAR")
        return path.exists() and bool(read_tags(path).get(tag))

    def _flush(self) -> None:
        for file in (self._outcar, self._vasprun, self._oszicar, self._xdatcar):
            file.flush()
