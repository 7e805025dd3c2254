"""The affine map that lays points on others, whatever a few of them do."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FEWEST = 6
"""Points that a stretch is read from; fewer say no more than a shift."""


def registered(here: Floats, there: Floats) -> tuple[Floats, Floats]:
    """Return matrix (2, 2) and offset (2,) that take points (n, 2) to others; bad fits lose weight (Huber)."""
    if len(here) < FEWEST or np.linalg.matrix_rank(here - here.mean(axis=0), tol=1e-3) < 2:
        return np.eye(2), np.median(there - here, axis=0)
    terms = np.column_stack([here, np.ones(len(here))])
    weights = np.ones(len(here))
    for _ in range(10):
        fitted, *_ = np.linalg.lstsq(terms * weights[:, None], there * weights[:, None], rcond=None)
        off = np.hypot(*(there - terms @ fitted).T)
        limit = 1.5 * max(float(np.median(off)), 1e-6)
        weights = np.sqrt(1 / np.maximum(off / limit, 1))
    return np.asarray(fitted[:2].T), np.asarray(fitted[2])


def parts(matrix: Floats) -> tuple[float, float, float]:
    """Return scale, rotation [degrees] and stretch less 1 of an affine map."""
    u, s, v = np.linalg.svd(matrix)
    turned = u @ v
    return float(np.sqrt(s.prod())), float(np.degrees(np.arctan2(turned[1, 0], turned[0, 0]))), float(s[0] / s[1] - 1)
