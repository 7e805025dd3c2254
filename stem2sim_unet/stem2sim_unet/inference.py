"""Inference on one image: what the networks find when it is resampled to the canonical grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from stem2sim.structure import CLOSEST
from stem2sim_unet.canonical_grid import CANONICAL_PIXEL_SIZE, Grid, normalise
from stem2sim_unet.locate import Detections, locate

if TYPE_CHECKING:
    from stem2sim.image import Image
    from stem2sim_unet.ensemble import Ensemble
    from stem2sim_unet.prediction import Prediction

Floats = NDArray[np.float64]

DIRT = 2.5
"""Intensity in units of the lattice's contrast, averaged over the surroundings, above which there is contamination."""

SURROUNDINGS = 2.5
"""[Å]; a single silicon or chromium atom stays under `DIRT` over this width."""


def contamination_mask(frame: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return where a normalised canonical frame (rows, columns) shows contamination."""
    return np.asarray(ndimage.gaussian_filter(frame, SURROUNDINGS / CANONICAL_PIXEL_SIZE) > DIRT)


@dataclass(frozen=True)
class Inference:
    """One image on one canonical grid, and the atoms detected there."""

    grid: Grid
    frame: NDArray[np.float32]
    """(rows, columns) normalised, on the grid."""
    noise: float
    prediction: Prediction
    detections: Detections
    probability: Floats
    """(detections,) calibrated, that there is an atom."""
    contamination: NDArray[np.bool_]
    """(rows, columns) where there is contamination."""

    @property
    def is_contaminated(self) -> NDArray[np.bool_]:
        """(detections,) which of them lie under contamination."""
        last = np.array(self.frame.shape[::-1]) - 1
        column, row = np.clip(np.rint(self.detections.positions), 0, last).astype(int).T
        return np.asarray(self.contamination[row, column])

    @property
    def clean(self) -> Detections:
        """Detections that are more likely an atom than not, and not under contamination."""
        return self.detections.chosen((self.probability >= 0.5) & ~self.is_contaminated)


def infer(ensemble: Ensemble, image: Image, metric: Floats, members: int | None = None) -> Inference:
    """Detect the atoms of an image at a given scale and stretch.

    Args:
        ensemble: calibrated members.
        image: the frame.
        metric: (2, 2) matrix from x, y in pixels to true x, y [Å].
        members: how many of the networks to use; default: all.
    """
    assert ensemble.card.confidence is not None
    grid = Grid.over(image.shape, metric)
    frame, noise = normalise(grid.resample(image.pixels))
    prediction = ensemble.predict(frame, members)
    # atoms must be apart at the given pixel size too
    separation = CLOSEST * max(1.0, float(np.linalg.svd(metric, compute_uv=False).max()) / image.pixel_size)
    detections = locate(prediction, separation * 1.001, frame, len(ensemble.card.hosts))
    pixels = grid.to_image(detections.positions)
    inside = (pixels > -0.5) & (pixels < np.array(image.shape[::-1]) - 0.5)
    detections = detections.chosen(np.asarray(inside.all(axis=1), dtype=bool))
    probability = ensemble.card.confidence.probability(detections, noise)
    return Inference(grid, frame, noise, prediction, detections, probability, contamination_mask(frame))
