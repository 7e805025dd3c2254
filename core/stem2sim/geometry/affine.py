"""Affine maps of the plane, and the one that lays points on others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FEWEST = 6
"""Points that a robust fit needs: fewer cannot outvote an outlier."""

FLAT = 1e-3
"""[Å]; points that scatter less than this across a line lie on it."""


@dataclass(frozen=True)
class Affine:
    """The map of points of the plane: matrix · point + offset."""

    matrix: Floats
    """(2, 2)"""
    offset: Floats
    """(2,)"""

    def apply(self, points: Floats) -> Floats:
        """Return where points (n, 2) are mapped to."""
        return np.asarray(points @ self.matrix.T + self.offset)

    def undo(self, points: Floats) -> Floats:
        """Return the points (n, 2) that are mapped to these."""
        return np.asarray(np.linalg.solve(self.matrix, (points - self.offset).T).T)

    def parts(self) -> tuple[float, float, float]:
        """Return scale, rotation [degrees] and stretch less 1."""
        u, s, v = np.linalg.svd(self.matrix)
        turned = u @ v
        angle = float(np.degrees(np.arctan2(turned[1, 0], turned[0, 0])))
        return float(np.sqrt(s.prod())), angle, float(s[0] / s[1] - 1)


def span_plane(points: Floats) -> bool:
    """Return whether points (n, 2) [Å] fix an affine map: at least three that are not on one line."""
    return len(points) > 2 and bool(np.linalg.matrix_rank(points - points.mean(axis=0), tol=FLAT) == 2)


def fit_affine(points: Floats, onto: Floats, robust: bool = False) -> Affine:
    """Return the affine map that lays points on others by least squares.

    Points that fix no such map, or fewer than six in a robust fit, are only shifted: by the mean distance, or the
    median in a robust fit.

    Args:
        points: (n, 2) [Å], at least one.
        onto: (n, 2) where each of them belongs [Å].
        robust: whether points that fit badly lose weight (Huber).
    """
    if not span_plane(points) or (robust and len(points) < FEWEST):
        return Affine(np.eye(2), (np.median if robust else np.mean)(onto - points, axis=0))
    terms = np.column_stack([points, np.ones(len(points))])
    weights = np.ones(len(points))
    for _ in range(10 if robust else 1):
        fitted, *_ = np.linalg.lstsq(terms * weights[:, None], onto * weights[:, None], rcond=None)
        off = np.hypot(*(onto - terms @ fitted).T)
        limit = 1.5 * max(float(np.median(off)), 1e-6)
        weights = np.sqrt(1 / np.maximum(off / limit, 1))
    return Affine(np.asarray(fitted[:2].T), np.asarray(fitted[2]))
