"""Classical potentials: LAMMPS for real."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, graphene, molecule
from tests.conftest import SHARED, stem2sim

from stem2sim.errors import BadInput
from stem2sim.structure import Structure
from stem2sim.testing import check_simulator, graphene_sheet
from stem2sim_lammps.lammps import POTENTIALS, Lammps

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("potential", ["erhart-albe", "tersoff", "airebo"])
def test_it_conforms(potential: str, tmp_path: Path) -> None:
    sheet = graphene_sheet(10)
    sheet.center(vacuum=10)
    sheet.rattle(0.03, seed=1)
    (tmp_path / "work").mkdir()
    engine = Lammps.model_validate({"potential": potential, "max_steps": 20})
    check_simulator(engine, Structure(atoms=sheet), tmp_path / "work")


@pytest.mark.parametrize(("symbol", "constant"), [("C", 3.57), ("Si", 5.43)])
def test_diamond_has_its_lattice_constant(symbol: str, constant: float, tmp_path: Path) -> None:
    """Erhart and Albe fitted diamond and silicon: 3.566 and 5.429 Å."""
    crystal = bulk(symbol, "diamond", a=constant * 0.97, cubic=True) * (2, 2, 2)
    (result,) = Lammps(relax_cell=True, fmax=0.01).simulate(Structure(atoms=crystal), tmp_path)
    assert result.structure.atoms.cell.lengths() / 2 == pytest.approx([constant] * 3, abs=0.01)


@pytest.mark.parametrize("potential", ["erhart-albe", "tersoff", "airebo"])
def test_graphene_has_the_lattice_constant_that_is_given(potential: str, tmp_path: Path) -> None:
    """The potential's own as recorded, or the given one, with forces and stress that belong to the energy."""
    for given in (None, 2.46):
        (tmp_path / str(given)).mkdir()
        engine = Lammps.model_validate({"potential": potential, "lattice_constant": given, "relax_cell": True})
        sheet = graphene(size=(4, 4, 1), a=2.48, vacuum=8)
        sheet.pbc = True
        (result,) = engine.simulate(Structure(atoms=sheet), tmp_path / str(given))
        expected = given or POTENTIALS[potential].graphene
        assert result.structure.atoms.cell.lengths()[0] / 4 == pytest.approx(expected, abs=0.002)
    check_forces = Lammps.model_validate({"potential": potential, "lattice_constant": 2.46, "max_steps": 3})
    flake = graphene_sheet(8)
    flake.center(vacuum=8)
    flake.rattle(0.05, seed=1)
    (tmp_path / "forces").mkdir()
    check_simulator(check_forces, Structure(atoms=flake), tmp_path / "forces")


def test_energy_does_not_depend_on_where_or_how_it_lies(tmp_path: Path) -> None:
    sheet = graphene_sheet(12)
    energies = []
    for turn in (0, 37):
        sheet.rotate(turn, (1, 2, 3))
        sheet.center(vacuum=8)
        with Lammps().calculator(Structure(atoms=sheet), tmp_path) as calculator:
            energies.append(calculator.get_potential_energy(sheet))
    assert energies[0] == pytest.approx(energies[1], abs=1e-6)


def test_atoms_may_leave_their_box_where_it_is_not_periodic(tmp_path: Path) -> None:
    """A vacuum box is open: same energy and forces outside of it, and a sheet that ripples through it goes on."""
    sheet = graphene_sheet(12)
    sheet.rattle(0.05, seed=1)
    sheet.center(vacuum=8)
    away = sheet.copy()
    away.positions += [30.0, -17.0, 45.0]
    with Lammps().calculator(Structure(atoms=sheet), tmp_path) as calculator:
        energies = [calculator.get_potential_energy(atoms) for atoms in (sheet, away)]
        forces = [calculator.get_forces(atoms) for atoms in (sheet, away)]
    assert energies[0] == pytest.approx(energies[1], abs=1e-8)
    assert np.allclose(*forces, atol=1e-8)


def test_elements_choose_the_potential_and_others_are_refused(tmp_path: Path) -> None:
    assert Lammps().potential_for(molecule("C6H6")) == "airebo"
    assert Lammps().potential_for(Atoms("CSi")) == "erhart-albe"
    with pytest.raises(BadInput, match=r"airebo does not cover Si \(structure: C, H, Si; erhart-albe: C, Si;"):
        Lammps().potential_for(Atoms("CHSi"))
    with pytest.raises(BadInput, match="classical potentials have no charges"):
        list(Lammps().simulate(Structure(atoms=molecule("C6H6"), charge=1), tmp_path))


@pytest.mark.slow
def test_the_papers_whole_frame_relaxes_and_moves(tmp_path: Path) -> None:
    """2043 atoms as published, scaled: relaxed by Erhart-Albe, then dynamics at 300 K that hold the temperature."""
    frame = SHARED / "data" / "paper_frame" / "POSCAR"
    if not frame.is_file():
        pytest.skip("no frame of the paper: ../shared/data/paper_frame is absent")
    (tmp_path / "run.toml").write_text(
        f'allow = ["close"]\n[segment]\nuse = "atoms-table"\npath = "{frame}"\n'
        '[[build]]\nuse = "place"\n[[build]]\nuse = "calibrate"\napply = true\n[[build]]\nuse = "ripple"\n'
        '[[simulate]]\nuse = "lammps"\noptimiser = "fire"\nfmax = 0.5\nmax_steps = 1000\n'
        '[[simulate]]\nuse = "aimd"\nsteps = 200\ninterval = 20\nengine = { use = "lammps" }\n'
    )
    done = stem2sim("simulate", tmp_path / "run.toml", "--out", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    import json

    relaxed, moved = json.loads(done.stdout)["results"]
    assert relaxed["converged"]
    assert relaxed["mean_bonds_A"]["C-C"] == pytest.approx(1.46, abs=0.03)
    assert moved["converged"]
    assert "6123 degrees of freedom" in moved["reason"]
    assert np.isfinite(moved["energy_eV"])
