"""DFTB+ for real, where its binary is on PATH and the Slater-Koster set beside the project."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase import Atoms
from ase.build import graphene
from ase.constraints import FixAtoms, FixedLine
from tests.conftest import built, flake
from tests.dftb.runs import NEEDS_DFTB, SET, benzene, run

from stem2sim.errors import BadInput, StageFailed
from stem2sim.structure import Structure
from stem2sim.testing import check_simulator
from stem2sim_dftb.dftb import Dftb
from stem2sim_hterm.hterm import Hterm
from stem2sim_hterm.patch import Patch

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = NEEDS_DFTB


@pytest.mark.parametrize("mode", ["socket", "file"])
def test_it_conforms(mode: str, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    engine = Dftb.model_validate({"slater_koster": SET, "mode": mode, "scc_tolerance": 1e-8})
    check_simulator(engine, Structure(atoms=benzene()), tmp_path / "work")


def test_three_ways_to_the_same_flake(tmp_path: Path) -> None:
    """42 C and 16 H: same energy within 1e-4 eV, same positions within 1e-3 Å, C-C 1.42 and C-H 1.10 Å within 0.01."""
    sheet = built(flake(16), Patch(size=42, contains="any"), Hterm()).in_a_cell().atoms
    assert sheet.get_chemical_formula() == "C42H16"
    results = {mode: run(sheet, tmp_path / mode, mode=mode, fmax=1e-3) for mode in ("socket", "file", "native")}
    first = results["socket"]
    for result in results.values():
        assert result.converged
        assert result.largest_force <= 1e-3
        assert result.energy == pytest.approx(first.energy, abs=1e-4)
        assert np.abs(result.structure.atoms.positions - first.structure.atoms.positions).max() < 1e-3
        lengths = result.structure.bonds.lengths()
        assert lengths["C-C"].mean() == pytest.approx(1.42, abs=0.01)
        assert lengths["C-H"].mean() == pytest.approx(1.10, abs=0.01)


@pytest.mark.parametrize("mode", ["socket", "file"])
@pytest.mark.parametrize("kelvin", [300, 5000])
def test_forces_are_the_slope_of_the_energy(mode: str, kelvin: int, tmp_path: Path) -> None:
    """The Mermin free energy, also where electrons are hot: the internal energy is 39 % off at 5000 K."""
    options = {"mode": mode, "electronic_temperature": kelvin, "scc_tolerance": 1e-9}
    engine = Dftb.model_validate({"slater_koster": SET, "threads": 1, **options})
    atoms = benzene()
    with engine.calculator(Structure(atoms=atoms), tmp_path) as calculator:
        atoms.calc = calculator
        force, energies = atoms.get_forces()[0, 0], []
        for shift in (0.002, -0.004):
            atoms.positions[0, 0] += shift
            energies.append(atoms.get_potential_energy())
    assert -(energies[0] - energies[1]) / 0.004 == pytest.approx(force, abs=2e-3)


def test_constraints_hold_or_are_refused(tmp_path: Path) -> None:
    """Fixed atoms on every path; to a line through ASE, since DFTB+'s own driver would drop that."""
    for mode in ("socket", "file", "native"):
        atoms = benzene()
        atoms.set_constraint(FixAtoms([0, 7]))
        moved = run(atoms, tmp_path / mode, mode=mode).structure.atoms.positions - atoms.positions
        assert np.abs(moved[[0, 7]]).max() == pytest.approx(0, abs=1e-8)
        assert np.abs(np.delete(moved, [0, 7], axis=0)).max() > 0.01
    atoms = benzene()
    atoms.set_constraint(FixedLine(range(12), [0, 0, 1]))
    moved = run(atoms, tmp_path / "z", mode="socket").structure.atoms.positions - atoms.positions
    assert np.abs(moved[:, :2]).max() < 1e-12
    assert np.abs(moved[:, 2]).max() > 0.01
    with pytest.raises(BadInput, match=r"do not support the constraint FixedLine .* use mode = 'socket'"):
        run(atoms, tmp_path / "z-native", mode="native")


@pytest.mark.parametrize("mode", ["socket", "file"])
def test_the_stress_relaxes_a_cell(mode: str, tmp_path: Path) -> None:
    """Graphene from a cell 2.4 % too small: 2.47 Å within 0.01, and the vacuum as it was."""
    sheet = graphene(size=(4, 4, 1), a=2.40, vacuum=8)
    sheet.pbc = True
    result = run(sheet, tmp_path, mode=mode, relax_cell=True, fmax=0.02, kpoints=(2, 2, 1))
    assert result.structure.atoms.cell.lengths()[:2] / 4 == pytest.approx([2.47, 2.47], abs=0.01)
    assert result.structure.atoms.cell.lengths()[2] == pytest.approx(sheet.cell.lengths()[2], abs=1e-9)


def test_single_points_and_dispersion(tmp_path: Path) -> None:
    """All ways give the same energy; dispersion binds; a charge costs."""
    atoms = benzene()
    plain = run(atoms, tmp_path / "a", task="single-point")
    with Dftb.model_validate({"slater_koster": SET}).calculator(Structure(atoms=atoms), tmp_path) as calculator:
        assert plain.energy == pytest.approx(calculator.get_potential_energy(atoms), abs=1e-6)
    assert run(atoms, tmp_path / "b", task="single-point", dispersion="d4").energy < plain.energy - 0.05
    assert run(atoms, tmp_path / "c", task="single-point", charge=1).energy > plain.energy + 5
    provenance = plain.made_by
    assert provenance["parameters"].startswith("pbc-0-3 (")
    assert str(provenance["engine"]).startswith("DFTB+ ")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"binary": "no-dftb"}, BadInput, "no 'no-dftb' on PATH: install DFTB"),
        ({"binary": "/bin/true"}, BadInput, "/bin/true is not DFTB"),
        ({"slater_koster": "/nowhere"}, BadInput, "slater_koster: no folder at /nowhere"),
        ({"slater_koster": "/"}, BadInput, r"no .skf files in /"),
        ({"max_iterations": 1}, StageFailed, r"charges did not converge.*electronic_temperature.*log: .*/dftb.out"),
        ({"max_iterations": 1, "mode": "file"}, StageFailed, "charges did not converge"),
        ({"max_iterations": 1, "mode": "native"}, StageFailed, "charges did not converge"),
        ({"max_iterations": 1, "task": "single-point"}, StageFailed, "charges did not converge"),
        ({"dispersion": "d3"}, BadInput, "no damping parameters are published"),
    ],
)
def test_errors_are_one_line(options: dict[str, object], error: type[Exception], message: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=message) as caught:
        run(benzene(), tmp_path, **options)
    assert "\n" not in str(caught.value)


def test_elements_without_parameters_are_listed(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"lacks C-Cr.skf, Cr-C.skf, Cr-Cr.skf; no common set covers C, Cr"):
        run(Atoms("CCr", positions=[[0, 0, 0], [0, 0, 2]]), tmp_path)
    with pytest.raises(BadInput, match=r"lacks C-N.skf, .*mio-1-1 and pbc-0-3 and 3ob-3-1 cover C, N"):
        run(Atoms("CN", positions=[[0, 0, 0], [0, 0, 1.2]]), tmp_path)
    with pytest.raises(BadInput, match=r"atoms closer than 0\.9 Å"):
        run(Atoms("C2", positions=[[0, 0, 0], [0, 0, 0.3]]), tmp_path)
