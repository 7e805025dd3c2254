"""Gauss-Newton fits of all peaks of a frame together: what such fits share, whatever the shape of their peaks.

Fitted one after the other, each peak would be pulled towards the tails of its neighbours. Only neighbours overlap, so
the normal equations are sparse.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


class PeakModel(Protocol):
    """Peaks on a background: the parameters of a fit."""

    def equations(self) -> NormalEquations:
        """Return the normal equations at the current parameters, damping and priors included."""

    def advance(self, change: Floats) -> bool:
        """Change the parameters; return whether the step was small enough to be the last."""


def gauss_newton(model: PeakModel, steps: int) -> None:
    """Fit a model by at most so many Gauss-Newton steps."""
    for _ in range(steps):
        if model.advance(model.equations().solve()):
            return


@dataclass
class NormalEquations:
    """The linear least-squares problem of one step."""

    matrix: sparse.csc_matrix
    """(parameters, parameters)"""
    right: Floats
    """(parameters,) right-hand side."""
    damping: Floats | float = 0.0
    """(parameters,) added to the diagonal."""

    @classmethod
    def of(cls, jacobian: sparse.csc_matrix, residual: Floats, weights: Floats | None = None) -> NormalEquations:
        """Return the equations of a linearised model.

        Args:
            jacobian: (pixels, parameters).
            residual: (pixels,) frame minus model.
            weights: (pixels,); all equal if omitted.
        """
        if weights is None:
            return cls((jacobian.T @ jacobian).tocsc(), jacobian.T @ residual)
        weighted = jacobian.T.multiply(weights)
        return cls((weighted @ jacobian).tocsc(), jacobian.T @ (weights * residual))

    @property
    def diagonal(self) -> Floats:
        """(parameters,) of the matrix, without damping."""
        return np.asarray(self.matrix.diagonal())

    def solve(self) -> Floats:
        """Return the change of each parameter, (parameters,).

        Raises:
            RuntimeError: the matrix is singular.
        """
        damped = self.matrix + sparse.diags(np.broadcast_to(self.damping, self.right.shape))
        # the matrix is symmetric and positive definite, which SuperLU uses to save time
        solver = splu(
            damped.tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
        )
        return np.asarray(solver.solve(self.right))


@dataclass(frozen=True)
class Windows:
    """The pixels around each peak: one entry for each pair of a peak and a pixel."""

    at: NDArray[np.int64]
    """(pairs, 2) column, row of the pixel."""
    peaks: NDArray[np.int64]
    """(pairs,) number of the peak."""
    pixels: NDArray[np.int64]
    """(pairs,) number of the pixel, row by row."""
    shape: tuple[int, int]
    """Rows, columns of the frame."""
    count: int
    """Number of peaks."""
    pixel_size: float

    @classmethod
    def around(cls, shape: tuple[int, int], positions: Floats, radius: float, pixel_size: float = 1.0) -> Windows:
        """Return the pixels within a distance of the pixel that is nearest to each peak.

        Args:
            shape: rows, columns of the frame.
            positions: (peaks, 2) x, y from the centre of the top-left pixel.
            radius: in units of the positions.
            pixel_size: in the same units.
        """
        furthest = int(np.ceil(radius / pixel_size))
        steps = np.arange(-furthest, furthest + 1)
        offsets = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
        offsets = offsets[np.hypot(*offsets.T) * pixel_size <= radius]
        at = np.rint(positions / pixel_size).astype(np.int64)[:, None] + offsets
        inside = ((at >= 0) & (at < np.array(shape[::-1]))).all(axis=2)
        peaks = np.broadcast_to(np.arange(len(positions))[:, None], inside.shape)[inside]
        at = at[inside]
        return cls(at, peaks, at[:, 1] * shape[1] + at[:, 0], shape, len(positions), pixel_size)

    def offsets(self, positions: Floats) -> tuple[Floats, Floats]:
        """Return x and y, (pairs,) each, of each pixel from its peak's position."""
        away = self.at * self.pixel_size - positions[self.peaks]
        return away[:, 0], away[:, 1]

    def columns(self, values: Floats, near: NDArray[np.bool_] | None = None) -> sparse.csc_matrix:
        """Return a Jacobian (pixels of the frame, peaks).

        Args:
            values: (pairs,) slope of the model at each pixel.
            near: (pairs,) which pairs to use; all if omitted.
        """
        peaks, pixels = (self.peaks, self.pixels) if near is None else (self.peaks[near], self.pixels[near])
        values = values if near is None else values[near]
        return sparse.csc_matrix((values, (pixels, peaks)), shape=(self.shape[0] * self.shape[1], self.count))

    def total(self, values: Floats) -> Floats:
        """Return the sum over the pixels of each peak, (peaks,), of one value (pairs,) for each pair."""
        return np.asarray(np.bincount(self.peaks, values, self.count))

    def noise(self, residual: Floats, near: NDArray[np.bool_] | None = None) -> Floats:
        """Return the mean square of the residual around each peak, (peaks,).

        Args:
            residual: (pixels,) frame minus model, row by row.
            near: (pairs,) which pairs to use; all if omitted.
        """
        peaks, pixels = (self.peaks, self.pixels) if near is None else (self.peaks[near], self.pixels[near])
        squares = np.bincount(peaks, residual[pixels] ** 2, self.count)
        return np.asarray(squares / np.maximum(np.bincount(peaks, minlength=self.count), 1))


def standard_deviation(noise: Floats, information: Floats) -> Floats:
    """Return the standard deviation of a parameter of each peak, (peaks,).

    Args:
        noise: (peaks,) variance of the residual around each peak, times its `correlation_factor`.
        information: (peaks,) sum over the pixels of the squared slope of the model with that parameter.
    """
    return np.sqrt(noise / np.maximum(information, 1e-12))


def correlation_factor(residual: Floats, largest: float) -> float:
    """Return how much more sums over neighbouring pixels vary than those of white noise: 1 for white noise.

    Args:
        residual: (rows, columns) frame minus model.
        largest: upper limit of what is returned; a model that misses something leaves correlated residuals too.
    """
    total = float((residual**2).mean())
    if total <= 0:
        return 1.0
    lags = [(0, 1), (1, 0), (1, 1), (1, -1)]
    shared = sum(float((residual * np.roll(residual, lag, (0, 1))).mean()) for lag in lags)
    return float(np.clip(1 + 2 * shared / total, 1.0, largest))
