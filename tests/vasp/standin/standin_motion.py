"""Molecular dynamics: velocity Verlet, alone or between the halves of a Nosé-Hoover thermostat."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from standin_engines import BOLTZMANN
from standin_frames import Heat
from standin_identity import Refused
from standin_poscar import Halfway

if TYPE_CHECKING:
    from standin_job import Job
    from standin_run import Run

INERTIA = 103.642696  # 1 u Å²/fs² [eV]
PERIOD = 40  # of a thermostat with SMASS=0 [time steps]


def directions(cell: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Return one matrix per atom that projects onto the free lattice vectors.

    The flags hold fractional coordinates, so in an oblique cell the free directions are not orthogonal to the held
    ones; only the orthogonal projection onto them conserves energy.
    """
    matrices = np.empty((len(free), 3, 3))
    for matrix, flags in zip(matrices, free, strict=True):
        vectors = cell[flags]
        matrix[:] = np.linalg.pinv(vectors) @ vectors if len(vectors) else 0.0
    return matrices


class Thermostat:
    """A Nosé-Hoover thermostat, without any effect where it has no mass."""

    def __init__(self, job: Job, freedom: int) -> None:
        settings = job.settings
        self._timestep, smass = settings.real("POTIM"), settings.real("SMASS")
        self._freedom = freedom
        self.target = settings.real("TEBEG")
        self.mass = 0.0  # [eV fs²]
        if is_thermostatted(job) and freedom:
            self.mass = smass * INERTIA * float(np.linalg.norm(job.poscar.cell[0])) ** 2
            if smass <= 0:
                heat = freedom * BOLTZMANN * max(self.target, 1.0)
                self.mass = 2 * heat * (PERIOD * self._timestep / (2 * math.pi)) ** 2
        self.position = self.friction = self.heat = 0.0

    @property
    def kinetic(self) -> float:
        """Its kinetic energy [eV]."""
        return 0.5 * self.mass * self.friction**2

    def half_step(self, velocities: np.ndarray, kinetic: float) -> np.ndarray:
        """Return velocities after half a time step with the thermostat alone; `kinetic` is theirs [eV]."""
        if not self.mass:
            return velocities
        quarter, wanted = 0.25 * self._timestep, self._freedom * BOLTZMANN * self.target
        self.friction += quarter * (2 * kinetic - wanted) / self.mass
        scale = math.exp(-2 * quarter * self.friction)
        self.position += 2 * quarter * self.friction
        self.heat += 2 * quarter * self.friction * wanted
        self.friction += quarter * (2 * kinetic * scale**2 - wanted) / self.mass
        return velocities * scale


def is_thermostatted(job: Job) -> bool:
    """Return whether a job asks for the Nosé thermostat; it refuses what the stand-in cannot do."""
    mdalgo, smass = job.settings.integer("MDALGO"), job.settings.real("SMASS")
    if mdalgo not in (0, 2):
        raise Refused(f"the stand-in has no thermostat for MDALGO={mdalgo}: it knows 0 and 2")
    if mdalgo == 0 and smass < 0 and smass != -3:
        raise Refused(f"the stand-in has no dynamics for SMASS={smass:g}: it knows -3 and what is not negative")
    return mdalgo == 2 or smass >= 0


class Dynamics:
    """The state of the atoms and how it changes."""

    def __init__(self, run: Run) -> None:
        self._run, self._job = run, run.job
        poscar = self._job.poscar
        self._cell, self._free = poscar.cell, poscar.free
        self._timestep = self._job.settings.real("POTIM")
        self._inertia = self._job.masses * INERTIA
        self._directions = directions(self._cell, self._free)
        self._freedom = int(self._free.sum()) if poscar.selective else 3 * len(poscar) - 3
        self._thermostat = Thermostat(self._job, self._freedom)
        self.fractional = poscar.fractional
        self.velocities = np.zeros_like(poscar.fractional)

    def start(self) -> None:
        """Compute the first forces and set the velocities that belong to the first positions."""
        poscar = self._job.poscar
        self.point = self._run.compute(self.fractional, self._cell)
        if poscar.halfway is not None:
            self._thermostat.position = poscar.halfway.thermostat
            self._thermostat.friction = poscar.halfway.friction
            self._thermostat.heat = poscar.halfway.heat
            self.velocities = self._projected(poscar.halfway.velocities)
            self._second_half()
        elif poscar.velocities is not None:
            self.velocities = self._projected(poscar.velocities)
        else:
            self.velocities = self._drawn()

    def heat_up(self, temperature: float) -> None:
        """Set what the thermostat aims at [K]."""
        self._thermostat.target = temperature

    def record(self) -> None:
        kinetic, thermostat = self._kinetic(), self._thermostat
        temperature = 2 * kinetic / (BOLTZMANN * self._freedom) if self._freedom else 0.0
        heat = Heat(kinetic, thermostat.heat, thermostat.kinetic, temperature)
        self._run.record(self.fractional, self._cell, self.point, heat)

    def move(self) -> None:
        """Go on to the next positions and write them to CONTCAR, the velocities half a step behind."""
        self.velocities = self._thermostat.half_step(self.velocities, self._kinetic())
        self._kick()
        # held components get exactly nothing, not a rounding error
        self.fractional = self.fractional + self._timestep * self.velocities @ np.linalg.inv(self._cell) * self._free
        thermostat = self._thermostat
        halfway = Halfway(self.velocities, thermostat.position, thermostat.friction, thermostat.heat)
        self._run.write_contcar(self.fractional, self._cell, halfway)

    def follow(self) -> None:
        """Bring forces and velocities to the positions."""
        self.point = self._run.compute(self.fractional, self._cell)
        self._second_half()

    def _second_half(self) -> None:
        self._kick()
        self.velocities = self._thermostat.half_step(self.velocities, self._kinetic())

    def _kick(self) -> None:
        self.velocities = self.velocities + 0.5 * self._timestep * self._projected(self.point.forces) / self._inertia

    def _kinetic(self) -> float:
        return 0.5 * float((self._inertia * self.velocities**2).sum())

    def _projected(self, vectors: np.ndarray) -> np.ndarray:
        return np.einsum("ai,aij->aj", vectors, self._directions)

    def _drawn(self) -> np.ndarray:
        """Velocities of Maxwell and Boltzmann, scaled to have TEBEG exactly."""
        kelvin = self._job.settings.real("TEBEG")
        seed = self._job.settings.numbers("RANDOM_SEED") or [1.0]
        noise = np.random.default_rng(int(seed[0])).normal(size=self.velocities.shape)
        self.velocities = self._projected(noise * np.sqrt(BOLTZMANN * kelvin / self._inertia))
        if not self._job.poscar.selective:
            self.velocities -= (self._inertia * self.velocities).sum(axis=0) / self._inertia.sum()
        kinetic = self._kinetic()
        if kinetic == 0:
            return self.velocities
        return self.velocities * math.sqrt(0.5 * self._freedom * BOLTZMANN * kelvin / kinetic)


def run_dynamics(run: Run) -> None:
    """Run NSW steps with a target that goes linearly from TEBEG to TEEND."""
    settings = run.job.settings
    first, last, steps = settings.real("TEBEG"), settings.real("TEEND"), settings.integer("NSW")
    dynamics = Dynamics(run)
    dynamics.start()
    for step in range(1, steps + 1):
        dynamics.record()
        dynamics.move()
        if step == steps or run.is_stopped():
            break
        dynamics.heat_up(first + (last - first) * step / max(steps - 1, 1))
        dynamics.follow()
    run.finish(dynamics.fractional, run.job.poscar.cell, dynamics.velocities)
