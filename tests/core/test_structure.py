"""Laws of structures: cells, files, atoms that are too close."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase import Atoms
from ase.build import graphene
from ase.constraints import FixAtoms, FixedLine

from stem2sim.errors import BadInput
from stem2sim.geometry import bonds as graph
from stem2sim.geometry.bonds import Bonds
from stem2sim.structure import Structure
from stem2sim.testing import graphene_sheet

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from stem2sim.geometry.pairs import Pairs


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Atoms]:
    """Atoms whose bond graph was built from scratch."""
    atoms: list[Atoms] = []
    near_pairs = graph.near_pairs

    def counted(of: Atoms, cutoff: float) -> Pairs:
        atoms.append(of.copy())
        return near_pairs(of, cutoff)

    monkeypatch.setattr(graph, "near_pairs", counted)
    return atoms


def moved(structure: Structure) -> Structure:
    atoms = structure.atoms.copy()
    atoms.positions[0] += [0, 0, 5.0]
    return structure.model_copy(update={"atoms": atoms})


def shaken(structure: Structure) -> Structure:
    assert structure.bonds.match(structure.atoms)
    structure.atoms.positions[3] += [0, 0, 5.0]
    return structure


def other_cell(structure: Structure) -> Structure:
    atoms = structure.atoms.copy()
    atoms.cell[0] *= 1.5
    return structure.after({}, atoms)


def other_species(structure: Structure) -> Structure:
    assert structure.bonds.match(structure.atoms)
    structure.atoms.symbols[0] = "H"
    return structure


def other_columns(structure: Structure) -> Structure:
    atoms = structure.atoms.copy()
    atoms.arrays["source"][:2] = 7
    return structure.model_copy(update={"atoms": atoms})


@pytest.mark.parametrize("change", [moved, shaken, other_cell, other_species, other_columns])
def test_bonds_are_never_those_of_other_atoms(change: Callable[[Structure], Structure]) -> None:
    """Not after a copy with other atoms, nor after somebody changed the atoms in place."""
    atoms = graphene(size=(3, 3, 1), vacuum=5)
    atoms.pbc = True
    atoms.set_array("source", np.arange(len(atoms)))
    start = Structure(atoms=atoms)
    before = start.bonds
    changed = change(start)
    assert changed.bonds is not before
    expected = Bonds.of(changed.atoms)
    assert changed.bonds.neighbours == expected.neighbours
    assert (changed.bonds.pairs.vectors == expected.pairs.vectors).all()
    assert (changed.bonds.atoms.arrays["source"] == changed.atoms.arrays["source"]).all()
    assert changed.bonds is changed.bonds


def test_bonds_are_built_once_and_travel(built: list[Atoms]) -> None:
    """With copies that keep the atoms, with parts of them, through a pickle; fields and equality do not change."""
    start = Structure(atoms=graphene_sheet(10))
    plain = Structure(atoms=start.atoms)
    assert len(start.bonds.neighbours) == len(start.atoms)
    labelled = start.after({"use": "x"}, start.atoms, "a finding").model_copy(update={"label": "a", "charge": 1})
    assert labelled.bonds is start.bonds
    part = start.part(start.atoms.positions[:, 0] > 4)
    assert len(part.bonds.atoms) == len(part.atoms) < len(start.atoms)
    assert pickle.loads(pickle.dumps(part)).bonds.neighbours == part.bonds.neighbours
    assert len(built) == 1
    assert start == plain
    assert start.model_dump().keys() == plain.model_dump().keys() == Structure.model_fields.keys()
    assert "Bonds" not in repr(start)


def test_overlap_is_seen_across_the_boundary() -> None:
    """Two atoms 0.5 Å apart through the periodic face are as bad as two side by side."""
    atoms = Atoms("C2", positions=[[0.2, 5, 5], [9.7, 5, 5]], cell=[10, 10, 10], pbc=True)
    with pytest.raises(BadInput, match=r"closer than 0\.9 Å: C 0–C 1 \(0\.50 Å\)"):
        Structure(atoms=atoms).check_distances()
    atoms.pbc = False
    Structure(atoms=atoms).check_distances()


def test_a_structure_without_a_cell_gets_ten_angstrom_of_vacuum() -> None:
    boxed = Structure(atoms=graphene_sheet(8)).in_a_cell().atoms
    low, high = boxed.positions.min(axis=0), boxed.positions.max(axis=0)
    assert low == pytest.approx(np.full(3, 10))
    assert boxed.cell.lengths() - high == pytest.approx(np.full(3, 10))
    periodic = Structure(atoms=graphene(vacuum=5))
    assert periodic.in_a_cell() is periodic


def test_a_periodic_sheet_without_a_height_is_refused() -> None:
    """Its period must not be dropped in silence."""
    with pytest.raises(BadInput, match="its cell has only 2 of three vectors"):
        Structure(atoms=graphene()).in_a_cell()


def test_damaged_or_unknown_structures_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.xyz").write_text("1\n\nX 0 0 0\n")
    (tmp_path / "nan.xyz").write_text("1\n\nC nan 0 0\n")
    (tmp_path / "notes.extxyz").write_text('1\nProperties=species:S:1:pos:R:3 stem2sim="[3"\nC 0 0 0\n')
    (tmp_path / "charge.extxyz").write_text(
        '1\nProperties=species:S:1:pos:R:3 stem2sim="{%22charge%22: 0.5}"\nC 0 0 0\n'
    )
    for name, message in (
        ("x.xyz", "unknown species"),
        ("nan.xyz", "not finite"),
        ("notes.extxyz", "is damaged"),
        ("charge.extxyz", "is damaged"),
        ("absent@1.xyz", "no structure file"),
    ):
        with pytest.raises(BadInput, match=message):
            Structure.read(tmp_path / name)
    (tmp_path / "a@b.xyz").write_text("1\n\nC 0 0 0\n")
    assert len(Structure.read(tmp_path / "a@b.xyz").atoms) == 1


def test_a_written_structure_reads_back_whole(tmp_path: Path) -> None:
    """Constraints, arrays, charge, history and findings, quotes and backslashes included."""
    atoms = Atoms("CSiH", positions=np.arange(9.0).reshape(3, 3) * 1.7, cell=[9, 9, 9])
    atoms.set_array("source", np.array([4, 7, -1]))
    atoms.set_constraint([FixAtoms([0]), FixedLine([1], [0, 0, 1])])
    findings = ('a "quoted" Å finding', "back\\slash, 100 %", "it's")
    written = Structure(atoms=atoms, charge=-1, history=({"use": "place", "x": None},), findings=findings)
    written.write(tmp_path / "s.extxyz")
    read = Structure.read(tmp_path / "s.extxyz")
    assert read.atoms.positions == pytest.approx(atoms.positions)
    assert [c.todict() for c in read.atoms.constraints] == [c.todict() for c in atoms.constraints]
    assert read.atoms.arrays["source"].tolist() == [4, 7, -1]
    assert (read.charge, read.history, read.findings) == (-1, written.history, findings)
    assert read.electrons == 6 + 14 + 1 + 1
    assert read.multiplicity == 1
