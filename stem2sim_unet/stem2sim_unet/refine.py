"""All atoms fitted jointly to the frame: Gaussians of one width, each of its own height, on a smooth background."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from stem2sim.imaging.gauss_newton import NormalEquations, Windows, correlation_factor, gauss_newton, standard_deviation
from stem2sim_unet.canonical_grid import CANONICAL_PIXEL_SIZE
from stem2sim_unet.locate import core_means

if TYPE_CHECKING:
    from stem2sim_unet.canonical_grid import Grid

WINDOW = 0.9
"""Radius [Å] around an atom within which its Gaussian counts."""

SMOOTH = 2.5
"""Width [Å] of what counts as background: wider than the lattice."""

STEPS = 6
FURTHEST = 0.3
"""[Å]; an atom that moves further is not fitted, but lost."""

FIRST_WIDTH = 0.5
"""Standard deviation [Å] that the common width starts from."""

MOST_CORRELATED = 6.0
"""Upper limit of the correlation factor of the noise."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class FittedPositions:
    """Positions after the fit, and their uncertainty from the frame's noise."""

    positions: Floats
    """(atoms, 2) x, y [canonical pixels]."""
    std: Floats
    """(atoms,) standard deviation of x, and of y [Å]; infinite where the fit failed."""
    width: float
    """Standard deviation of every atom's Gaussian [Å]."""


def fit(frame: NDArray[np.float32], positions: Floats) -> FittedPositions:
    """Fit every atom of a frame, all together.

    Args:
        frame: (rows, columns) canonical frame.
        positions: (atoms, 2) x, y to start from [canonical pixels].

    Fits of one atom at a time, in a window of its own, are worse than the networks' own centres.
    """
    model = _Gaussians(frame, positions)
    gauss_newton(model, STEPS)
    return model.fit()


class _Gaussians:
    """Gaussians of one width, each of its own height, on a background that is smoothed from the residual."""

    def __init__(self, frame: NDArray[np.float32], positions: Floats) -> None:
        self.frame, self.start, self.xy = frame, positions, positions.copy()
        self.width = FIRST_WIDTH / CANONICAL_PIXEL_SIZE
        at_start = ndimage.map_coordinates(frame, self.xy[:, ::-1].T, order=1, mode="nearest")
        self.heights = np.maximum(at_start - frame.min(), 0.1)
        self.background = np.full(frame.shape, float(np.percentile(frame, 5)))
        shape = (int(frame.shape[0]), int(frame.shape[1]))
        self.windows = Windows.around(shape, self.xy, WINDOW / CANONICAL_PIXEL_SIZE)
        self.residual, self.slope_x = self.background, np.zeros(len(self.windows.pixels))

    def equations(self) -> NormalEquations:
        windows, frame = self.windows, self.frame
        dx, dy = windows.offsets(self.xy)
        shape = np.exp(-0.5 * (dx**2 + dy**2) / self.width**2)
        value = self.heights[windows.peaks] * shape
        model = np.bincount(windows.pixels, value, frame.size).reshape(frame.shape) + self.background
        residual = frame - model
        self.background += ndimage.gaussian_filter(residual, SMOOTH / CANONICAL_PIXEL_SIZE)
        slope_x, slope_y = value * dx / self.width**2, value * dy / self.width**2
        wider = np.bincount(windows.pixels, value * (dx**2 + dy**2) / self.width**3, frame.size)
        columns = [windows.columns(values) for values in (shape, slope_x, slope_y)]
        jacobian = sparse.hstack([*columns, sparse.csc_matrix(wider[:, None])], format="csc")
        equations = NormalEquations.of(jacobian, residual.ravel())
        equations.damping = 1e-3 * equations.diagonal + 1e-9
        self.residual, self.slope_x = residual, slope_x
        return equations

    def advance(self, change: Floats) -> bool:
        n = len(self.xy)
        self.heights = np.maximum(self.heights + change[:n], 1e-3)
        self.xy += np.clip(np.column_stack([change[n : 2 * n], change[2 * n : 3 * n]]), -1, 1)
        self.width = float(np.clip(self.width + np.clip(change[-1], -0.3, 0.3), 1.0, 6.0))
        return False

    def fit(self) -> FittedPositions:
        """Return positions and their error bars; atoms that moved too far or faded stay where they started."""
        # resampled pixels share their noise with their neighbours
        correlation = correlation_factor(self.residual - ndimage.uniform_filter(self.residual, 9), MOST_CORRELATED)
        noise = self.windows.noise(self.residual.ravel()) * correlation
        std = standard_deviation(noise, self.windows.total(self.slope_x**2)) * CANONICAL_PIXEL_SIZE
        xy = self.xy.copy()
        moved = np.hypot(*(xy - self.start).T) * CANONICAL_PIXEL_SIZE
        lost = (moved > FURTHEST) | (self.heights <= 0.05 * np.median(self.heights))
        xy[lost], std[lost] = self.start[lost], np.inf
        return FittedPositions(xy, std, self.width * CANONICAL_PIXEL_SIZE)


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
