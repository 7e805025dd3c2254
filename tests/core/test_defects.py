"""Named defects, built by hand into graphene that is turned, rippled and warm."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase.build import graphene
from ase.neighborlist import neighbor_list
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from stem2sim.bonds import neighbours
from stem2sim.defects import Defect, defects

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms

WARM = 0.08 / np.sqrt(3)
"""[Å] along each axis, 0.08 Å in all: what carbon moves in graphene at room temperature."""


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
    other = neighbours(atoms)[one][0]
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
        a, b, far, d = neighbor_list("ijSd", atoms, 2.4)
        bonded = set(zip(i.tolist(), j.tolist(), strict=True))
        crowd = np.array([pair not in bonded for pair in zip(a.tolist(), b.tolist(), strict=True)], dtype=bool) & (
            d > 0
        )
        step = np.zeros_like(atoms.positions)
        for one, other, cells, length, weight in ((i, j, shift, 1.42, 0.2), (a[crowd], b[crowd], far[crowd], 2.4, 0.1)):
            apart = atoms.positions[other] - atoms.positions[one] + cells @ np.asarray(atoms.cell)
            distance = np.linalg.norm(apart, axis=1)
            np.add.at(step, one, weight * ((distance - length) / distance)[:, None] * apart)
        atoms.positions += step


def remove(atoms: Atoms, count: int) -> np.ndarray:
    """Take an atom out, or two that are bonded; return where."""
    one = middle(atoms)
    gone = [one, neighbours(atoms)[one][0]][:count]
    centre = atoms.positions[gone].mean(axis=0)
    del atoms[gone]
    return centre


def close(atoms: Atoms, centre: np.ndarray, pairs: int) -> None:
    """Bond atoms with two neighbours, pair by pair along the rim, as a vacancy reconstructs."""
    loose = [k for k, near in enumerate(neighbours(atoms)) if len(near) == 2]
    loose = [k for k in loose if np.linalg.norm(atoms.positions[k] - centre) < 4]
    bonded = []
    for _ in range(pairs):
        gaps = [(np.linalg.norm(atoms.positions[a] - atoms.positions[b]), a, b) for a in loose for b in loose if a < b]
        _, a, b = min(gaps)
        bonded += [(a, b), (b, a)]
        loose = [k for k in loose if k not in (a, b)]
    if bonded:
        relax(atoms, bonded)


def shaken(atoms: Atoms, angle: float, seed: int) -> None:
    """Turn the sheet, ripple it, and displace every atom."""
    rng = np.random.default_rng(seed)
    x, y = atoms.positions[:, 0], atoms.positions[:, 1]
    atoms.positions[:, 2] += 0.4 * np.sin(2 * np.pi * x / 9) * np.cos(2 * np.pi * y / 11)
    atoms.positions += rng.normal(scale=WARM, size=(len(atoms), 3))
    atoms.rotate(angle, "z", center=(0, 0, 0), rotate_cell=True)


def found_at(atoms: Atoms, centre: np.ndarray, angle: float) -> Defect:
    (one,) = defects(atoms)
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
@settings(max_examples=15, phases=(Phase.generate,))
@given(angle=st.floats(0, 360), seed=st.integers(0, 1000), periodic=st.booleans())
def test_each_is_found_where_it_is(name: str, angle: float, seed: int, periodic: bool) -> None:
    """Turned, rippled and warm, in a cell or as a flake: one defect, by its name, in its place."""
    start, centre = made(name, periodic)
    atoms = start.copy()
    shaken(atoms, angle, seed)
    assert found_at(atoms, centre, angle).name == name


@settings(max_examples=50, phases=(Phase.generate,))
@given(angle=st.floats(0, 360), seed=st.integers(0, 10**6), periodic=st.booleans())
def test_perfect_sheets_have_none(angle: float, seed: int, periodic: bool) -> None:
    atoms = sheet(periodic)
    shaken(atoms, angle, seed)
    assert defects(atoms) == []


def test_silicon_in_the_place_of_carbon_is_told_with_its_neighbours() -> None:
    """Of one carbon: three neighbours; of two: four. The host's rings stay as they are, or open."""
    atoms = sheet()
    place = middle(atoms)
    atoms.symbols[place] = "Si"
    (one,) = defects(atoms)
    assert one.name == "Si with 3 neighbours"
    assert one.atoms == (place,)
    atoms = sheet()
    centre = remove(atoms, 2)
    atoms.append("Si")
    atoms.positions[-1] = centre
    (four,) = [one for one in defects(atoms) if "Si" in one.name]
    assert four.name == "Si with 4 neighbours"
    assert np.allclose(four.centre, centre)


def test_a_wide_hole_is_a_hole_and_swallows_nothing() -> None:
    """What lies beside it keeps its name."""
    atoms = graphene(size=(14, 14, 1), vacuum=8)
    atoms.pbc = True
    far = np.asarray(atoms.cell).sum(axis=0) * [0.25, 0.25, 0.5]
    centre = stone_wales(atoms)
    gone = np.flatnonzero(np.linalg.norm(atoms.positions - far, axis=1) < 3.5)
    del atoms[gone]
    names = {one.name.split(" of")[0]: one for one in defects(atoms)}
    assert set(names) == {"hole", "Stone-Wales 5-7-7-5"}
    assert np.linalg.norm(np.array(names["Stone-Wales 5-7-7-5"].centre) - centre) < 0.3
    assert np.linalg.norm(np.array(names["hole"].centre) - far) < 1.0


def test_two_that_are_apart_are_two() -> None:
    atoms = graphene(size=(14, 14, 1), vacuum=8)
    atoms.pbc = True
    centre = stone_wales(atoms)
    far = int(np.linalg.norm(atoms.positions - np.asarray(atoms.cell)[0] * 0.2 - [0, 0, 8], axis=1).argmin())
    del atoms[far]
    assert {one.name for one in defects(atoms)} == {"Stone-Wales 5-7-7-5", "monovacancy"}
    assert "Stone-Wales 5-7-7-5 at x = " in next(one for one in defects(atoms) if len(one.rings) == 4).told()
    assert centre is not None
