"""What the networks make of one image, on one grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from stem2sim.structure import CLOSEST
from stem2sim_unet.canonical import CANONICAL_PIXEL_SIZE, Grid, normalise
from stem2sim_unet.locate import Detections, locate

if TYPE_CHECKING:
    from stem2sim.image import Image
    from stem2sim_unet.ensemble import Ensemble, Prediction

Floats = NDArray[np.float64]

DIRT = 2.5
"""Intensity in units of the lattice's contrast, averaged over the surroundings, above which there is contamination."""

SURROUNDINGS = 2.5
"""[Å]; a single silicon or chromium atom stays under `DIRT` over this width."""


def contaminated(frame: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return where a normalised canonical frame (rows, columns) shows contamination."""
    return np.asarray(ndimage.gaussian_filter(frame, SURROUNDINGS / CANONICAL_PIXEL_SIZE) > DIRT)


@dataclass(frozen=True)
class Seen:
    """One look at an image."""

    grid: Grid
    frame: NDArray[np.float32]
    """(rows, columns) normalised, on the grid."""
    noise: float
    prediction: Prediction
    found: Detections
    probability: Floats
    """(atoms,) calibrated, that there is an atom."""
    dirty: NDArray[np.bool_]
    """(rows, columns) where there is contamination."""

    @property
    def covered(self) -> NDArray[np.bool_]:
        """(atoms,) which of them lie under contamination."""
        column, row = np.clip(np.rint(self.found.positions), 0, np.array(self.frame.shape[::-1]) - 1).astype(int).T
        return np.asarray(self.dirty[row, column])

    @property
    def clean(self) -> Detections:
        """What is more likely an atom than not, and not under contamination."""
        return self.found.chosen((self.probability >= 0.5) & ~self.covered)


def see(ensemble: Ensemble, image: Image, metric: Floats, members: int | None = None) -> Seen:
    """Look at an image laid on the canonical grid.

    Args:
        ensemble: calibrated members.
        image: the frame.
        metric: (2, 2) matrix from x, y in pixels to true x, y [Å].
        members: how many of the networks look; all of them if left out.
    """
    assert ensemble.card.confidence is not None
    grid = Grid.over(image.shape, metric)
    frame, noise = normalise(grid.resample(image.pixels))
    prediction = ensemble.predict(frame, members)
    # atoms must be apart at the given pixel size too
    separation = CLOSEST * max(1.0, float(np.linalg.svd(metric, compute_uv=False).max()) / image.pixel_size)
    found = locate(prediction, separation * 1.001, frame, len(ensemble.card.hosts))
    pixels = grid.to_image(found.positions)
    inside = (pixels > -0.5) & (pixels < np.array(image.shape[::-1]) - 0.5)
    found = found.chosen(np.asarray(inside.all(axis=1), dtype=bool))
    probability = ensemble.card.confidence.probability(found, noise)
    return Seen(grid, frame, noise, prediction, found, probability, contaminated(frame))
