"""Where a structure lies in its image, after it was scaled, stretched and moved into a cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stem2sim.errors import BadInput
from stem2sim.geometry.affine import Affine, fit_affine, span_plane
from stem2sim.geometry.bonds import Bonds
from stem2sim.geometry.columns import ADDED
from stem2sim.geometry.pairs import SLACK

if TYPE_CHECKING:
    from ase import Atoms

    from stem2sim.segmentation import Segmentation

Floats = NDArray[np.float64]

LONGEST = 1.6
"""Longest bond of a sheet in the image, over the length that a quarter of the bonds is below."""


def in_frame(atoms: Atoms, segmentation: Segmentation) -> Affine:
    """Return the map from x, y in a structure [Å] to x, y in its image [Å], fitted to its measured atoms.

    The identity where that cannot be known: atoms that were not measured, or a periodic cell, in which atoms may have
    been moved to the other side.
    """
    source = atoms.arrays.get("source", np.full(len(atoms), ADDED))
    known = source >= 0
    if atoms.pbc.any() or not known.any() or source.max() >= len(segmentation.atoms):
        return Affine(np.eye(2), np.zeros(2))
    return fit_affine(atoms.positions[known, :2], segmentation.atoms.positions[source[known]])


def laid_out(built: Atoms, segmentation: Segmentation) -> tuple[Affine, Floats]:
    """Return how a structure lies in its image, and what unwraps it in a periodic cell: (atoms, 3) to add [Å].

    Raises:
        BadInput: no atom of it was measured, or too few in a periodic cell.
    """
    source = built.arrays.get("source", np.full(len(built), ADDED))
    known = source >= 0
    if not known.any() or source.max() >= len(segmentation.atoms):
        raise BadInput("the structure's place in the image is not known: none of its atoms was found in the image")
    moved = np.zeros((len(built), 3))
    if not built.pbc.any():
        return in_frame(built, segmentation), moved
    i, j, shift, vectors = Bonds.of(built).pairs
    there = np.zeros((len(built), 2))
    there[known] = segmentation.atoms.positions[source[known]]
    between = there[j] - there[i]
    long = np.hypot(*between.T)
    whole = ~shift.any(axis=1) & known[i] & known[j] & (long > 0)
    if whole.any():  # what the cell joins may lie at opposite sides of the image
        whole &= long < LONGEST * np.quantile(long[whole], 0.25)
    if not span_plane(vectors[whole, :2]):
        raise BadInput(
            "the structure's place in the image is not known: the bonds between its measured atoms span no plane"
        )
    turned = fit_affine(vectors[whole, :2], between[whole]).matrix  # bonds are there both ways: no offset
    away = there - built.positions[:, :2] @ turned.T
    flat = np.asarray(built.cell)[:2]
    share = np.linalg.solve((flat[:, :2] @ turned.T).T, away.T).T
    # as angles: however the borders part the atoms, all lie one way but for whole cells
    offset = np.angle(np.exp(2j * np.pi * share[known]).mean(axis=0)) / (2 * np.pi)
    cells = np.rint(share - offset)
    commonest, count = np.unique(cells[known], axis=0, return_counts=True)
    cells -= commonest[count.argmax()]
    cells[~known] = 0
    moved = cells @ flat
    whole_sheet = built.copy()
    whole_sheet.pbc = False
    whole_sheet.positions += moved
    return in_frame(whole_sheet, segmentation), moved


def check_within(point: NDArray[np.float64] | tuple[float, float], xy: Floats) -> None:
    """Raise BadInput where a point [Å] lies outside the rectangle that atoms at x, y (n, 2) [Å] span."""
    at, low, high = np.asarray(point, dtype=float), xy.min(axis=0), xy.max(axis=0)
    if (at < low - SLACK).any() or (at > high + SLACK).any():
        raise BadInput(
            f"center ({at[0]:.1f}, {at[1]:.1f}) Å is outside the atoms, which span x {low[0]:.1f} to {high[0]:.1f} Å "
            f"and y {low[1]:.1f} to {high[1]:.1f} Å"
        )
