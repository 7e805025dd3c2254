"""Laws of export: what is read back is what was written, and what is lost is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase.constraints import FixAtoms, FixCartesian, FixInternals
from ase.io import read
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import NOTHING, flake, stem2sim

from stem2sim.errors import BadInput
from stem2sim.records.export import export
from stem2sim.structure import Structure
from stem2sim_hterm.cell import Cell
from stem2sim_hterm.hterm import Hterm
from stem2sim_hterm.patch import Patch
from stem2sim_hterm.periodic import Periodic

if TYPE_CHECKING:
    from pathlib import Path


def in_a_lattice(*parameters: float) -> Structure:
    made = flake(12)
    for builder in (Patch(size=20), Hterm(), Cell(parameters=parameters)):  # type: ignore[arg-type]
        (made,) = builder.build(made, NOTHING)
    return made


@settings(max_examples=12)
@given(
    name=st.sampled_from(["POSCAR", "CONTCAR", "one.vasp", "one.gen", "one.cif", "one.extxyz"]),
    lengths=st.tuples(*[st.floats(22, 40)] * 3), angles=st.tuples(*[st.floats(75, 105)] * 3),
)  # fmt: skip
def test_every_format_comes_back_as_it_went(
    name: str, lengths: tuple[float, float, float], angles: tuple[float, float, float], tmp_path: Path
) -> None:
    """Species, cell and every distance; only the order of species may change."""
    made = in_a_lattice(*lengths, *angles)
    assert export(made, tmp_path / name) == ()
    back = read(tmp_path / name)
    (tmp_path / name).unlink()
    assert sorted(back.get_chemical_symbols()) == sorted(made.atoms.get_chemical_symbols())
    assert back.cell.cellpar() == pytest.approx(made.atoms.cell.cellpar(), abs=1e-4)
    order = np.argsort(made.atoms.numbers, kind="stable")
    before = made.atoms[order].get_all_distances()
    after = back[np.argsort(back.numbers, kind="stable")].get_all_distances()
    assert after == pytest.approx(before, abs=1e-3)


def test_poscar_groups_species_and_holds_what_is_held(tmp_path: Path) -> None:
    made = in_a_lattice(25, 26, 27, 90, 90, 90)
    edge = np.flatnonzero(made.atoms.numbers == 1)
    made.atoms.set_constraint([FixAtoms(indices=edge), FixCartesian([0, 1], mask=(True, True, False))])
    export(made, tmp_path / "POSCAR")
    lines = (tmp_path / "POSCAR").read_text().splitlines()
    assert lines[5].split() == ["H", "C"]
    assert lines[7].startswith("Selective")
    back = read(tmp_path / "POSCAR")
    moved = back.copy()
    moved.set_positions(back.positions + 0.1)
    still = np.isclose(moved.positions, back.positions)
    assert still[: len(edge)].all()
    assert still[len(edge) : len(edge) + 2].tolist() == [[True, True, False]] * 2
    assert not still[len(edge) + 2 :].any()


def test_what_a_format_cannot_hold_is_told_or_refused(tmp_path: Path) -> None:
    made = in_a_lattice(25, 26, 27, 90, 90, 90).model_copy(update={"charge": -1})
    made.atoms.set_constraint([FixAtoms(indices=[0])])
    told = export(made, tmp_path / "one.gen")
    assert "no constraints" in told[0]
    assert "charge of -1 e" in told[1]
    skew = in_a_lattice(25, 26, 27, 90, 90, 80)
    skew.atoms.set_constraint([FixCartesian([0], mask=(True, False, False))])
    with pytest.raises(BadInput, match=r"FixCartesian is not, in a cell with angles 90\.0, 90\.0, 80\.0 degrees"):
        export(skew, tmp_path / "POSCAR")
    made.atoms.set_constraint([FixInternals(bonds=[[1.4, [0, 1]]])])
    with pytest.raises(BadInput, match="FixInternals"):
        export(made, tmp_path / "POSCAR")
    with pytest.raises(BadInput, match=r"one\.pdb: no known format"):
        export(made, tmp_path / "one.pdb")
    assert not (tmp_path / "POSCAR").exists()


def test_a_sheet_held_in_its_plane_is_held_along_both_vectors_of_it(tmp_path: Path) -> None:
    """Hexagonal cell: x and y are what a and b span, so z alone is free."""
    (cell,) = Periodic(repeats=(4, 4), center=(15, 15)).build(flake(30, 12), NOTHING)
    cell.atoms.set_constraint(FixCartesian(np.arange(len(cell.atoms)), mask=(True, True, False)))
    export(cell, tmp_path / "POSCAR")
    back = read(tmp_path / "POSCAR")
    moved = back.copy()
    moved.set_positions(back.positions + 0.1)
    assert moved.positions - back.positions == pytest.approx(np.tile([0, 0, 0.1], (len(back), 1)), abs=1e-9)


def test_the_command_exports_a_run(tmp_path: Path) -> None:
    table = tmp_path / "atoms.csv"
    table.write_text("x,y,species\n" + "".join(f"{x:.4f},{y:.4f},C\n" for x, y in flake(10).atoms.positions[:, :2]))

    run = tmp_path / "run"
    assert stem2sim("build", table, "--out", run).returncode == 0
    done = stem2sim("export", run, tmp_path / "POSCAR")
    assert done.returncode == 0, done.stderr
    assert len(read(tmp_path / "POSCAR")) == len(Structure.read(run / "structure.extxyz").atoms)
    again = stem2sim("export", run, tmp_path / "POSCAR")
    assert again.returncode == 2
    assert "is there already" in again.stderr
    assert "no known format" in stem2sim("export", run, tmp_path / "one.pdb").stderr
