"""Dynamics at constant temperature."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from ase import units
from ase.io import Trajectory
from pydantic import Field

from stem2sim.progress import track
from stem2sim.simulation import SimulationResult
from stem2sim.stages import EngineOption, Simulator
from stem2sim_aimd.freedom import check_constraints, thermal_momenta
from stem2sim_aimd.nose_hoover import NoseHooverChain

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stem2sim.structure import Structure

TRAJECTORY = "dynamics.traj"

BLOWN_UP = 20.0
"""A temperature of more than this many times the target is an integration that failed, not a fluctuation."""


class Aimd(Simulator):
    """NVT dynamics (Nosé-Hoover chains) with the forces of any engine."""

    name: ClassVar[str] = "aimd"

    engine: EngineOption = Field(description='whose forces: { use = "xtb" }')
    temperature: float = Field(300.0, gt=0, description="of the thermostat [K]")
    time_step: float = Field(0.5, gt=0, le=5, description="0.5 where hydrogen moves [fs]")
    steps: int = Field(200, ge=1, description="number of time steps")
    interval: int = Field(2, ge=1, description="steps between the frames and values that are kept")
    seed: int = Field(0, ge=0, description="of the first velocities")
    thermostat_period: float = Field(40.0, gt=0, description="of the thermostat's oscillation [fs]")
    chain_length: int = Field(3, ge=1, description="thermostats in the chain")

    def simulate(self, structure: Structure, workdir: Path) -> Iterator[SimulationResult]:
        """Yield the end of one trajectory; its frames are in `dynamics.traj`, written as they come."""
        structure = self.engine.adopt(structure)
        structure.check_distances()
        check_constraints(structure.atoms)
        atoms = structure.atoms.copy()
        energy = units.kB * self.temperature
        atoms.set_momenta(thermal_momenta(atoms, energy, np.random.default_rng(self.seed)))
        series: dict[str, list[float]] = {
            name: [] for name in ("time [fs]", "temperature [K]", "potential energy [eV]", "conserved quantity [eV]")
        }
        with self.engine.calculator(structure, workdir) as calculator:
            atoms.calc = calculator
            chain = NoseHooverChain(atoms, self.time_step, self.temperature, self.thermostat_period, self.chain_length)
            with (
                Trajectory(workdir / TRAJECTORY, "w", atoms) as trajectory,
                track(f"aimd: {self.temperature:g} K", self.steps) as advance,
            ):

                def note() -> None:
                    values = (
                        chain.nsteps * self.time_step,
                        chain.temperature(),
                        float(atoms.get_potential_energy()),
                        chain.conserved(),
                    )
                    for kept, value in zip(series.values(), values, strict=True):
                        kept.append(value)
                    trajectory.write()

                blown = False
                for _ in chain.irun(self.steps):
                    temperature = chain.temperature()
                    if chain.nsteps:
                        advance(note=f"{temperature:.0f} K")
                    if chain.nsteps % self.interval == 0 or chain.nsteps == self.steps:
                        note()
                    blown = not temperature < BLOWN_UP * self.temperature
                    if blown:
                        break
            final = atoms.copy()
            potential, forces = float(atoms.get_potential_energy()), np.array(atoms.get_forces())
        yield SimulationResult(
            structure=structure.model_copy(update={"atoms": final}),
            energy=potential,
            forces=forces,
            converged=not blown,
            reason=self._reason(chain, series, blown),
            trajectory=TRAJECTORY,
            observables=series,
            made_by=self.provenance(),
        )

    def _reason(self, chain: NoseHooverChain, series: dict[str, list[float]], blown: bool) -> str:
        if blown:
            return (
                f"blew up at step {chain.nsteps}: {chain.temperature():.0f} K for a target of {self.temperature:g} K; "
                f"try a time step below {self.time_step} fs"
            )
        second_half = np.array(series["temperature [K]"])[len(series["time [fs]"]) // 2 :]
        conserved = np.array(series["conserved quantity [eV]"])
        return (
            f"{self.steps * self.time_step:g} fs at {self.temperature:g} K: second half {second_half.mean():.0f} K on "
            f"average (spread {second_half.std():.0f} K, {chain.freedom} degrees of freedom), conserved quantity "
            f"within {1000 * np.ptp(conserved):.1f} meV"
        )

    def provenance(self) -> dict[str, object]:
        """Return name, options and version, those of the engine among them."""
        return {**super().provenance(), "engine": self.engine.provenance()}
