"""Laws of repairs: what they take away, and what they leave alone."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.conftest import built, flake, table_of
from tests.hterm.test_hterm import mos2, place

from stem2sim.analysis.validation import validate
from stem2sim.errors import BadInput
from stem2sim.structure import Structure
from stem2sim.testing import check_builder, graphene_segmentation
from stem2sim_hterm.hterm import Hterm
from stem2sim_hterm.patch import Patch
from stem2sim_hterm.repair import Drop, Fill, Merge


def doubled(angle: float, count: int, apart: float, seed: int) -> tuple[Structure, np.ndarray]:
    """A sheet with some atoms found twice, the second time less probably; and which."""
    sheet = flake(24, angle)
    rng = np.random.default_rng(seed)
    twice = rng.choice(len(sheet.atoms), count, replace=False)
    again = sheet.atoms[twice]
    turn = rng.uniform(0, 2 * np.pi, count)
    again.positions[:, :2] += apart * np.column_stack([np.cos(turn), np.sin(turn)])
    again.arrays["probability"][:] = 0.6
    again.arrays["source"] += len(sheet.atoms)
    sheet.atoms.extend(again)
    return sheet, twice


@settings(max_examples=25)
@given(
    angle=st.floats(0, 60), count=st.integers(1, 6), apart=st.floats(0.05, 0.35), seed=st.integers(0, 99),
)  # fmt: skip
def test_what_was_found_twice_is_one_atom_again(angle: float, count: int, apart: float, seed: int) -> None:
    """At the mean, weighted by probability; all others as they were; nothing is left to merge.

    Copies of two neighbours, each 0.35 Å towards the other, are still 0.72 Å apart.
    """
    sheet, twice = doubled(angle, count, apart, seed)
    made = built(sheet, Merge(distance=0.7))
    single = len(sheet.atoms) - count
    assert len(made.atoms) == single
    assert made.atoms.arrays["source"].tolist() == list(range(single))
    moved = np.hypot(*(made.atoms.positions - sheet.atoms.positions[:single])[:, :2].T)
    assert moved[twice] == pytest.approx(np.full(count, apart * 0.6 / 1.6), abs=1e-9)
    assert np.delete(moved, twice).max() == 0
    assert f"C {twice.min()} + C " in made.findings[-1]
    again = built(made, Merge(distance=0.7))
    assert again.atoms == made.atoms
    assert "no atoms to merge" in again.findings[-1]


def test_the_likelier_species_stays() -> None:
    sheet, (twice,) = doubled(5.0, 1, 0.3, 0)
    sheet.atoms.symbols[-1] = "Si"
    assert set(built(sheet, Merge()).atoms.symbols) == {"C"}
    sheet.atoms.arrays["probability"][twice] = 0.5
    made = built(sheet, Merge())
    assert made.atoms.get_chemical_symbols().count("Si") == 1
    assert len(made.atoms) == len(sheet.atoms) - 1


def test_a_column_is_not_two_atoms_found_twice() -> None:
    """Two sulphur atoms above each other stay; two columns at one place are one."""
    sheet = place(mos2(16))
    assert built(sheet, Merge()).atoms == sheet.atoms
    table = mos2(16)
    pair = int(np.flatnonzero(table.species == "S2")[0])
    more = table_of(np.vstack([table.positions, table.positions[pair] + [0.9, 0]]))
    twice = place(more.model_copy(update={"species": np.append(table.species, "S2")}))
    assert len(twice.atoms) == len(sheet.atoms) + 2
    assert len(built(twice, Merge()).atoms) == len(sheet.atoms)


@settings(max_examples=20)
@given(groups=st.lists(st.integers(1, 5), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_strays_are_what_is_bonded_to_nothing_else(groups: list[int], seed: int) -> None:
    """Chains of up to five atoms beside a sheet go; the sheet stays, and chains as long as asked for."""
    sheet = flake(16)
    strays = [[30 + 1.45 * k, 5.0 * n, 0.0] for n, length in enumerate(groups) for k in range(length)]
    both = Structure(atoms=sheet.atoms + Atoms(f"C{len(strays)}", positions=strays))
    assert np.array_equal(built(both, Drop()).atoms.positions, sheet.atoms.positions)
    kept = built(both, Drop(smallest=3))
    assert len(kept.atoms) == len(sheet.atoms) + sum(length for length in groups if length >= 3)
    assert built(sheet, Drop()).findings[-1] == "no stray atoms"


@settings(max_examples=15)
@given(angle=st.floats(0, 60), x=st.floats(7, 17), y=st.floats(7, 17), noise=st.floats(0, 0.05))
def test_a_vacant_site_is_filled_where_the_atom_was(angle: float, x: float, y: float, noise: float) -> None:
    """And only a single one; the atom put in was seen by nobody, and says so."""
    sheet = flake(24, angle)
    sheet.atoms.positions[:, :2] += np.random.default_rng(0).normal(0, noise, (len(sheet.atoms), 2))
    away = np.hypot(*(sheet.atoms.positions[:, :2] - (x, y)).T)
    missing = int(np.argmin(away))
    there = sheet.atoms.positions[missing]
    vacant = sheet.atoms.copy()
    del vacant[missing]
    made = built(Structure(atoms=vacant), Fill())
    assert len(made.atoms) == len(sheet.atoms)
    assert made.atoms.positions[-1] == pytest.approx(there, abs=0.05 + 5 * noise)
    assert made.atoms.arrays["probability"][-1] == 0
    assert made.atoms.arrays["source"][-1] == -1
    assert not [f for f in validate(made.in_a_cell()) if f.check == "lattice"]
    assert built(sheet, Fill()).findings[-1] == "no vacant site"
    larger = sheet.atoms[np.sort(np.argsort(away)[4:])]
    assert built(Structure(atoms=larger), Fill()).findings[-1] == "no vacant site"


def test_repairs_conform_and_refuse_what_is_built_already() -> None:
    sheet = flake(14)
    for repair in (Merge(), Drop(), Fill()):
        check_builder(repair, sheet, graphene_segmentation(14))
    flat = built(sheet, Patch(size=40), Hterm())
    for repair in (Merge(), Fill()):
        with pytest.raises(BadInput, match=f"{repair.name} repairs a sheet as it was measured; put it before hterm"):
            built(flat, repair)
        with pytest.raises(BadInput, match=f"put place before {repair.name}"):
            built(Structure.empty(), repair)
    with pytest.raises(BadInput, match="no group of 6 bonded atoms among 2"):
        built(Structure(atoms=Atoms("C2", positions=[[0, 0, 0], [9, 0, 0]])), Drop())
    with pytest.raises(ValidationError, match="'Xx' is no element"):
        Fill(species="Xx")
    with pytest.raises(BadInput, match=r"no honeycomb of 2\.46 Å among 14 atoms"):
        built(Structure(atoms=Atoms("C14", positions=np.arange(14)[:, None] * [9.0, 0.0, 0.0])), Fill())
