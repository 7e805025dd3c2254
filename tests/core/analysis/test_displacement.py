"""Laws of displacements: of simulated atoms, and of measured ones."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from hypothesis import given
from hypothesis import strategies as st
from tests.core.sheets import damaged, few, sheet

from stem2sim.analysis.displacement import displacements, from_measured
from stem2sim.atoms_table import AtomsTable
from stem2sim.errors import BadInput
from stem2sim.geometry.superposition import moved
from stem2sim.segmentation import Segmentation
from stem2sim.structure import Structure
from stem2sim.testing import graphene_sheet


@few
@given(angle=st.floats(-60, 60), seed=st.integers(0, 10**6))
def test_a_copy_that_was_moved_as_a_whole_is_not_displaced(angle: float, seed: int) -> None:
    """A turn in the plane for flakes, a translation in cells; stretched too where a linear map is fitted."""
    rng = np.random.default_rng(seed)
    flake = damaged(seed, periodic=False)
    turned = flake.copy()
    turned.rotate(angle, "z")
    turned.positions += rng.uniform(-9, 9, 3)
    assert max(d.largest for d in displacements(flake, turned)) < 1e-9
    assert np.abs(moved(flake, turned, "rigid")).max() < 1e-9
    turned.positions[:, :2] @= np.array([[1.1, 0.02], [-0.01, 0.93]])
    assert max(d.largest for d in displacements(flake, turned, "affine")) < 1e-9
    crystal = damaged(seed, periodic=True)
    drifted = crystal.copy()
    drifted.positions += rng.uniform(-9, 9, 3) * [1, 1, 0.1]
    drifted.wrap()
    assert max(d.largest for d in displacements(crystal, drifted)) < 1e-9


def test_displacements_are_told_per_axis_in_percent_of_the_bond_length() -> None:
    """Of heavy atoms only, with the number of the one that moved most."""
    before = sheet()
    before += Atoms("H", [[0, 0, 12]])
    after = before.copy()
    after.positions[7, 0] += 0.5
    after.positions[-1] += 3.0
    found = {d.axis: d for d in displacements(before, after)}
    n = 50
    assert found["x"].largest == pytest.approx(0.5 * (1 - 1 / n))
    assert found["x"].rms == pytest.approx(0.5 * np.sqrt(1 / n * (1 - 1 / n)))
    assert found["x"].mean == pytest.approx(2 * 0.5 / n * (1 - 1 / n))
    assert found["x"].atom == found["in plane"].atom == 7
    assert found["y"].largest == found["z"].largest == 0
    bond = 2.46 / np.sqrt(3)
    assert found["x"].share(bond) == pytest.approx(100)
    assert "(34.5 %) at atom 7" in found["x"].describe()
    assert found["x"].summary()["largest_percent"] == pytest.approx(34.5, abs=0.1)


def test_atoms_are_compared_with_where_they_were_measured() -> None:
    """Whatever the pixel size; what a builder added does not count."""
    built = graphene_sheet(12.0)
    seen = measured(built.positions[:, :2] * [1.3, 1.1])
    built.set_array("source", np.append(np.arange(len(built) - 1), -1))
    built.positions[3, 1] += 0.4
    found = {d.axis: d for d in from_measured(seen, Structure(atoms=built))}
    assert set(found) == {"x", "y", "in plane"}
    assert found["y"].atom == 3
    assert found["y"].largest == pytest.approx(0.4, abs=0.05)
    assert found["x"].largest < 0.02
    with pytest.raises(BadInput, match="none of its atoms was found"):
        from_measured(seen, Structure(atoms=molecule("C6H6")))


def measured(xy: np.ndarray) -> Segmentation:
    atoms = Atoms(f"C{len(xy)}", np.column_stack([xy, np.zeros(len(xy))]))
    return Segmentation(atoms=AtomsTable.of(atoms))


@pytest.mark.parametrize("n", [8, 12, 40])
def test_few_atoms_tell_as_large_a_displacement_as_many(n: int) -> None:
    """What an affine map takes with it is put back; it takes all from three atoms, and fewer than 8 tell nothing."""
    rng = np.random.default_rng(0)
    whole = graphene_sheet(14.0)
    near = np.argsort(np.linalg.norm(whole.positions[:, :2] - 7, axis=1))
    squares = []
    for _ in range(100):
        built = whole[near[:n]]
        built.set_array("source", near[:n])
        built.positions[:, :2] += rng.normal(0, 0.1, (n, 2))
        (flat,) = (
            d for d in from_measured(measured(whole.positions[:, :2]), Structure(atoms=built)) if d.axis[0] == "i"
        )
        squares.append(flat.rms**2)
    assert np.sqrt(np.mean(squares)) == pytest.approx(0.1 * np.sqrt(2), rel=0.06)
    with pytest.raises(BadInput, match="at least 8 measured atoms, got 7"):
        from_measured(measured(whole.positions[:, :2]), Structure(atoms=built[:7]))


@few
@given(drift=st.tuples(st.floats(-20, 20), st.floats(-20, 20)))
def test_an_atom_that_went_through_a_border_of_its_cell_did_not_move(drift: tuple[float, float]) -> None:
    """It lies where it was measured, a cell away, whichever way the frame is turned and scaled."""
    built = sheet()
    turn = np.array([[0.8, -0.6], [0.6, 0.8]]) * 1.07
    seen = measured(built.positions[:, :2] @ turn.T + [3.0, 5.0])
    built.set_array("source", np.arange(len(built)))
    built.positions += [*drift, 0]
    built.wrap()
    assert all(d.largest < 1e-6 for d in from_measured(seen, Structure(atoms=built)))


def test_other_atoms_are_no_displacement() -> None:
    with pytest.raises(BadInput, match="same atoms"):
        displacements(molecule("C6H6"), molecule("C2H4"))
