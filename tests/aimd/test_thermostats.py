"""Laws of the thermostats: the canonical ensemble, whatever is held, and what must be conserved."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase import units
from ase.constraints import FixAtoms, FixedLine
from scipy import stats
from tests.aimd.springs import Springs, crystal

from stem2sim.engines.calculator_session import CalculatorSession
from stem2sim_aimd.drift import drift
from stem2sim_aimd.freedom import thermal_momenta
from stem2sim_aimd.thermostats import Csvr, Langevin, NoseHooverChain, NoThermostat, Thermostat
from stem2sim_aimd.verlet import Dynamics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ase import Atoms

TEMPERATURE = 300.0

KINDS: dict[str, Callable[[Atoms, float], Thermostat]] = {
    "none": lambda atoms, dt: NoThermostat(atoms, dt, TEMPERATURE),
    "nose-hoover": lambda atoms, dt: NoseHooverChain(atoms, dt, TEMPERATURE, 200.0, 3),
    "langevin": lambda atoms, dt: Langevin(atoms, dt, TEMPERATURE, 60.0, [1]),
    "csvr": lambda atoms, dt: Csvr(atoms, dt, TEMPERATURE, 60.0, [1]),
}


STEPS = {"nose-hoover": 9000, "langevin": 7000, "csvr": 14000}
"""More where the energy forgets more slowly."""


def start(kind: str, fixed: str = "", time_step: float = 4.0, seed: int = 0) -> Dynamics:
    """Return copper on springs, at 300 K."""
    atoms = crystal(2, 2, 1) if fixed == "z only" else crystal()
    rest = atoms.copy()
    if fixed == "half":
        atoms.set_constraint(FixAtoms(range(len(atoms) // 2)))
    if fixed == "z only":
        atoms.set_constraint(FixedLine(range(len(atoms)), [0, 0, 1]))
    atoms.set_momenta(thermal_momenta(atoms, units.kB * TEMPERATURE, np.random.default_rng(seed)))

    @contextmanager
    def open_calculator() -> Iterator[Springs]:
        yield Springs(rest)

    dynamics = Dynamics(atoms, time_step, KINDS[kind](atoms, time_step), CalculatorSession(open_calculator))
    dynamics.start()
    return dynamics


def decorrelated(series: np.ndarray) -> tuple[np.ndarray, float]:
    """Return samples twice their correlation time apart, and the standard error of the mean of all."""
    x = series - series.mean()
    correlation = np.correlate(x, x, "full")[len(x) - 1 :]
    correlation /= correlation[0]
    time = 1 + 2 * float(correlation[1 : int(np.argmax(correlation < 0))].sum())
    return series[:: int(np.ceil(2 * time))], float(series.std() * np.sqrt(time / len(series)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "fixed", "freedom"),
    [
        ("nose-hoover", "", 93),
        ("nose-hoover", "half", 48),
        ("langevin", "", 93),
        ("langevin", "z only", 15),
        ("csvr", "", 93),
        ("csvr", "half", 48),
    ],
)
def test_the_kinetic_energy_is_canonical(kind: str, fixed: str, freedom: int) -> None:
    """Mean within three standard errors of kT/2 per degree of freedom, and 2K/kT distributed as chi-square.

    ASE's own chain holds 20 K for 300 K when half the atoms are fixed.
    """
    dynamics = start(kind, fixed)
    assert dynamics.thermostat.freedom == freedom
    energies = np.array(
        [2 * dynamics.atoms.get_kinetic_energy() / (units.kB * TEMPERATURE) for _ in dynamics.run(STEPS[kind])]
    )[1000:]
    samples, error = decorrelated(energies)
    assert abs(energies.mean() - freedom) < 3 * error
    assert error < 0.03 * freedom
    assert stats.kstest(samples, stats.chi2(freedom).cdf).pvalue > 0.01


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_what_must_be_conserved_is_and_better_with_the_square_of_the_step(kind: str) -> None:
    """Energy in NVE; with the bath's account with a thermostat, over 400 fs."""
    spreads = []
    for time_step in (4.0, 2.0):
        dynamics = start(kind, time_step=time_step)
        spreads.append(float(np.std([dynamics.conserved() for _ in dynamics.run(round(400 / time_step))])))
    assert spreads[0] < 0.01
    assert spreads[0] / spreads[1] == pytest.approx(4, rel=0.5)


def test_a_chain_far_from_equilibrium_conserves_as_well() -> None:
    """Many atoms at ten times the target drive the chain much faster than its period; 1 meV an atom is not lost."""
    dynamics = start("nose-hoover", time_step=1.0)
    atoms = dynamics.atoms
    atoms.set_momenta(atoms.get_momenta() * np.sqrt(10))
    dynamics.thermostat = NoseHooverChain(atoms, 1.0, TEMPERATURE, 10.0, 3)
    values = [dynamics.conserved() for _ in dynamics.run(200)]
    assert np.ptp(values) < 1e-3 * len(atoms)
    assert dynamics.temperature() < 3 * TEMPERATURE


@pytest.mark.parametrize("kind", ["nose-hoover", "langevin", "csvr"])
def test_fixed_atoms_are_exactly_still_and_nothing_drifts(kind: str) -> None:
    """Fixed atoms keep every bit; free ones keep their common momentum at zero."""
    half_fixed = start(kind, "half")
    before = half_fixed.atoms.positions.copy()
    for _ in half_fixed.run(100):
        pass
    assert np.array_equal(half_fixed.atoms.positions[:16], before[:16])
    assert not half_fixed.atoms.get_momenta()[:16].any()
    free = start(kind)
    for _ in free.run(100):
        pass
    assert np.abs(free.atoms.get_momenta().sum(axis=0)).max() < 1e-9


def test_a_drift_is_told_and_a_fluctuation_is_not() -> None:
    times = np.arange(0.0, 1000.0, 10.0)
    noise = 0.002 * np.sin(times / 7)
    assert drift(times, noise, 32) == ""
    assert drift(times, noise + 1e-5 * times, 32) == ""  # 0.3 meV per atom and ps
    assert "drifts by +3.1 meV per atom and ps" in drift(times, noise + 1e-4 * times, 32)
