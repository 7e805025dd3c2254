"""Laws of pairs, bonds, angles and rings."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import graphene, molecule
from ase.neighborlist import neighbor_list
from hypothesis import given
from hypothesis import strategies as st
from tests.core.sheets import damaged, few, sheet

from stem2sim.geometry.angles import angles, ring_angles, ring_bond_lengths
from stem2sim.geometry.bonds import Bonds, apart
from stem2sim.geometry.pairs import SLACK, near_pairs
from stem2sim.geometry.rings import rings


@few
@given(
    seed=st.integers(0, 10**6),
    pbc=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    cutoff=st.floats(0.5, 7),
    radii=st.booleans(),
)
def test_pairs_are_those_of_ase(seed: int, pbc: tuple[bool, bool, bool], cutoff: float, radii: bool) -> None:
    """In every skewed cell, atoms inside and outside of it, cells smaller than the cutoff too."""
    rng = np.random.default_rng(seed)
    cell = np.diag(rng.uniform(3, 9, 3)) + rng.uniform(-1, 1, (3, 3))
    atoms = Atoms(f"C{rng.integers(1, 12)}", cell=cell, pbc=pbc)
    atoms.positions = rng.uniform(-1, 2, (len(atoms), 3)) @ cell
    within = rng.uniform(0, cutoff, len(atoms)) if radii else cutoff
    i, j, shift, d = neighbor_list("ijSd", atoms, within)
    a, b, cells, vectors = near_pairs(atoms, within)
    assert sorted(zip(i, j, map(tuple, shift), strict=True)) == sorted(zip(a, b, map(tuple, cells), strict=True))
    assert np.allclose(np.sort(d), np.sort(np.linalg.norm(vectors, axis=1)))
    assert np.allclose(atoms.positions[b] - atoms.positions[a] + cells @ atoms.cell, vectors)
    assert (np.diff(a) >= 0).all()


@few
@given(seed=st.integers(0, 10**6))
def test_a_bond_is_one_both_ways(seed: int) -> None:
    """Even where a third atom stands between two of other species."""
    rng = np.random.default_rng(seed)
    atoms = Atoms(rng.choice(["C", "Si", "H", "Mo"], 40), rng.uniform(0, 8, (40, 3)))
    i, j, _, _ = Bonds.of(atoms).pairs
    assert set(zip(i.tolist(), j.tolist(), strict=True)) == set(zip(j.tolist(), i.tolist(), strict=True))


@few
@given(seed=st.integers(0, 10**6), pbc=st.booleans(), share=st.floats(0, 1))
def test_bonds_of_a_part_are_those_that_it_has_by_itself(seed: int, pbc: bool, share: float) -> None:
    """Even where an atom that stood between two others is not of the part."""
    rng = np.random.default_rng(seed)
    atoms = Atoms(rng.choice(["C", "Si", "H", "Mo"], 40), rng.uniform(0, 8, (40, 3)), cell=[8, 8, 8], pbc=pbc)
    kept = rng.random(len(atoms)) < share
    whole = Bonds.of(atoms)
    part, alone = whole.among(kept), Bonds.of(atoms[kept])
    for one, other in ((part.pairs, alone.pairs), (part.hidden, alone.hidden)):
        listed, expected = (sorted(zip(p.i, p.j, map(tuple, p.shift), strict=True)) for p in (one, other))
        assert listed == expected
        assert np.allclose(np.sort(one.lengths), np.sort(other.lengths))
        assert (np.diff(one.i) >= 0).all()
    assert part.neighbours == alone.neighbours
    assert whole.among(np.flatnonzero(kept)).neighbours == part.neighbours
    assert len(part.atoms) == kept.sum()


@few
@given(seed=st.integers(0, 10**6), turn=st.floats(0, 360))
def test_bonds_of_just_the_cutoff_are_both_ways_or_none(seed: int, turn: float) -> None:
    """Whatever rounding makes of them in a cell; and their rings can be walked."""
    rng = np.random.default_rng(seed)
    atoms = graphene(a=1.9 * np.sqrt(3), size=(3, 3, 1), vacuum=5)
    atoms.pbc = True
    atoms.rotate(turn, "z", rotate_cell=True)
    atoms.positions += rng.uniform(-9, 9, 3)
    i, j, _, _ = Bonds.of(atoms).pairs
    assert sorted(zip(i, j, strict=True)) == sorted(zip(j, i, strict=True))
    assert len(rings(Bonds.of(atoms))) <= 9


def test_angles_of_graphene_are_120_degrees() -> None:
    assert np.allclose(angles(Bonds.of(sheet()))["C-C-C"], 120)
    assert len(angles(Bonds.of(sheet()))["C-C-C"]) == 3 * len(sheet())


def test_angles_are_named_after_the_atom_in_the_middle() -> None:
    """Ends in alphabetical order: silane has H-Si-H, methylsilane C-Si-H and H-C-Si."""
    assert np.allclose(angles(Bonds.of(molecule("SiH4")))["H-Si-H"], 109.471, atol=0.01)
    found = {name: len(values) for name, values in angles(Bonds.of(molecule("CH3SiH3"))).items()}
    assert found == {"C-Si-H": 3, "H-C-H": 3, "H-C-Si": 3, "H-Si-H": 3}


@few
@given(seed=st.integers(0, 10**6), periodic=st.booleans())
def test_angles_inside_a_flat_ring_add_up(seed: int, periodic: bool) -> None:
    """To (n - 2) 180°, in rings that turn outwards too."""
    atoms = damaged(seed, periodic)
    atoms.positions[:, 2] = 0
    for size, inside in ring_angles(Bonds.of(atoms)).items():
        assert np.allclose(inside.sum(axis=1), (size - 2) * 180)
        assert inside.shape == ring_bond_lengths(Bonds.of(atoms))[size].shape


@few
@given(seed=st.integers(0, 10**6), angle=st.floats(0, 360), periodic=st.booleans())
def test_turning_moving_and_numbering_change_nothing(seed: int, angle: float, periodic: bool) -> None:
    atoms = damaged(seed, periodic)
    rng = np.random.default_rng(seed)
    other = atoms[rng.permutation(len(atoms))]
    other.rotate(angle, "z", rotate_cell=True)
    other.positions += rng.uniform(-9, 9, 3)
    assert Bonds.of(other).coordination() == Bonds.of(atoms).coordination()
    for measure in (angles, ring_angles, ring_bond_lengths):
        one, two = measure(Bonds.of(atoms)), measure(Bonds.of(other))
        assert set(one) == set(two)
        assert all(np.allclose(np.sort(one[k], axis=None), np.sort(two[k], axis=None)) for k in one)
    sizes = [
        sorted((len(r), round(r.area, 6), round(r.perimeter, 6)) for r in rings(Bonds.of(a))) for a in (atoms, other)
    ]
    assert np.allclose(sizes[0], sizes[1])


@few
@given(seed=st.integers(0, 10**6))
def test_rings_tile_a_periodic_sheet(seed: int) -> None:
    """Euler: rings = bonds - atoms in a torus whose network is connected; areas add up to that of the cell."""
    atoms = damaged(seed, periodic=True)
    found = rings(Bonds.of(atoms))
    if min(min(c) for c in Bonds.of(atoms).coordination().values()) < 2:
        return
    assert len(found) == len(Bonds.of(atoms).pairs[0]) // 2 - len(atoms)
    assert sum(r.area for r in found) == pytest.approx(np.linalg.norm(np.cross(*atoms.cell[:2])))


def test_a_ring_has_area_and_perimeter() -> None:
    (hexagon,) = rings(Bonds.of(molecule("C6H6")))
    side = ring_bond_lengths(Bonds.of(molecule("C6H6")))[6].mean()
    assert hexagon.perimeter == pytest.approx(6 * side, rel=1e-3)
    assert hexagon.area == pytest.approx(1.5 * np.sqrt(3) * side**2, rel=1e-3)


def test_a_chain_encloses_nothing() -> None:
    """There and back is no ring."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        chain = Atoms("C6", np.cumsum(rng.normal((1.3, 0, 0), 0.1, (6, 3)), axis=0))
        assert rings(Bonds.of(chain)) == []


def test_every_atom_counts_its_neighbours() -> None:
    assert Bonds.of(molecule("C6H6")).coordination() == {"C": {3: 6}, "H": {1: 6}}
    assert sum(Bonds.of(sheet(periodic=False)).coordination()["C"].values()) == 50


def test_every_atom_of_graphene_has_three_neighbours() -> None:
    sheet = graphene(size=(5, 5, 1), vacuum=10)
    sheet.pbc = True
    assert all(len(near) == 3 for near in Bonds.of(sheet).neighbours)
    lengths = Bonds.of(sheet).lengths()
    assert list(lengths) == ["C-C"]
    assert lengths["C-C"] == pytest.approx(np.full(75, 1.42), abs=0.01)


@given(seed=st.integers(0, 50), distance=st.floats(0.05, 0.5))
def test_points_apart_are_apart_and_the_best_stay(seed: int, distance: float) -> None:
    """No two kept points are closer; every dropped one is close to a kept one of higher rank."""
    rng = np.random.default_rng(seed)
    points, rank = rng.uniform(0, 2, (60, 2)), rng.uniform(0, 1, 60)
    kept = apart(points, rank, distance)
    gaps = np.linalg.norm(points[kept][:, None] - points[kept], axis=2) + 9 * np.eye(len(kept))
    assert gaps.min() > distance - 2 * SLACK
    for k in set(range(60)) - set(kept.tolist()):
        near = [n for n in kept if np.linalg.norm(points[n] - points[k]) < distance]
        assert max(rank[n] for n in near) > rank[k]
