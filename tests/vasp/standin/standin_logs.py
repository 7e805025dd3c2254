"""OSZICAR, the standard output and XDATCAR: one line, or one block, per step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from standin_identity import LABEL, labelled
from standin_text import Sheet, fortran, table

if TYPE_CHECKING:
    import numpy as np
    from standin_electrons import Iteration
    from standin_frames import Frame
    from standin_job import Job

COLUMNS = "       N       E                     dE             d eps       ncg     rms          rms(c)"


class Oszicar(Sheet):
    """OSZICAR, whose lines VASP prints on the standard output too."""

    def __init__(self, job: Job) -> None:
        super().__init__("OSZICAR")
        self._job = job

    def begin(self) -> None:
        self._say(f"{COLUMNS}  {LABEL}")

    def iteration(self, iteration: Iteration) -> None:
        energy, change = fortran(iteration.energies.free, 12), fortran(iteration.change, 5)
        deps = fortran(-abs(iteration.change), 5)
        self._say(f"DAV:{iteration.number:4d}{energy:>23s}  {change:>13s}  {deps:>13s}{96:6d}   0.100E+00")

    def frame(self, frame: Frame) -> None:
        e, heat = frame.energies, frame.heat
        free, zero = fortran(e.free, 8, bare=True), fortran(e.zero_smearing, 8, bare=True)
        if heat is None:
            line = f"{frame.number:4d} F= {free} E0= {zero}  d E ={fortran(frame.change, 6, bare=True)}"
        else:
            line = (
                f"{frame.number:7d} T= {heat.temperature:5.0f}. E= {fortran(frame.total, 8, bare=True)}"
                f" F= {free} E0= {zero}  EK= {fortran(heat.kinetic, 5)}"
                f" SP= {fortran(heat.nose_potential, 2, bare=True)} SK= {fortran(heat.nose_kinetic, 2, bare=True)}"
            )
        if self._job.settings.integer("ISPIN") == 2:
            line += f"  mag={self._job.unpaired:10.4f}"
        self._say(line)

    def _say(self, line: str) -> None:
        self.write(line + "\n")
        print(line, flush=True)


class Xdatcar(Sheet):
    """XDATCAR: the positions at which energies were computed."""

    def __init__(self, job: Job) -> None:
        super().__init__("XDATCAR")
        self._job = job
        self._head(job.poscar.cell)

    def frame(self, frame: Frame) -> None:
        if frame.heat is not None and frame.number % self._job.settings.integer("NBLOCK"):
            return
        if self._job.settings.integer("ISIF") >= 3 and frame.number > 1:
            self._head(frame.cell)
        self.write(f"Direct configuration={frame.number:6d}\n" + table(frame.fractional % 1.0, "13.8f"))

    def _head(self, cell: np.ndarray) -> None:
        poscar = self._job.poscar
        species = "".join(f"{s:>5s}" for s in poscar.symbols) + "\n" + "".join(f"{c:5d}" for c in poscar.counts)
        title = labelled(self._job.settings.text("SYSTEM"))
        self.write(f"{title}\n           1\n{table(cell, '12.6f')}{species}\n")
