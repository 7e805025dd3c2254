"""Thermostats: each acts on the momenta for half a step before and after velocity Verlet.

ASE's own count 3N degrees of freedom whatever is fixed (its Nosé-Hoover chain holds 20 K for 300 K when half the atoms
are fixed), and have no state that can be saved. These share one count, that of `freedom`, and are a few lines each.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import units

from stem2sim_aimd.freedom import allowed, degrees_of_freedom, without_rigid_motion

if TYPE_CHECKING:
    from ase import Atoms

    from stem2sim.engines.motion import Bath
    from stem2sim_aimd.freedom import Floats

SUZUKI_YOSHIDA = (1 / (2 - 2 ** (1 / 3)), 1 - 2 / (2 - 2 ** (1 / 3)), 1 / (2 - 2 ** (1 / 3)))

CHAIN_ANGLE, MOST_CHAIN_STEPS = 0.1, 200
"""Of its motion the chain makes at most this much [radian] in one of its own steps."""

CHAIN = 3
"""Default number of thermostats in a chain."""


class Thermostat(ABC):
    """Keeps a temperature, and counts the energy that it exchanges."""

    def __init__(self, atoms: Atoms, time_step: float, temperature: float) -> None:
        """Set up for atoms under their constraints, time step [fs], temperature [K]."""
        self.atoms = atoms
        self.dt = time_step * units.fs
        self.energy = units.kB * temperature
        self.freedom = degrees_of_freedom(atoms)
        self.masses = atoms.get_masses()[:, None]

    @abstractmethod
    def half_step(self, momenta: Floats) -> Floats:
        """Return the momenta half a step later, the atoms standing still."""

    @abstractmethod
    def bath(self) -> float:
        """Energy of the heat bath, which makes the total a conserved quantity [eV]."""

    def state(self) -> dict[str, Any]:
        """Return all that changes from step to step, as JSON can hold it exactly."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Set a state that `state` returned."""
        del state  # there is none

    def kinetic(self, momenta: Floats) -> float:
        """Kinetic energy [eV]."""
        return 0.5 * float((momenta**2 / self.masses).sum())


class NoThermostat(Thermostat):
    """Leaves the energy alone (NVE)."""

    def half_step(self, momenta: Floats) -> Floats:
        """Return the momenta as they are."""
        return momenta

    def bath(self) -> float:
        """Return nothing."""
        return 0.0


class NoseHooverChain(Thermostat):
    """Deterministic: a chain of thermostats that oscillate with the atoms.

    Martyna, Tuckerman, Tobias and Klein, Mol. Phys. 87, 1117 (1996), with third-order Suzuki-Yoshida weights.
    """

    def __init__(self, atoms: Atoms, time_step: float, temperature: float, period: float, length: int) -> None:
        """Set up the chain at rest; `period` of the first thermostat's oscillation [fs], `length` of the chain."""
        super().__init__(atoms, time_step, temperature)
        self.eta, self.p_eta = np.zeros(length), np.zeros(length)
        self.inertia = np.full(length, self.energy * (period * units.fs / (2 * np.pi)) ** 2)
        self.inertia[0] *= self.freedom

    def half_step(self, momenta: Floats) -> Floats:
        """Return the momenta, scaled."""
        with np.errstate(over="ignore", invalid="ignore"):  # of a trajectory that blows up; aimd sees it and stops
            return momenta * self._scale(self.kinetic(momenta))

    def bath(self) -> float:
        """Kinetic and potential energy of the chain [eV]."""
        moving = 0.5 * float((self.p_eta**2 / self.inertia).sum())
        return moving + self.energy * (self.freedom * float(self.eta[0]) + float(self.eta[1:].sum()))

    def state(self) -> dict[str, Any]:
        """Return positions and momenta of the chain."""
        return {"eta": self.eta.tolist(), "p_eta": self.p_eta.tolist()}

    def restore(self, state: dict[str, Any]) -> None:
        """Set them."""
        self.eta, self.p_eta = np.array(state["eta"]), np.array(state["p_eta"])

    def _scale(self, kinetic: float) -> float:
        p, q = self.p_eta, self.inertia
        scale = 1.0

        def push(k: int) -> float:
            if k == 0:
                return 2 * kinetic * scale**2 - self.freedom * self.energy
            return float(p[k - 1] ** 2 / q[k - 1] - self.energy)

        last = len(p) - 1
        # far from equilibrium, many atoms drive the chain much faster than its own period: then in shorter steps
        rates = [abs(p[k]) / q[k] for k in range(last + 1)] + [abs(push(k) / q[k]) ** 0.5 for k in range(last + 1)]
        wanted = self.dt / 2 * max(rates) / CHAIN_ANGLE
        count = max(1, int(np.ceil(min(wanted, MOST_CHAIN_STEPS)))) if np.isfinite(wanted) else 1
        for weight in SUZUKI_YOSHIDA * count:
            h = weight * self.dt / 2 / count
            p[last] += push(last) * h / 2
            for k in range(last - 1, -1, -1):
                drag = np.exp(-h / 4 * p[k + 1] / q[k + 1])
                p[k] = (p[k] * drag + push(k) * h / 2) * drag
            scale *= float(np.exp(-h * p[0] / q[0]))
            self.eta += h * p / q
            for k in range(last):
                drag = np.exp(-h / 4 * p[k + 1] / q[k + 1])
                p[k] = (p[k] * drag + push(k) * h / 2) * drag
            p[last] += push(last) * h / 2
        return scale


class _Stochastic(Thermostat):
    """Draws random numbers, and counts the energy that this moves."""

    def __init__(self, atoms: Atoms, time_step: float, temperature: float, time: float, seed: list[int]) -> None:
        """Set up with a relaxation `time` [fs] and the seed of the random numbers."""
        super().__init__(atoms, time_step, temperature)
        self.kept = float(np.exp(-0.5 * time_step / time))
        """Share of the momenta (Langevin) or the kinetic energy (CSVR) that half a step remembers."""
        self.rng = np.random.default_rng(seed)
        self.taken = 0.0

    def half_step(self, momenta: Floats) -> Floats:
        """Return the momenta, partly redrawn."""
        after = self._drawn(momenta)
        self.taken += self.kinetic(momenta) - self.kinetic(after)
        return after

    @abstractmethod
    def _drawn(self, momenta: Floats) -> Floats: ...

    def bath(self) -> float:
        """Energy that went to the bath so far [eV] (Bussi, Donadio and Parrinello, J. Chem. Phys. 126, 014101)."""
        return self.taken

    def state(self) -> dict[str, Any]:
        """Return the random state and the account."""
        return {"rng": json.dumps(self.rng.bit_generator.state), "taken": self.taken}

    def restore(self, state: dict[str, Any]) -> None:
        """Set them."""
        self.rng.bit_generator.state = json.loads(state["rng"])
        self.taken = state["taken"]


class Langevin(_Stochastic):
    """Friction and noise on every free atom; ergodic also where few modes couple.

    The splitting of Bussi and Parrinello, Phys. Rev. E 75, 056707 (2007). Noise that would set an isolated molecule in
    motion as a whole is removed, so that all thermostats have the same degrees of freedom.
    """

    def _drawn(self, momenta: Floats) -> Floats:
        noise = self.rng.normal(size=momenta.shape) * np.sqrt(self.masses * self.energy)
        noise = without_rigid_motion(self.atoms, allowed(self.atoms, noise))
        return np.asarray(self.kept * momenta + np.sqrt(1 - self.kept**2) * noise)


class Csvr(_Stochastic):
    """Canonical sampling through velocity rescaling: the kinetic energy is drawn, directions stay.

    Bussi, Donadio and Parrinello, J. Chem. Phys. 126, 014101 (2007), equation A7.
    """

    def _drawn(self, momenta: Floats) -> Floats:
        kinetic = self.kinetic(momenta)
        if kinetic == 0:
            return momenta
        first = float(self.rng.normal())
        others = 2 * float(self.rng.gamma((self.freedom - 1) / 2)) if self.freedom > 1 else 0.0
        new = (1 - self.kept) * 0.5 * self.energy / kinetic  # of the target per degree of freedom
        square = self.kept + new * (first**2 + others) + 2 * first * np.sqrt(self.kept * new)
        turned = first + np.sqrt(self.kept / new) < 0
        return momenta * (-1 if turned else 1) * float(np.sqrt(max(square, 0.0)))


def thermostat_of(atoms: Atoms, bath: Bath, relaxation_time: float, seed: list[int]) -> Thermostat:
    """Return the thermostat of an ensemble.

    Args:
        atoms: with their constraints.
        bath: ensemble, kind of thermostat, temperature, time step; period and length of a chain.
        relaxation_time: of langevin and csvr [fs].
        seed: of their random numbers.
    """
    if bath.ensemble == "nve":
        return NoThermostat(atoms, bath.time_step, bath.temperature)
    if bath.thermostat == "nose-hoover":
        return NoseHooverChain(atoms, bath.time_step, bath.temperature, bath.period, bath.chain_length or CHAIN)
    kind = Langevin if bath.thermostat == "langevin" else Csvr
    return kind(atoms, bath.time_step, bath.temperature, relaxation_time, seed)
