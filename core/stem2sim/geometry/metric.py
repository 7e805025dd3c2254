"""The metric of a sheet of atoms, from the distances of neighbours: scale, stretch and shear."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Floats = NDArray[np.float64]


FEWEST_BONDS = 24
"""Bonds that a metric is read from; its three numbers then have an error of a per cent or two."""


A_BOND = 0.25
"""Within this share of its length a distance is a bond; the mean of their middle third is the scale. Atoms that the
frame's border cuts, or that were found twice, lie on one side, impurities on the other."""


def metric_by_neighbours(positions: Floats, metric: Floats, bond_length: float) -> Floats | None:
    """Return the metric in which neighbours are one bond length apart; None where there are too few of them.

    Args:
        positions: (atoms, 2) x, y in pixels.
        metric: (2, 2) symmetric first guess, from pixels to Å.
        bond_length: of the material in projection [Å].

    Each vector v must obey v·M·v = length², which is linear in M, the square of the metric. It is asked for on average
    in every direction: least squares would shrink the metric, as noise of v stands on both sides. Bonds that stay more
    than 12 % off (defects, edges, strays) have no say.

    Bonds come first, because their length distinguishes them from all else. But where the two sites of the honeycomb
    are seen a little aside of each other, as Mo and S2 are, three bonds take that for a stretch. So the stretch is read
    from atoms that have a neighbour in common, which are one lattice vector apart, and only the scale from bonds.
    """
    if len(positions) < 4:
        return None
    _, near = cKDTree(positions @ metric.T).query(positions @ metric.T, k=4)
    bonds = positions[near[:, 1:]] - positions[:, None]
    vectors = bonds.reshape(-1, 2)
    best = metric
    for reach in (0.35, 0.25, 0.18, 0.12, 0.12):
        lengths = np.linalg.norm(vectors @ best.T, axis=1) / bond_length
        # the scale first: a guess that is far off would call every bond a defect
        typical = float(np.median(lengths[np.abs(lengths - np.median(lengths)) < 0.3])) if reach == 0.35 else 1.0
        stepped = _metric_step(vectors[np.abs(lengths / typical - 1) < reach], best, bond_length)
        if stepped is None:
            return None
        best = stepped
    one, two = np.array([(0, 1), (0, 2), (1, 2)]).T
    good = np.abs(np.linalg.norm(bonds @ best.T, axis=2) / bond_length - 1) < 0.12
    periods = (bonds[:, one] - bonds[:, two])[good[:, one] & good[:, two]]
    for _ in range(3):
        lengths = np.linalg.norm(periods @ best.T, axis=1) / (np.sqrt(3) * bond_length)
        stepped = _metric_step(periods[np.abs(lengths - 1) < 0.12], best, np.sqrt(3) * bond_length)
        if stepped is None:
            return None
        best = stepped
    lengths = np.linalg.norm(vectors @ best.T, axis=1) / bond_length
    lengths = np.sort(lengths[np.abs(lengths - 1) < A_BOND])
    outer = len(lengths) // 3
    return np.asarray(best / lengths[outer : len(lengths) - outer].mean())


def _metric_step(vectors: Floats, metric: Floats, length: float) -> Floats | None:
    """A metric in which vectors (n, 2) have this mean length [Å] in every direction, or None if they cannot tell."""
    if len(vectors) < FEWEST_BONDS:
        return None
    terms = np.column_stack([vectors[:, 0] ** 2, 2 * vectors[:, 0] * vectors[:, 1], vectors[:, 1] ** 2])
    # a vector's own length has no part in its weight, and its length counts, not the square, which noise adds more to:
    # Newton's step for mean length = length, as |v| + v·dM·v / 2|v|
    now = np.linalg.norm(vectors @ metric.T, axis=1)
    weights = terms / now[:, None] ** 2
    normal = weights.T @ (terms / now[:, None])
    if np.linalg.matrix_rank(normal) < 3:  # all in a row say nothing about the other directions
        return None
    square = np.linalg.solve(normal, weights.T @ (2 * length - now))
    values, axes = np.linalg.eigh(np.array([[square[0], square[1]], [square[1], square[2]]]))
    if values[0] <= 0:
        return None
    return np.asarray((axes * np.sqrt(values)) @ axes.T)
