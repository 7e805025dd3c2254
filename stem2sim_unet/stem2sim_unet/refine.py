"""All atoms fitted jointly to the frame: Gaussians of one width, each of its own height, on a smooth background."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse.linalg import splu

from stem2sim_unet.canonical import CANONICAL_PIXEL_SIZE
from stem2sim_unet.locate import core_means

if TYPE_CHECKING:
    from stem2sim_unet.canonical import Grid

WINDOW = 0.9
"""Radius [Å] around an atom within which its Gaussian counts."""

SMOOTH = 2.5
"""Width [Å] of what counts as background: wider than the lattice."""

STEPS = 6
FURTHEST = 0.3
"""[Å]; an atom that moves further is not fitted, but lost."""

FIRST_WIDTH = 0.5
"""Standard deviation [Å] that the common width starts from."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Fit:
    """Positions after the fit, and how sure the frame's noise lets them be."""

    positions: Floats
    """(atoms, 2) x, y [canonical pixels]."""
    std: Floats
    """(atoms,) standard deviation of x, and of y [Å]; infinite where the fit failed."""
    width: float
    """Standard deviation of every atom's Gaussian [Å]."""


def fit(frame: NDArray[np.float32], positions: Floats) -> Fit:
    """Fit every atom at once by Gauss-Newton steps (sparse: only neighbours overlap).

    Args:
        frame: (rows, columns) canonical frame.
        positions: (atoms, 2) x, y to start from [canonical pixels].

    One after the other would pull each atom towards its neighbours' tails, which is what makes fits of single windows
    worse than the networks' own centres.
    """
    n = len(positions)
    xy = positions.copy()
    width = FIRST_WIDTH / CANONICAL_PIXEL_SIZE
    heights = np.maximum(ndimage.map_coordinates(frame, xy[:, ::-1].T, order=1, mode="nearest") - frame.min(), 0.1)
    background = np.full(frame.shape, float(np.percentile(frame, 5)))
    pixels, atoms = _windows(frame.shape, xy)
    rows, columns = np.divmod(pixels, frame.shape[1])
    covered = np.unique(pixels)
    place = np.zeros(frame.size, dtype=np.int64)
    place[covered] = np.arange(len(covered))
    line = place[pixels]
    std = np.full(n, np.inf)
    for step in range(STEPS):
        dx, dy = columns - xy[atoms, 0], rows - xy[atoms, 1]
        shape = np.exp(-0.5 * (dx**2 + dy**2) / width**2)
        value = heights[atoms] * shape
        model = np.bincount(pixels, value, frame.size).reshape(frame.shape) + background
        left = frame - model
        background += ndimage.gaussian_filter(left, SMOOTH / CANONICAL_PIXEL_SIZE)
        left = left.ravel()[covered]
        parts = (shape, value * dx / width**2, value * dy / width**2)
        jacobian = sparse.csc_matrix(
            (np.concatenate(parts), (np.tile(line, 3), np.concatenate([atoms, atoms + n, atoms + 2 * n]))),
            shape=(len(covered), 3 * n),
        )
        wider = np.bincount(line, value * (dx**2 + dy**2) / width**3, len(covered))
        jacobian = sparse.hstack([jacobian, sparse.csc_matrix(wider[:, None])], format="csc")
        normal = (jacobian.T @ jacobian).tocsc()
        diagonal = normal.diagonal()
        solver = splu(normal + sparse.diags(1e-3 * diagonal + 1e-9))
        change = solver.solve(jacobian.T @ left)
        heights = np.maximum(heights + change[:n], 1e-3)
        xy += np.clip(np.column_stack([change[n : 2 * n], change[2 * n : 3 * n]]), -1, 1)
        width = float(np.clip(width + np.clip(change[-1], -0.3, 0.3), 1.0, 6.0))
        if step == STEPS - 1:
            # the noise around each atom decides how sure its position is; neighbours' overlap is in the normal matrix
            around = np.bincount(atoms, left[line] ** 2, n) / np.maximum(np.bincount(atoms, minlength=n), 1)
            # the noise of resampled pixels is shared between neighbours
            variance = around * _shared(frame - model) / np.maximum(diagonal[n : 2 * n], 1e-12)
            std = np.sqrt(variance) * CANONICAL_PIXEL_SIZE
    moved = np.hypot(*(xy - positions).T) * CANONICAL_PIXEL_SIZE
    lost = (moved > FURTHEST) | (heights <= 0.05 * np.median(heights))
    xy[lost], std[lost] = positions[lost], np.inf
    return Fit(xy, std, width * CANONICAL_PIXEL_SIZE)


def expected_std(pixels: NDArray[np.float32], grid: Grid, positions: Floats) -> float:
    """Return the position error [Å] that a fit of one atom would have from the frame's counting noise alone.

    Args:
        pixels: (rows, columns) image as it was read; its finest detail is noise, as no probe is that sharp.
        grid: the canonical grid over it.
        positions: (atoms, 2) x, y [canonical pixels].

    For a Gaussian of height A under white noise s per pixel, the least variance of x is 2 s² / (pi A²) pixels
    (Cramér-Rao); the noise is that of Immerkaer, Comput. Vis. Image Underst. 64, 300 (1996).
    """
    mask = np.outer([1.0, -2.0, 1.0], [1.0, -2.0, 1.0])
    noise = np.sqrt(np.pi / 2) / 6 * float(np.abs(ndimage.convolve(pixels, mask)).mean())
    canonical = grid.resample(pixels)
    height = float(np.median(core_means(canonical, positions))) - float(np.percentile(canonical, 10))
    pixel_size = float(np.sqrt(np.linalg.det(grid.metric)))
    return float(np.sqrt(2 / np.pi) * noise / max(height, 1e-12) * pixel_size)


def _windows(shape: tuple[int, ...], xy: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Flat pixel numbers within each atom's window, and the atom of each."""
    radius = WINDOW / CANONICAL_PIXEL_SIZE
    steps = np.arange(-np.ceil(radius), np.ceil(radius) + 1)
    around = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    around = around[np.hypot(*around.T) <= radius]
    at = (np.rint(xy)[:, None] + around).astype(np.int64)
    inside = ((at >= 0) & (at < np.array(shape[::-1]))).all(axis=2)
    atoms = np.broadcast_to(np.arange(len(xy))[:, None], inside.shape)[inside]
    at = at[inside]
    return at[:, 1] * shape[1] + at[:, 0], atoms


def _shared(left: Floats) -> float:
    """How much more the sum of neighbouring pixels varies than independent ones would: 1 for white noise."""
    rough = left - ndimage.uniform_filter(left, 9)
    total = float((rough**2).mean())
    if total <= 0:
        return 1.0
    lags = [(0, 1), (1, 0), (1, 1), (1, -1)]
    together = sum(float((rough * np.roll(rough, lag, (0, 1))).mean()) for lag in lags)
    return float(np.clip(1 + 2 * together / total, 1.0, 6.0))
