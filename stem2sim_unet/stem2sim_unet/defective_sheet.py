"""Random defective sheets of a material."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase.data import covalent_radii
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from stem2sim_unet.material import Material, column_atoms

if TYPE_CHECKING:
    from stem2sim_unet.recipe import Impurity, Recipe

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass
class Sheet:
    """Columns of atoms in the plane."""

    xy: Floats
    """(columns, 2) from the frame's centre [Å]."""
    species: Ints
    """(columns,) index into the classes."""

    def keep(self, kept: NDArray[np.bool_]) -> None:
        """Drop every other column."""
        self.xy, self.species = self.xy[kept], self.species[kept]

    def drop(self, index: Ints | int) -> None:
        """Drop these columns."""
        self.xy, self.species = np.delete(self.xy, index, axis=0), np.delete(self.species, index)


def random_sheet(recipe: Recipe, width: float, rng: np.random.Generator) -> Sheet:
    """Draw a defective sheet that reaches beyond a frame of this width [Å].

    Args:
        recipe: what may be drawn.
        width: of the frame [Å].
        rng: source of every choice.
    """
    if rng.random() < recipe.empty:
        return Sheet(np.zeros((0, 2)), np.zeros(0, dtype=np.int64))
    half = width * 0.75 + 4
    sheet = _turned(recipe, half, rng)
    if rng.random() < recipe.grain_boundaries:
        sheet = _joined(sheet, _turned(recipe, half, rng), width, 0.8 * recipe.sheet_of.bond_length, rng)
    if rng.random() >= recipe.pristine:
        missing = rng.choice(len(sheet.xy), min(rng.poisson(recipe.vacancies), len(sheet.xy) // 2), replace=False)
        sheet.drop(missing)
        if rng.random() < recipe.holes:
            sheet.keep(_outside_hole(sheet.xy, width, rng))
        for impurity in recipe.impurities:
            _dope(sheet, impurity, recipe, width, rng)
    sheet.xy = sheet.xy + rng.normal(0, recipe.thermal, sheet.xy.shape)
    strain = np.eye(2) * (1 + rng.normal(0, recipe.strain)) + rng.normal(0, recipe.strain, (2, 2))
    sheet.xy = sheet.xy @ strain.T
    return sheet


def _turned(recipe: Recipe, half_width: float, rng: np.random.Generator) -> Sheet:
    material: Material = recipe.sheet_of
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if rng.random() < 0.5:  # a sheet has two faces
        turn = turn @ np.diag([1, -1])
    xy, columns = material.sheet(half_width * 1.45)
    xy = xy @ turn.T + rng.uniform(-1, 1, 2) * material.lattice_constant / 2
    number = {name: k for k, name in enumerate(recipe.species)}
    species = np.array([number[c] for c in columns], dtype=np.int64)
    inside = (np.abs(xy) < half_width).all(axis=1)
    return Sheet(xy[inside], species[inside])


def _joined(left: Sheet, right: Sheet, width: float, least: float, rng: np.random.Generator) -> Sheet:
    """Two grains that meet along a line."""
    angle = rng.uniform(0, 2 * np.pi)
    normal = np.array([np.cos(angle), np.sin(angle)])
    at = rng.uniform(-width / 3, width / 3)
    here, there = left.xy @ normal < at, right.xy @ normal >= at
    sheet = Sheet(
        np.vstack([left.xy[here], right.xy[there]]), np.concatenate([left.species[here], right.species[there]])
    )
    clashes = cKDTree(sheet.xy).query_pairs(least, output_type="ndarray")
    sheet.drop(np.unique(clashes[:, 1]))
    return sheet


def _outside_hole(xy: Floats, width: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """An irregular hole, or (far from its centre) the edge of the sheet."""
    far = rng.random() < 0.3
    centre = rng.uniform(-width / 2, width / 2, 2) * (2.0 if far else 1.0)
    radius = rng.uniform(0.5, 0.9) * width if far else rng.uniform(2.5, 0.45 * width)
    away = xy - centre
    angle = np.arctan2(away[:, 1], away[:, 0])
    phase = rng.uniform(0, 2 * np.pi, 3)
    rim = radius * (
        1
        + 0.2 * np.sin(2 * angle + phase[0])
        + 0.15 * np.sin(3 * angle + phase[1])
        + 0.1 * np.sin(5 * angle + phase[2])
    )
    return np.asarray(np.hypot(away[:, 0], away[:, 1]) > rim)


def _dope(sheet: Sheet, impurity: Impurity, recipe: Recipe, width: float, rng: np.random.Generator) -> None:
    number = recipe.species.index(impurity.species)
    replaceable = range(len(set(recipe.sheet_of.columns)))  # the material's own columns come first among the species
    hosts = [recipe.species.index(impurity.on)] if impurity.on else list(replaceable)
    within = (np.abs(sheet.xy) < width / 2).all(axis=1) & np.isin(sheet.species, hosts)
    inside = np.flatnonzero(within)
    count = rng.poisson(impurity.mean)
    if count and len(inside) > count + 4:
        centres = sheet.xy[rng.choice(inside, count, replace=False)]
        for k, centre in enumerate(centres):
            site = _nearest(sheet.xy, centre)[0]
            host = sheet.species[site]
            sheet.species[site] = number
            if k == 0 and rng.random() < impurity.clustered:
                near = [n for n in _nearest(sheet.xy, centre)[1:8] if sheet.species[n] in hosts]
                sheet.species[near[: rng.integers(1, 4)]] = number
            elif rng.random() < impurity.merged:
                neighbour = _nearest(sheet.xy, sheet.xy[site])[1]
                if sheet.species[neighbour] == host:
                    sheet.xy[site] = (sheet.xy[site] + sheet.xy[neighbour]) / 2
                    sheet.drop(neighbour)
        _push_apart(sheet, number, impurity.species, recipe)
    on_top = rng.poisson(impurity.adatoms)
    if on_top:
        there = rng.uniform(-width / 2, width / 2, (on_top, 2))
        # what lies under a heavier atom cannot be seen
        heavier = cKDTree(there).query(sheet.xy)[0] > HIDING if len(sheet.xy) else np.ones(0, dtype=bool)
        sheet.keep(np.asarray(heavier))
        sheet.xy = np.vstack([sheet.xy, there])
        sheet.species = np.concatenate([sheet.species, np.full(on_top, number)])


HIDING = 0.6
"""[Å]; a lighter column this close to an adatom is hidden by it."""


def _nearest(xy: Floats, point: Floats) -> list[int]:
    return [int(k) for k in np.argsort(np.hypot(*(xy - point).T))[:8]]


def _push_apart(sheet: Sheet, number: int, species: str, recipe: Recipe) -> None:
    """Bonds of a larger atom are longer than those of its host."""
    radius = covalent_radii[max(column_atoms(species))]
    hosts = min(covalent_radii[max(column_atoms(c))] for c in recipe.sheet_of.columns)
    longer = float(np.clip(0.8 * (radius - hosts), 0, 0.35))
    bond = recipe.sheet_of.bond_length
    for site in np.flatnonzero(sheet.species == number):
        away = sheet.xy - sheet.xy[site]
        r = np.hypot(*away.T)
        near = (r > 0.05) & (r < 1.55 * bond)
        push = longer * np.exp(-np.clip(r[near] - bond, 0, None) / 0.6)
        sheet.xy[near] += away[near] / r[near, None] * push[:, None]
