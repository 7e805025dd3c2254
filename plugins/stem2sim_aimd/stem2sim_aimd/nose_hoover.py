"""Nosé-Hoover chains with the degrees of freedom that the constraints leave.

ASE's own chain counts 3N whatever is fixed, and holds 20 K for 300 K when half the atoms are. The equations are those
of Martyna, Tuckerman, Tobias and Klein, Mol. Phys. 87, 1117 (1996), with third-order Suzuki-Yoshida weights.
"""

from __future__ import annotations

import numpy as np
from ase import Atoms, units
from ase.md.md import MolecularDynamics

from stem2sim_aimd.freedom import degrees_of_freedom

SUZUKI_YOSHIDA = (1 / (2 - 2 ** (1 / 3)), 1 - 2 / (2 - 2 ** (1 / 3)), 1 / (2 - 2 ** (1 / 3)))


class NoseHooverChain(MolecularDynamics):
    """Velocity Verlet in a chain of thermostats."""

    def __init__(self, atoms: Atoms, time_step: float, temperature: float, period: float, chain_length: int) -> None:
        """Set up the chain at rest.

        Args:
            atoms: with momenta, constraints and a calculator.
            time_step: [fs].
            temperature: [K].
            period: of the first thermostat's oscillation [fs].
            chain_length: number of thermostats.
        """
        super().__init__(atoms, time_step * units.fs)
        self.freedom = degrees_of_freedom(atoms)
        self.energy = units.kB * temperature
        self.eta = np.zeros(chain_length)
        self.p_eta = np.zeros(chain_length)
        self.inertia = np.full(chain_length, self.energy * (period * units.fs / (2 * np.pi)) ** 2)
        self.inertia[0] *= self.freedom

    def kinetic_energy(self) -> float:
        """Kinetic energy of the atoms [eV]."""
        return float(self.atoms.get_kinetic_energy())

    def temperature(self) -> float:
        """Temperature over the free degrees of freedom [K]."""
        return 2 * self.kinetic_energy() / (self.freedom * units.kB)

    def conserved(self) -> float:
        """The quantity that exact dynamics conserves: energy of atoms and thermostats [eV]."""
        bath = 0.5 * float((self.p_eta**2 / self.inertia).sum()) + self.energy * (
            self.freedom * self.eta[0] + float(self.eta[1:].sum())
        )
        potential = float(self.atoms.get_potential_energy())
        return potential + self.kinetic_energy() + float(bath)

    def step(self) -> None:
        """Advance one time step."""
        atoms = self.atoms
        self._thermostat()
        momenta = atoms.get_momenta() + 0.5 * self.dt * atoms.get_forces()
        atoms.set_momenta(momenta)
        atoms.set_positions(atoms.positions + self.dt * atoms.get_momenta() / self.masses)
        # set_positions with constraints leaves the momenta alone, and get_forces has the constraints applied
        atoms.set_momenta(atoms.get_momenta() + 0.5 * self.dt * atoms.get_forces())
        self._thermostat()

    def _thermostat(self) -> None:
        """Half a step of the chain, scaling the momenta."""
        with np.errstate(over="ignore", invalid="ignore"):  # of a trajectory that blows up; aimd sees it and stops
            self.atoms.set_momenta(self.atoms.get_momenta() * self._scale())

    def _scale(self) -> float:
        p, q = self.p_eta, self.inertia
        kinetic = self.kinetic_energy()
        scale = 1.0

        def push(k: int) -> float:
            if k == 0:
                return 2 * kinetic * scale**2 - self.freedom * self.energy
            return float(p[k - 1] ** 2 / q[k - 1] - self.energy)

        last = len(p) - 1
        for weight in SUZUKI_YOSHIDA:
            h = weight * self.dt / 2
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
