"""Named defects, built by hand into graphene that is turned, rippled and warm."""

from __future__ import annotations

from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase import Atoms
from ase.build import graphene
from ase.neighborlist import neighbor_list
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from scipy.spatial import Delaunay

from stem2sim.geometry.bonds import Bonds
from stem2sim.geometry.defects import Defect, defects
from stem2sim.geometry.pairs import near_pairs
from stem2sim.geometry.rings import rings

if TYPE_CHECKING:
    from collections.abc import Sequence

WARM = 0.08 / np.sqrt(3)
"""[Å] along each axis, 0.08 Å in all: what carbon moves in graphene at room temperature."""

HOT = 0.08
"""[Å] along each axis, 0.14 Å in all."""

heat = st.sampled_from([WARM, HOT])


def sheet(periodic: bool = True) -> Atoms:
    atoms = graphene(size=(9, 9, 1), vacuum=8)
    atoms.pbc = periodic
    return atoms


def middle(atoms: Atoms) -> int:
    """Number of an atom near the middle of the cell."""
    return int(np.linalg.norm(atoms.positions - np.asarray(atoms.cell).sum(axis=0) / 2, axis=1).argmin())


def stone_wales(atoms: Atoms) -> np.ndarray:
    """Turn one bond by a right angle; return where."""
    one = middle(atoms)
    other = Bonds.of(atoms).neighbours[one][0]
    centre = atoms.positions[[one, other]].mean(axis=0)
    for k in (one, other):
        x, y, _ = atoms.positions[k] - centre
        atoms.positions[k, :2] = centre[:2] + np.array([-y, x])
    relax(atoms)
    return centre


def relax(atoms: Atoms, more: Sequence[tuple[int, int]] = ()) -> None:
    """Give bonds, and some more, 1.42 Å and keep others 2.4 Å apart: what any force field does to first order."""
    i, j, shift = neighbor_list("ijS", atoms, 1.75)
    for one, other in more:
        i, j, shift = np.append(i, one), np.append(j, other), np.vstack([shift, [0, 0, 0]])
    for _ in range(150):
        a, b, far, _ = near_pairs(atoms, 2.4)
        bonded = set(zip(i.tolist(), j.tolist(), strict=True))
        crowd = np.array([pair not in bonded for pair in zip(a.tolist(), b.tolist(), strict=True)], dtype=bool)
        step = np.zeros_like(atoms.positions)
        for one, other, cells, length, weight in ((i, j, shift, 1.42, 0.2), (a[crowd], b[crowd], far[crowd], 2.4, 0.1)):
            apart = atoms.positions[other] - atoms.positions[one] + cells @ np.asarray(atoms.cell)
            distance = np.linalg.norm(apart, axis=1)
            np.add.at(step, one, weight * ((distance - length) / distance)[:, None] * apart)
        atoms.positions += step


def remove(atoms: Atoms, count: int) -> np.ndarray:
    """Take an atom out, or two that are bonded; return where."""
    one = middle(atoms)
    gone = [one, Bonds.of(atoms).neighbours[one][0]][:count]
    centre = atoms.positions[gone].mean(axis=0)
    del atoms[gone]
    return centre


def close(atoms: Atoms, centre: np.ndarray, pairs: int) -> None:
    """Bond atoms with two neighbours, pair by pair along the rim, as a vacancy reconstructs."""
    loose = [k for k, near in enumerate(Bonds.of(atoms).neighbours) if len(near) == 2]
    loose = [k for k in loose if np.linalg.norm(atoms.positions[k] - centre) < 4]
    bonded = []
    for _ in range(pairs):
        gaps = [(np.linalg.norm(atoms.positions[a] - atoms.positions[b]), a, b) for a in loose for b in loose if a < b]
        _, a, b = min(gaps)
        bonded += [(a, b), (b, a)]
        loose = [k for k in loose if k not in (a, b)]
    if bonded:
        relax(atoms, bonded)


def shaken(atoms: Atoms, angle: float, seed: int, heat: float = WARM) -> None:
    """Turn the sheet, ripple it, and displace every atom."""
    rng = np.random.default_rng(seed)
    x, y = atoms.positions[:, 0], atoms.positions[:, 1]
    atoms.positions[:, 2] += 0.4 * np.sin(2 * np.pi * x / 9) * np.cos(2 * np.pi * y / 11)
    atoms.positions += rng.normal(scale=heat, size=(len(atoms), 3))
    atoms.rotate(angle, "z", center=(0, 0, 0), rotate_cell=True)


def found_at(atoms: Atoms, centre: np.ndarray, angle: float) -> Defect:
    (one,) = defects(Bonds.of(atoms))
    turn = np.radians(angle)
    there = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ centre[:2]
    assert np.linalg.norm(np.array(one.centre[:2]) - there) < 0.8
    return one


@cache
def made(name: str, periodic: bool) -> tuple[Atoms, np.ndarray]:
    """Return a sheet with one defect, and where it is."""
    atoms = sheet(periodic)
    if name.startswith("Stone"):
        return atoms, stone_wales(atoms)
    centre = remove(atoms, 2 if name.startswith("di") else 1)
    close(atoms, centre, {"monovacancy 5-9": 1, "divacancy 5-8-5": 2}.get(name, 0))
    return atoms, centre


@pytest.mark.parametrize(
    "name", ["Stone-Wales 5-7-7-5", "monovacancy", "monovacancy 5-9", "divacancy", "divacancy 5-8-5"]
)
@settings(max_examples=20, phases=(Phase.generate,))
@given(angle=st.floats(0, 360), seed=st.integers(0, 1000), periodic=st.booleans(), heat=heat)
def test_each_is_found_where_it_is(name: str, angle: float, seed: int, periodic: bool, heat: float) -> None:
    """Turned, rippled and warm, in a cell or as a flake: one defect, by its name, in its place."""
    start, centre = made(name, periodic)
    atoms = start.copy()
    shaken(atoms, angle, seed, heat)
    assert found_at(atoms, centre, angle).name == name


@settings(max_examples=50, phases=(Phase.generate,))
@given(angle=st.floats(0, 360), seed=st.integers(0, 10**6), periodic=st.booleans(), heat=heat)
def test_perfect_sheets_have_none(angle: float, seed: int, periodic: bool, heat: float) -> None:
    atoms = sheet(periodic)
    shaken(atoms, angle, seed, heat)
    assert defects(Bonds.of(atoms)) == []


@settings(max_examples=20, phases=(Phase.generate,))
@given(angle=st.floats(0, 360), seed=st.integers(0, 10**6), heat=st.sampled_from([0.0, WARM, HOT]))
def test_silicon_in_the_place_of_carbon_is_told_with_its_neighbours(angle: float, seed: int, heat: float) -> None:
    """Of one carbon: three neighbours; of two: four. The host's rings stay as they are, or open."""
    atoms = sheet()
    place = middle(atoms)
    atoms.symbols[place] = "Si"
    shaken(atoms, angle, seed, heat)
    (one,) = defects(Bonds.of(atoms))
    assert one.name == "Si with 3 neighbours"
    assert one.atoms == (place,)
    atoms = sheet()
    atoms.append("Si")
    atoms.positions[-1] = remove(atoms, 2)
    shaken(atoms, angle, seed, min(heat, WARM))  # at 0.08 Å along each axis one in a hundred comes near a fifth
    (four,) = [one for one in defects(Bonds.of(atoms)) if "Si" in one.name]
    assert four.name == "Si with 4 neighbours"
    assert np.allclose(four.centre, atoms.positions[-1])


def test_a_wide_hole_is_a_hole_and_swallows_nothing() -> None:
    """What lies beside it keeps its name."""
    atoms = graphene(size=(14, 14, 1), vacuum=8)
    atoms.pbc = True
    far = np.asarray(atoms.cell).sum(axis=0) * [0.25, 0.25, 0.5]
    centre = stone_wales(atoms)
    gone = np.flatnonzero(np.linalg.norm(atoms.positions - far, axis=1) < 3.5)
    del atoms[gone]
    names = {one.name.split(" of")[0]: one for one in defects(Bonds.of(atoms))}
    assert set(names) == {"hole", "Stone-Wales 5-7-7-5"}
    assert np.linalg.norm(np.array(names["Stone-Wales 5-7-7-5"].centre) - centre) < 0.3
    assert np.linalg.norm(np.array(names["hole"].centre) - far) < 1.0


def relaxed(positions: np.ndarray, bonded: np.ndarray) -> np.ndarray:
    """Give bonds 1.42 Å and second neighbours 2.46 Å, whatever the distances say who is bonded."""
    near: list[list[int]] = [[] for _ in positions]
    for one, other in bonded.tolist():
        near[one].append(other)
        near[other].append(one)
    second = np.array([pair for around in near for pair in combinations(around, 2)])
    positions = positions.copy()
    for _ in range(300):
        step = np.zeros_like(positions)
        for pairs, length, weight in ((bonded, 1.42, 0.2), (second, 2.46, 0.06)):
            apart = positions[pairs[:, 1]] - positions[pairs[:, 0]]
            distance = np.linalg.norm(apart, axis=1)[:, None]
            np.add.at(step, pairs[:, 0], weight * (1 - length / distance) * apart)
            np.add.at(step, pairs[:, 1], -weight * (1 - length / distance) * apart)
        positions += step
    return positions


@cache
def grain_boundary(half_angle: float) -> Atoms:
    """Return two grains turned by that angle [degrees] to either side, which meet at x = 0.

    Two triangular lattices, each the mirror image of the other, are the middles of the rings: an atom in every triangle
    between three of them is bonded to three others by construction.
    """
    p, q = np.meshgrid(np.arange(-30, 31), np.arange(-30, 31))
    lattice = 2.46 * np.stack([(np.sqrt(0.75) * p).ravel(), (q + 0.5 * p).ravel()], axis=1)
    turn = np.radians(half_angle)
    lattice = lattice @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    seam = np.abs(lattice[:, 0]) < 0.3 * 2.46
    left = lattice[~seam & (lattice[:, 0] < 0)]
    points = np.vstack([left, left * [-1, 1], lattice[seam] * [0, 1]])
    points = points[(np.abs(points) < [16, 20]).all(axis=1)]
    grid = Delaunay(points)
    corners = points[grid.simplices]
    whole = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(axis=1) < 4
    bonded = np.array(
        [(a, b) for a, around in enumerate(grid.neighbors) for b in around if b > a and whole[[a, b]].all()]
    )
    kept = whole
    while (loose := kept & (np.bincount(bonded.ravel(), minlength=len(kept)) < 2)).any():
        kept = kept & ~loose
        bonded = bonded[kept[bonded].all(axis=1)]
    bonded = (np.cumsum(kept) - 1)[bonded]
    positions = relaxed(corners.mean(axis=1)[kept], bonded)
    return Atoms(f"C{len(positions)}", np.pad(positions, ((0, 0), (0, 1))))


@pytest.mark.parametrize("half_angle", [10.9, 16.1])
@settings(max_examples=15, phases=(Phase.generate,))
@given(angle=st.floats(0, 360), seed=st.integers(0, 1000), heat=heat)
def test_a_grain_boundary_is_found_where_it_is(half_angle: float, angle: float, seed: int, heat: float) -> None:
    """From one end to the other, of grains turned by 21.8° (Σ7) and 32.2° (Σ13): a line of pentagons and heptagons."""
    atoms = grain_boundary(half_angle).copy()
    shaken(atoms, angle, seed, heat)
    (one,) = defects(Bonds.of(atoms))
    assert one.name.startswith("grain boundary, or chain of ")
    assert set(one.rings) == {5, 7}
    turn = np.radians(-angle)
    back = np.array(one.line)[:, :2] @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    assert np.abs(back[:, 0]).max() < 1.8  # in a zigzag about the seam
    assert abs(back[:, 0].mean()) < 0.5
    assert np.ptp(back[:, 1]) > 25
    assert "grain boundary, or chain of" in one.describe()
    assert " to x = " in one.describe()


def turned(atoms: Atoms, sizes: tuple[int, ...]) -> Atoms:
    """Turn the first bond that leaves odd rings of these sizes."""
    i, j, _ = Bonds.of(atoms).once
    near = Bonds.of(atoms).neighbours
    centre = atoms.positions.mean(axis=0)
    order = np.argsort(
        np.linalg.norm(atoms.positions[i] - centre, axis=1) + np.linalg.norm(atoms.positions[j] - centre, axis=1)
    )
    for k in order[:40]:
        u, v = int(i[k]), int(j[k])
        away = [[n for n in near[one] if n != other] for one, other in ((u, v), (v, u))]
        if len(away[0]) != 2 or len(away[1]) != 2:
            continue
        along = atoms.positions[v] - atoms.positions[u]
        (a, b), (c, d) = (
            sorted(ns, key=lambda n: np.cross(along, atoms.positions[n] - atoms.positions[u])[2]) for ns in away
        )
        pairs = {frozenset(pair) for pair in zip(i.tolist(), j.tolist(), strict=True)}
        pairs ^= {frozenset(pair) for pair in ((u, b), (v, c), (u, c), (v, b))}
        start = atoms.positions[:, :2].copy()
        middle = start[[u, v]].mean(axis=0)
        start[u], start[v] = (middle + 0.7 * (start[ns].mean(axis=0) - middle) for ns in ([a, c], [b, d]))
        made = atoms.copy()
        made.positions[:, :2] = relaxed(start, np.array([sorted(pair) for pair in pairs]))
        if tuple(sorted(len(r) for r in rings(Bonds.of(made)) if len(r) != 6)) == sizes:
            return made
    raise AssertionError(f"no bond gives {sizes}")


@cache
def divacancy(turns: int) -> Atoms:
    atoms, _ = made("divacancy 5-8-5", False)
    for sizes in ((5, 5, 5, 7, 7, 7), (5, 5, 5, 5, 7, 7, 7, 7))[:turns]:
        atoms = turned(atoms, sizes)
    return atoms


@pytest.mark.parametrize(("turns", "name"), [(1, "divacancy 555-777"), (2, "divacancy 5555-6-7777")])
@settings(max_examples=10, phases=(Phase.generate,))
@given(angle=st.floats(0, 360), seed=st.integers(0, 1000), heat=heat)
def test_divacancies_with_turned_bonds_have_names(turns: int, name: str, angle: float, seed: int, heat: float) -> None:
    """Three pentagons and three heptagons round an atom, or four of each round a hexagon, are no chain.

    Displaced by 0.08 Å along each axis, one flake in a hundred has a lone pentagon besides.
    """
    atoms = divacancy(turns).copy()
    shaken(atoms, angle, seed, heat)
    names = [one.name for one in defects(Bonds.of(atoms))]
    assert [one for one in names if one != "rings of 5" or heat == WARM] == [name]


def test_a_defect_across_a_border_has_its_middle_there() -> None:
    """Wherever the cell is cut."""
    atoms, centre = made("Stone-Wales 5-7-7-5", True)
    moved = atoms.copy()
    moved.positions += np.asarray(atoms.cell)[0] / 2 + np.asarray(atoms.cell)[1] / 2
    moved.wrap()
    (one,) = defects(Bonds.of(moved))
    apart = np.array(one.centre) - centre - np.asarray(atoms.cell)[0] / 2 - np.asarray(atoms.cell)[1] / 2
    cells = np.linalg.solve(np.asarray(atoms.cell).T, apart)
    assert np.allclose(cells[:2], np.round(cells[:2]), atol=0.03)


def test_two_that_are_apart_are_two() -> None:
    atoms = graphene(size=(14, 14, 1), vacuum=8)
    atoms.pbc = True
    centre = stone_wales(atoms)
    far = int(np.linalg.norm(atoms.positions - np.asarray(atoms.cell)[0] * 0.2 - [0, 0, 8], axis=1).argmin())
    del atoms[far]
    both = defects(Bonds.of(atoms))
    assert {one.name for one in both} == {"Stone-Wales 5-7-7-5", "monovacancy"}
    assert "Stone-Wales 5-7-7-5 at x = " in next(one for one in both if len(one.rings) == 4).describe()
    assert centre is not None
