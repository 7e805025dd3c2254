"""Laws of the thermostat: temperature, degrees of freedom, conserved quantity, constraints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.constraints import FixAtoms, FixBondLength, FixCartesian, FixedLine
from ase.io import read
from pydantic import ValidationError

from stem2sim.errors import BadInput
from stem2sim.structure import Structure
from stem2sim_aimd.aimd import Aimd
from stem2sim_aimd.freedom import conserved_motions, degrees_of_freedom, thermal_momenta, without_rigid_motion

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Emt

    from stem2sim.simulation import SimulationResult


def copper(cells: int = 2) -> Atoms:
    atoms = bulk("Cu", cubic=True).repeat(cells)
    atoms.rattle(0.01, seed=1)
    return atoms


def run(atoms: Atoms, emt: Emt, folder: Path, **options: object) -> SimulationResult:
    (result,) = Aimd(engine=emt, **options).simulate(Structure(atoms=atoms), folder)  # type: ignore[arg-type]
    return result


@pytest.mark.parametrize(
    ("constrain", "expected"),
    [
        (lambda a: None, 3 * 32 - 3),
        (lambda a: a.set_constraint(FixAtoms(range(16))), 3 * 16),
        (lambda a: a.set_constraint(FixedLine(range(32), [0, 0, 1])), 32 - 1),
        (lambda a: a.set_constraint([FixAtoms([0]), FixCartesian([1], [True, False, False])]), 3 * 32 - 4),
        (lambda a: a.set_constraint(FixCartesian(range(32), [False, False, True])), 2 * 32 - 2),
        # the same motion fixed twice is fixed once
        (lambda a: a.set_constraint([FixAtoms([0, 1]), FixAtoms([1, 2])]), 3 * 32 - 9),
        (lambda a: a.set_constraint([FixAtoms([0]), FixCartesian(range(32), [False, False, True])]), 2 * 32 - 2),
    ],
)
def test_only_what_moves_is_counted(constrain: object, expected: int) -> None:
    atoms = copper()
    constrain(atoms)  # type: ignore[operator]
    assert degrees_of_freedom(atoms) == expected


def test_an_isolated_molecule_does_not_heat_by_turning() -> None:
    """3N - 6, and 3N - 5 for a linear one; the drawn momenta carry neither drift nor turn."""
    assert degrees_of_freedom(molecule("C6H6")) == 3 * 12 - 6
    assert degrees_of_freedom(molecule("CO2")) == 3 * 3 - 5
    assert len(conserved_motions(molecule("CO2"))) == 5
    benzene = molecule("C6H6")
    benzene.set_momenta(thermal_momenta(benzene, 0.0258, np.random.default_rng(0)))
    assert np.allclose(benzene.get_momenta().sum(axis=0), 0, atol=1e-10)
    assert np.allclose(benzene.get_angular_momentum(), 0, atol=1e-10)


def test_a_flat_flake_may_turn_in_its_plane() -> None:
    """Isolated and held in z: two translations and one rotation are conserved; held in a line along z, one shift."""
    benzene = molecule("C6H6")
    benzene.set_constraint(FixCartesian(range(12), [False, False, True]))
    assert degrees_of_freedom(benzene) == 2 * 12 - 3
    benzene.set_constraint(FixedLine(range(12), [0, 0, 1]))
    assert degrees_of_freedom(benzene) == 12 - 1


def test_taking_rigid_motion_out_twice_changes_nothing() -> None:
    benzene = molecule("C6H6")
    momenta = np.random.default_rng(0).normal(size=(12, 3))
    once = without_rigid_motion(benzene, momenta)
    assert np.allclose(once, without_rigid_motion(benzene, once))


def test_first_velocities_have_the_temperature() -> None:
    for constraint in (None, FixAtoms(range(16))):
        atoms = copper()
        atoms.set_constraint(constraint)
        atoms.set_momenta(thermal_momenta(atoms, units.kB * 300, np.random.default_rng(0)))
        kelvin = 2 * atoms.get_kinetic_energy() / (degrees_of_freedom(atoms) * units.kB)
        assert kelvin == pytest.approx(300)


def test_fixed_atoms_stay_exactly(emt: Emt, tmp_path: Path) -> None:
    atoms = copper()
    atoms.set_constraint([FixAtoms(range(8)), FixedLine([9, 10], [0, 0, 1])])
    result = run(atoms, emt, tmp_path, steps=50, time_step=2.0)
    moved = result.structure.atoms.positions - atoms.positions
    assert np.array_equal(moved[:8], np.zeros((8, 3)))
    assert np.abs(moved[9:11, :2]).max() < 1e-12
    assert np.abs(moved[9:11, 2]).min() > 0


def test_the_same_seed_gives_the_same_trajectory(emt: Emt, tmp_path: Path) -> None:
    ends = []
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / folder).mkdir()
        ends.append(run(copper(), emt, tmp_path / folder, steps=20, seed=seed).structure.atoms.positions)
    assert np.array_equal(ends[0], ends[1])
    assert not np.allclose(ends[0], ends[2])


def test_frames_and_values_belong_together(emt: Emt, tmp_path: Path) -> None:
    """One frame per kept value, at the times they say; the last is the end."""
    result = run(copper(), emt, tmp_path, steps=11, interval=4, time_step=2.0)
    assert result.observables["time [fs]"] == [0, 8, 16, 22]
    frames = read(tmp_path / "dynamics-300K.traj", ":")
    energies = [frame.get_potential_energy() for frame in frames]
    assert energies == pytest.approx(result.observables["potential energy [eV]"])
    assert np.allclose(frames[-1].positions, result.structure.atoms.positions)
    assert result.converged


def test_a_blown_up_trajectory_says_so(emt: Emt, tmp_path: Path) -> None:
    """5 fs for two light atoms far up the wall: not converged, with the step and a hint, and no traceback."""
    atoms = Atoms("H2Cu2", positions=[[0, 0, 0], [0.95, 0, 0], [3.4, 0, 0], [3.4, 2.0, 0]])
    result = run(atoms, emt, tmp_path, steps=400, time_step=5.0, temperature=50.0)
    assert not result.converged
    assert "blew up at step" in result.reason
    assert "try a time step below 5.0 fs" in result.reason


def test_an_engine_without_dynamics_of_its_own_says_so(emt: Emt, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="emt has no dynamics of its own; remove native = true"):
        run(copper(), emt, tmp_path, steps=2, native=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0}, "a temperature must be positive, got 0 K"),
        ({"temperature": [300, -5]}, "a temperature must be positive, got -5 K"),
        ({"temperature": [300, 300]}, "each temperature once"),
        ({"temperature": []}, "at least one"),
        ({"time_step": 20}, r"a time step of 20 fs is too long .* use at most 5 fs, or force = true"),
        ({"time_step": 0}, "greater than 0"),
    ],
)
def test_what_cannot_be_run_is_refused(options: dict[str, object], message: str, emt: Emt) -> None:
    with pytest.raises(ValidationError, match=message):
        Aimd.model_validate({"engine": emt, **options})


def test_the_time_step_follows_what_moves(emt: Emt, tmp_path: Path) -> None:
    """0.5 fs where hydrogen moves, 1 fs where none does or all of it is held; the paper's preset has 1 fs always."""
    atoms = Atoms("Cu4H", positions=[[0, 0, 0], [2.5, 0, 0], [0, 2.5, 0], [2.5, 2.5, 0], [1.2, 1.2, 1.5]])

    def step(name: str, atoms: Atoms, **options: object) -> float:
        (tmp_path / name).mkdir()
        return run(atoms, emt, tmp_path / name, steps=2, interval=1, **options).observables["time [fs]"][1]

    assert step("H", atoms) == 0.5
    assert step("preset", atoms, preset="paper") == 1.0
    assert step("given", atoms, preset="paper", time_step=0.25) == 0.25
    atoms.set_constraint(FixAtoms([4]))
    assert step("held", atoms) == 1.0
    assert step("long", atoms, time_step=6.0, force=True) == 6.0


def test_a_constraint_it_cannot_hold_is_refused_by_name(emt: Emt, tmp_path: Path) -> None:
    atoms = copper()
    atoms.set_constraint(FixBondLength(0, 1))
    with pytest.raises(BadInput, match="does not support the constraint FixBondLength"):
        run(atoms, emt, tmp_path, steps=2)
    atoms.set_constraint(FixAtoms(range(32)))
    with pytest.raises(BadInput, match="nothing can move"):
        run(atoms, emt, tmp_path, steps=2)
