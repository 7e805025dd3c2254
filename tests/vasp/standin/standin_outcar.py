"""The steps of OUTCAR; `standin_header` writes what comes before the first."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
from standin_header import header, lattice
from standin_identity import warning
from standin_text import Sheet, volume_of

if TYPE_CHECKING:
    from standin_electrons import Iteration
    from standin_frames import Frame
    from standin_job import Job

KILOBAR = 1602.176634  # of 1 eV/Å³
RULE = "-" * 104
SHORT_RULE = "  ---------------------------------------------------\n"
UNCONVERGED = (
    "The electronic self-consistency was not achieved in the given number of steps (NELM). The forces and other "
    "quantities evaluated might not be reliable so examine the results carefully."
)


class Outcar(Sheet):
    """OUTCAR."""

    def __init__(self, job: Job) -> None:
        super().__init__("OUTCAR")
        self._job = job
        self._started = self._begun = time.time()
        self.write(header(job))

    def begin(self, step: int) -> None:
        self._begun = time.time()
        self.write(f"\n{'-' * 39} Ionic step {step:8d}  {'-' * 43}\n\n")

    def iteration(self, step: int, iteration: Iteration) -> None:
        e, change, electrons = iteration.energies, iteration.change, self._job.electrons
        counts = f"{electrons:15.7f} magnetization {self._job.unpaired:15.7f}"
        self.write(
            f"\n{'-' * 39} Iteration {step:6d}({iteration.number:4d})  {'-' * 39}\n\n\n"
            "     EDDAV:  cpu time      0.1000: real time      0.1000\n"
            "      LOOP:  cpu time      0.1000: real time      0.1000\n\n"
            " eigenvalue-minimisations  :    96\n"
            f" total energy-change (2. order) :{change:14.7E}  ({-abs(change):14.7E})\n"
            f" number of electron {counts}\n augmentation part  {counts}\n\n"
            f" Free energy of the ion-electron system (eV)\n{SHORT_RULE}"
            f"  entropy T*S    EENTRO =  {e.free - e.without_entropy:18.8f}\n{SHORT_RULE}"
            f"  free energy    TOTEN  =  {e.free:18.8f} eV\n\n"
            f"  energy without entropy = {e.without_entropy:18.8f}  energy(sigma->0) = {e.zero_smearing:18.8f}\n\n\n"
            f"{RULE}\n\n\n\n"
        )

    def end_iterations(self, reached: bool, stop: str) -> None:
        """Say how the electronic loop ended; VASP 5 claims convergence even where NELM was hit."""
        if stop:
            self.write(f" {stop}\n")
        if reached or self._job.identity.flavour == 5:
            self.write(f"{'-' * 24} aborting loop because EDIFF is reached {'-' * 40}\n\n\n")
            return
        self.write(f"{'-' * 24} aborting loop EDIFF was not reached (unconverged)  {'-' * 28}\n\n\n")
        self.write(warning(UNCONVERGED) + "\n\n\n")

    def frame(self, frame: Frame) -> None:
        settings = self._job.settings
        self._moments()
        if settings.integer("ISIF") > 0:
            self._stress(frame)
        self.write("\n VOLUME and BASIS-vectors are now :\n " + "-" * 77 + "\n")
        self.write(lattice(frame.cell, settings.real("ENCUT")))
        # with NWRITE=0 or 1 dynamics prints only the first and the last step
        if settings.integer("NWRITE") >= 2 or frame.heat is None or frame.number == 1 or frame.last:
            self._forces(frame)
        e = frame.energies
        self.write(
            f"{RULE}\n\n\n\n  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)\n{SHORT_RULE}"
            f"  free  energy   TOTEN  = {e.free:18.8f} eV\n\n"
            f"  energy  without entropy={e.without_entropy:18.8f}  energy(sigma->0) ={e.zero_smearing:18.8f}\n"
            f" \n\n\n{RULE}\n\n"
        )
        if frame.heat is not None:
            self._energies_of_dynamics(frame)
        took = time.time() - self._begun
        self.write(f"     LOOP+:  cpu time {took:11.4f}: real time {took:11.4f}\n")

    def finish(self) -> None:
        self._moments()
        cpu, real = time.process_time(), time.time() - self._started
        self.write(
            f"\n\n General timing and accounting informations for this job:\n {'=' * 56}\n  \n"
            f"                  Total CPU time used (sec): {cpu:12.3f}\n"
            f"                            User time (sec): {cpu:12.3f}\n"
            "                          System time (sec):        0.000\n"
            f"                         Elapsed time (sec): {real:12.3f}\n  \n"
            "                   Maximum memory used (kb):      100000.\n"
            "                   Average memory used (kb):          N/A\n  \n"
            "                          Minor page faults:            0\n"
            "                          Major page faults:            0\n"
            "                 Voluntary context switches:            0\n"
        )

    def _moments(self) -> None:
        settings = self._job.settings
        if settings.integer("ISPIN") != 2 or settings.integer("LORBIT") < 10:
            return
        rows = np.zeros((len(self._job.poscar), 4))
        for row, element, share in zip(rows, self._job.poscar.elements, self._job.shares, strict=True):
            row[{"H": 0, "Cr": 2, "Cu": 2}.get(element, 1)] = share
        rows[:, 3] = rows.sum(axis=1)
        lines = [f"{i:5d}    " + "".join(f"{x:8.3f}" for x in row) for i, row in enumerate(rows, 1)]
        total = "tot      " + "".join(f"{x:8.3f}" for x in rows.sum(axis=0))
        head = "\n\n magnetization (x)\n\n# of ion       s       p       d       tot\n" + "-" * 42 + "\n"
        self.write(head + "\n".join(lines) + "\n" + "-" * 50 + f"\n{total}\n\n")

    def _stress(self, frame: Frame) -> None:
        pressure = -frame.point.stress
        self.write(
            "\n  FORCE on cell =-STRESS in cart. coord.  units (eV):\n"
            "  Direction    XX          YY          ZZ          XY          YZ          ZX\n"
            f"  {'-' * 86}\n"
            f"  Total  {_six(pressure * volume_of(frame.cell))}\n  in kB  {_six(pressure * KILOBAR)}\n"
            f"  external pressure = {np.trace(pressure) / 3 * KILOBAR:12.2f} kB"
            f"  Pullay stress =  {self._job.settings.real('PSTRESS'):10.2f} kB\n\n"
        )

    def _forces(self, frame: Frame) -> None:
        rows = np.hstack([frame.fractional @ frame.cell, frame.point.forces])
        lines = [" {:12.5f} {:12.5f} {:12.5f}    {:13.6f} {:13.6f} {:13.6f}".format(*row) for row in rows]
        drift = " {:13.6f} {:13.6f} {:13.6f}".format(*frame.point.forces.sum(axis=0))
        rule = " " + "-" * 83 + "\n"
        head = " POSITION                                       TOTAL-FORCE (eV/Angst)\n"
        self.write(head + rule + "\n".join(lines) + f"\n{rule}    total drift:                         {drift}\n\n\n")

    def _energies_of_dynamics(self, frame: Frame) -> None:
        heat = frame.heat
        assert heat is not None
        self.write(
            f"  ENERGY OF THE ELECTRON-ION-THERMOSTAT SYSTEM (eV)\n{SHORT_RULE}"
            f"% ion-electron   TOTEN  = {frame.energies.free:16.6f}  see above\n"
            f"  kinetic energy EKIN   = {heat.kinetic:16.6f}\n"
            f"  kin. lattice  EKIN_LAT= {0.0:16.6f}  (temperature {heat.temperature:7.2f} K)\n"
            f"  nose potential ES     = {heat.nose_potential:16.6f}\n"
            f"  nose kinetic   EPS    = {heat.nose_kinetic:16.6f}\n{SHORT_RULE}"
            f"  total energy   ETOTAL = {frame.total:16.6f} eV\n\n"
            "  maximum distance moved by ions :      0.10E-02\n\n"
            f" mean value of Nose-termostat <S>:     1.000 mean value of <T> : {heat.temperature:9.3f}\n"
            f" mean temperature <T/S>/<1/S>  : {heat.temperature:9.3f}\n\n"
        )


def _six(tensor: np.ndarray) -> str:
    order = ((0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (2, 0))
    return "".join(f"{tensor[i, j]:12.5f}" for i, j in order)
