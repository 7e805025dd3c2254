"""The one grid and the one intensity scale on which the networks see every frame.

Pixel sizes differ by a factor of ten between microscopes; resampling every frame to one canonical pixel size was the
largest single gain in accuracy on real frames. Intensities are measured against the contrast of the low-passed
lattice, because a scale taken from the raw pixels moves with the dose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

CANONICAL_PIXEL_SIZE = 0.15
"""Pixel size [Å] of the frames that the networks are trained on and read."""

LATTICE_SIGMA = 0.35
"""Width [Å] of the low-pass that keeps a graphene lattice and removes counting noise."""

BACKGROUND_SIGMA = 3.0
"""Width [Å] of the low-pass that keeps only what varies slower than the lattice."""

LOW, HIGH = -10.0, 40.0


def resample(pixels: NDArray[np.float32], pixel_size: float) -> NDArray[np.float32]:
    """Return the frame on the canonical grid: same field of view, `CANONICAL_PIXEL_SIZE` [Å] per pixel.

    Args:
        pixels: (rows, columns) frame.
        pixel_size: [Å] per pixel of `pixels`.

    The centre of canonical pixel i lies at (i + 0.5) * CANONICAL_PIXEL_SIZE / pixel_size - 0.5 of the frame's pixels.
    """
    ratio = CANONICAL_PIXEL_SIZE / pixel_size
    source = np.asarray(pixels, dtype=np.float32)
    if ratio > 1:  # anti-alias: the width that takes a pixel-wide response to a canonical-pixel-wide one
        source = ndimage.gaussian_filter(source, 0.5 * np.sqrt(ratio**2 - 1))
    shape = tuple(max(8, int(np.floor(n / ratio))) for n in source.shape)
    grid = [(np.arange(n) + 0.5) * ratio - 0.5 for n in shape]
    rows, columns = np.meshgrid(*grid, indexing="ij")
    return np.asarray(ndimage.map_coordinates(source, (rows, columns), order=1, mode="nearest"))


def to_frame(canonical: NDArray[np.float64], pixel_size: float) -> NDArray[np.float64]:
    """Map canonical pixel coordinates back to the frame's own pixels."""
    return (canonical + 0.5) * (CANONICAL_PIXEL_SIZE / pixel_size) - 0.5


def normalise(canonical: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """Return the frame in units of its own lattice contrast, and its noise on that scale.

    Args:
        canonical: (rows, columns) frame on the canonical grid.

    Returns:
        The scaled frame, clipped to [-10, 40], and the standard deviation per pixel of what the low-pass removes.
    """
    low = ndimage.gaussian_filter(canonical, LATTICE_SIGMA / CANONICAL_PIXEL_SIZE, mode="reflect")
    band = low - ndimage.gaussian_filter(low, BACKGROUND_SIGMA / CANONICAL_PIXEL_SIZE, mode="reflect")
    # The 65th percentile of |x| is 0.935 sigma of a normal spread; hot pixels do not move it, and holes over half the
    # frame do not either, where a median would see the hole. Contamination does: a bright blob over a tenth of a 19 Å
    # frame doubles the scale, and the networks have seen such frames in training.
    contrast = float(np.percentile(np.abs(band), 65)) / 0.9346 + 1e-12
    noise = 1.4826 * float(np.median(np.abs(canonical - low))) / contrast
    scaled = np.clip((canonical - np.median(low)) / contrast, LOW, HIGH)
    return scaled.astype(np.float32), noise
