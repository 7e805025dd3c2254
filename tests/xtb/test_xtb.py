"""The embedded engine: tblite for real, on molecules small enough to take no time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase import Atoms
from ase.build import graphene, molecule
from ase.constraints import FixAtoms
from pydantic import ValidationError
from tests.conftest import built, flake

from stem2sim.errors import BadInput, StageFailed
from stem2sim.structure import Structure
from stem2sim_hterm.periodic import Periodic
from stem2sim_xtb.xtb import Xtb

if TYPE_CHECKING:
    from pathlib import Path

    from stem2sim.simulation import SimulationResult


def run(atoms: Atoms, folder: Path, **options: object) -> SimulationResult:
    (result,) = Xtb(**options).simulate(Structure(atoms=atoms), folder)  # type: ignore[arg-type]
    return result


def energy(atoms: Atoms, folder: Path, **options: object) -> float:
    return run(atoms, folder, task="single-point", **options).energy


@pytest.mark.parametrize("method", ["GFN1-xTB", "GFN2-xTB"])
def test_benzene_relaxes_to_benzene(tmp_path: Path, method: str) -> None:
    """From stretched bonds to 1.39 and 1.08 Å, all six of each alike."""
    atoms = molecule("C6H6")
    atoms.positions *= 1.04
    result = run(atoms, tmp_path, method=method, fmax=1e-3)
    assert result.converged
    assert result.largest_force <= 1e-3
    lengths = result.structure.bonds.lengths()
    assert lengths["C-C"] == pytest.approx(np.full(6, 1.39), abs=0.015)
    assert lengths["C-H"] == pytest.approx(np.full(6, 1.08), abs=0.015)
    assert (tmp_path / "relaxation.traj").is_file()


def test_energy_does_not_depend_on_where_or_how_it_lies(tmp_path: Path) -> None:
    atoms = molecule("CH3OH")
    turned = atoms.copy()
    turned.rotate(37, (1, 2, 3))
    turned.translate([5, -3, 11])
    assert energy(turned, tmp_path) == pytest.approx(energy(atoms, tmp_path), abs=1e-5)


def test_fixed_atoms_stay_while_others_relax(tmp_path: Path) -> None:
    atoms = molecule("C6H6")
    atoms.positions *= 1.04
    atoms.set_constraint(FixAtoms([0, 1]))
    result = run(atoms, tmp_path, fmax=0.01)
    moved = np.linalg.norm(result.structure.atoms.positions - atoms.positions, axis=1)
    assert np.array_equal(moved[:2], [0, 0])
    assert moved[2:].max() > 0.02
    assert result.structure.atoms.constraints


def test_accuracy_follows_the_force_threshold() -> None:
    assert Xtb(fmax=0.01).settled_accuracy == pytest.approx(0.1)
    assert Xtb(fmax=1e-3).settled_accuracy == pytest.approx(0.01)
    for fmax in (1e-3, 2.3e-3, 3e-3, 7.7835e-3):
        with pytest.raises(ValidationError, match="force noise") as caught:
            Xtb(fmax=fmax, accuracy=9.0)
        advised = float(str(caught.value).split("use accuracy <= ")[1].split()[0])
        assert Xtb(fmax=fmax, accuracy=advised).accuracy == advised


def test_forces_are_as_tight_as_promised(tmp_path: Path) -> None:
    """At the default accuracy a cold start and one from a neighbouring geometry agree to a hundredth of fmax."""
    engine = Xtb()
    atoms = molecule("C6H6")
    with engine.calculator(Structure(atoms=atoms), tmp_path) as calculator:
        cold = atoms.copy()
        cold.calc = calculator
        first = cold.get_forces()
        cold.positions[0] += 0.05
        cold.get_forces()
        cold.positions[0] -= 0.05
        assert np.abs(cold.get_forces() - first).max() < engine.fmax / 100


def test_unknown_options_are_refused() -> None:
    with pytest.raises(ValidationError, match="acuracy"):
        Xtb.model_validate({"acuracy": 0.1})


def test_charge_and_spin_count(tmp_path: Path) -> None:
    """A cation lies above the neutral molecule, a triplet above the singlet; impossible spins are refused."""
    atoms = molecule("C6H6")
    neutral = energy(atoms, tmp_path)
    assert energy(atoms, tmp_path, charge=1) > neutral + 5
    assert energy(atoms, tmp_path, multiplicity=3) > neutral + 1
    assert energy(atoms, tmp_path, multiplicity=3, spin_polarization=1.0) != pytest.approx(
        energy(atoms, tmp_path, multiplicity=3), abs=0.01
    )
    with pytest.raises(BadInput, match=r"multiplicity 2 is impossible with 42 electrons \(charge 0\); use 1, 3"):
        energy(atoms, tmp_path, multiplicity=2)
    radical = molecule("CH3")
    assert energy(radical, tmp_path) == pytest.approx(energy(radical, tmp_path, multiplicity=2))


def test_smearing_lowers_the_free_energy(tmp_path: Path) -> None:
    atoms = molecule("C6H6")
    assert energy(atoms, tmp_path, electronic_temperature=5000) < energy(atoms, tmp_path) - 0.01


def test_periodic_cells(tmp_path: Path) -> None:
    """Two cells of graphene have twice the energy of one; a slab that is periodic along two axes only is refused."""
    sheet = graphene(size=(4, 4, 1), vacuum=8)
    sheet.pbc = True
    single = energy(sheet, tmp_path)
    assert energy(sheet.repeat((1, 1, 2)), tmp_path) == pytest.approx(2 * single, abs=0.01)
    sheet.pbc = (True, True, False)
    with pytest.raises(BadInput, match="use all or none"):
        energy(sheet, tmp_path)


def test_graphene_relaxes_to_its_lattice_constant(tmp_path: Path) -> None:
    """From a cell 2.4 % too small, cut by `periodic`: 2.46 Å within 0.01, and the vacuum as it was."""
    sheet = built(flake(34), Periodic(repeats=(5, 5), lattice_constant=2.40))
    (result,) = Xtb(relax_cell=True, fmax=0.03).simulate(sheet, tmp_path)
    cell = result.structure.atoms.cell
    assert cell.lengths()[:2] / 5 == pytest.approx([2.46, 2.46], abs=0.01)
    assert cell[2] == pytest.approx(np.asarray(sheet.atoms.cell[2]), abs=1e-9)
    assert "stretched by up to +2." in result.reason


def test_gfn2_takes_periodic_cells(tmp_path: Path) -> None:
    """The engine computes them, and a shift along the cell changes nothing."""
    box = molecule("H2O", cell=[10, 10, 10], pbc=True)
    shifted = box.copy()
    shifted.translate([4.9, 0, 0])
    shifted.wrap()
    first = energy(box, tmp_path, method="GFN2-xTB")
    assert energy(shifted, tmp_path, method="GFN2-xTB") == pytest.approx(first, abs=1e-4)


def test_overlapping_atoms_never_reach_the_engine(tmp_path: Path) -> None:
    """Tblite itself returns +27720 eV for atoms 0.01 Å apart, without a word."""
    with pytest.raises(BadInput, match=r"closer than 0\.9 Å: C 0–C 1 \(0\.01 Å\)"):
        run(Atoms("C2", positions=[[0, 0, 0], [0.01, 0, 0]]), tmp_path)


def test_a_field_that_does_not_converge_is_explained(tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match=r"self-consistent field calculation failed .* electronic_temperature \[K\]"):
        energy(molecule("C6H6"), tmp_path, max_iterations=1)


def test_elements_without_parameters_are_listed(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no parameters for U"):
        energy(Atoms("U"), tmp_path)
