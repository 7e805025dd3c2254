"""The canonical grid and intensity scale to which every frame is resampled and normalised for the networks.

Pixel sizes differ by a factor of ten between microscopes, and scans are stretched by up to 19 %; resampling every frame
to square pixels of one canonical size was the largest single gain in accuracy on real frames. Intensities are measured
against the contrast of the low-passed lattice, because a scale taken from the raw pixels moves with the dose.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

CANONICAL_PIXEL_SIZE = 0.18
"""Pixel size [Å] of the frames that the networks are trained on and read."""

LATTICE_SIGMA = 0.35
"""Width [Å] of the low-pass that keeps a graphene lattice and removes counting noise."""

BACKGROUND_SIGMA = 1.2
"""Width [Å] of the low-pass that keeps only what varies slower than the lattice: the rims of contamination too, which
would otherwise set the scale of a small frame."""

NEGLIGIBLE_SHEAR = 0.05
"""[Å]; shear that moves nothing further than this over the whole frame is ignored."""

LOW, HIGH = -10.0, 60.0

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Grid:
    """The canonical grid over one image: where each canonical pixel lies in the image."""

    metric: Floats
    """(2, 2) matrix from x, y in the image's pixels to true x, y [Å]."""
    origin: Floats
    """(2,) x, y of canonical pixel (0, 0) [Å]."""
    shape: tuple[int, int]

    @classmethod
    def over(cls, image_shape: tuple[int, int], metric: Floats) -> Grid:
        """Return the smallest grid that holds an image of this shape; for square pixels, pixel edges coincide."""
        rows, columns = image_shape
        metric = np.asarray(metric, dtype=float)
        if (
            abs(metric[0, 1]) * max(image_shape) < NEGLIGIBLE_SHEAR
        ):  # rows and columns apart are much faster to resample
            metric = np.diag(np.diag(metric))
        corners = np.array([[x, y] for x in (-0.5, columns - 0.5) for y in (-0.5, rows - 0.5)]) @ metric.T
        low, high = corners.min(axis=0), corners.max(axis=0)
        size = np.floor((high - low) / CANONICAL_PIXEL_SIZE + 1e-6).astype(int)
        return cls(metric, low + CANONICAL_PIXEL_SIZE / 2, (max(8, int(size[1])), max(8, int(size[0]))))

    @classmethod
    def square(cls, image_shape: tuple[int, int], pixel_size: float) -> Grid:
        """Return the grid over an image of square pixels [Å]."""
        return cls.over(image_shape, pixel_size * np.eye(2))

    def resample(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the image on this grid; what lies beyond the image repeats its border.

        Args:
            pixels: (rows, columns) image.
        """
        source = np.asarray(pixels, dtype=np.float32)
        back = np.linalg.inv(self.metric)
        # canonical (row, column) -> image (row, column): scipy counts rows first
        matrix = (back * CANONICAL_PIXEL_SIZE)[::-1, ::-1]
        offset = (back @ self.origin)[::-1]
        ratio = np.hypot(*matrix.T)  # image pixels per canonical pixel, along each axis of the image
        widths = 0.5 * np.sqrt(np.clip(ratio**2 - 1, 0, None))  # a pixel-wide response to a canonical-pixel-wide one
        if (widths > 0.05).any():
            source = ndimage.gaussian_filter(source, widths)
        off_axis = max(abs(matrix[0, 1]), abs(matrix[1, 0]))
        if off_axis < 1e-9:  # separable, and much faster
            matrix = np.diag(matrix)
        return np.asarray(ndimage.affine_transform(source, matrix, offset, self.shape, order=1, mode="nearest"))

    def to_image(self, canonical: Floats) -> Floats:
        """Map x, y in canonical pixels to x, y in the image's pixels."""
        true = np.asarray(canonical) * CANONICAL_PIXEL_SIZE + self.origin
        return np.asarray(true @ np.linalg.inv(self.metric).T)

    def from_image(self, pixels: Floats) -> Floats:
        """Map x, y in the image's pixels to x, y in canonical pixels."""
        return np.asarray((np.asarray(pixels) @ self.metric.T - self.origin) / CANONICAL_PIXEL_SIZE)

    def maps_on_image(self, maps: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
        """Resample maps on this grid, (maps, rows, columns), to the image's own pixels, linearly.

        Args:
            maps: on this grid.
            shape: rows, columns of the image.
        """
        # image (row, column) -> canonical (row, column)
        matrix = (self.metric / CANONICAL_PIXEL_SIZE)[::-1, ::-1]
        offset = (-self.origin / CANONICAL_PIXEL_SIZE)[::-1]
        if max(abs(matrix[0, 1]), abs(matrix[1, 0])) < 1e-9:  # rows and columns separately: several times faster
            for axis in (0, 1):
                maps = _interpolated(maps, axis + 1, offset[axis] + matrix[axis, axis] * np.arange(shape[axis]))
            return maps

        def transformed(values: NDArray[np.float32]) -> NDArray[np.float32]:
            return np.asarray(ndimage.affine_transform(values, matrix, offset, shape, order=1, mode="nearest"))

        with ThreadPoolExecutor() as threads:
            return np.stack([*threads.map(transformed, maps)])


def _interpolated(maps: NDArray[np.float32], axis: int, at: Floats) -> NDArray[np.float32]:
    """Interpolate linearly along an axis; beyond its ends, the last value is repeated."""
    last = maps.shape[axis] - 1
    at = np.clip(at, 0, last)
    low = np.minimum(at.astype(int), max(last - 1, 0))
    shape = [-1 if k == axis else 1 for k in range(maps.ndim)]
    share = (at - low).astype(np.float32).reshape(shape)
    below, above = np.take(maps, low, axis), np.take(maps, np.minimum(low + 1, last), axis)
    return np.asarray(below + share * (above - below))


def normalise(canonical: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """Return the frame in units of its own lattice contrast, and its noise on that scale.

    Args:
        canonical: (rows, columns) frame on the canonical grid.

    Returns:
        The scaled frame, clipped to [-10, 60], and the standard deviation per pixel of what the low-pass removes.
    """
    low = ndimage.gaussian_filter(canonical, LATTICE_SIGMA / CANONICAL_PIXEL_SIZE, mode="reflect")
    band = low - ndimage.gaussian_filter(low, BACKGROUND_SIGMA / CANONICAL_PIXEL_SIZE, mode="reflect")
    # The 65th percentile of |x| is 0.935 sigma of a normal spread; hot pixels do not move it, and holes over half the
    # frame do not either, where a median would see the hole.
    contrast = float(np.percentile(np.abs(band), 65)) / 0.9346 + 1e-12
    noise = 1.4826 * float(np.median(np.abs(canonical - low))) / contrast
    scaled = np.clip((canonical - np.median(low)) / contrast, LOW, HIGH)
    return scaled.astype(np.float32), noise
