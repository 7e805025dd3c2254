"""Whether a frame lies outside the training data of the networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.spatial import cKDTree

from stem2sim_unet.locate import core_means

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stem2sim_unet.locate import Detections

Floats = NDArray[np.float64]

MARGIN = 1.5
"""A frame is out of distribution when one of its measures exceeds its limit by this factor."""

HARMLESS = {"disagreement": 0.05, "irregularity": 0.25, "impurity": 0.25, "faintness": 0.25, "alternation": 0.06}
"""Least limits: real frames hold clusters and edges that generated ones seldom do."""

NO_LATTICE = 1.5
"""Score of a frame in which neither the spectrum nor the detected atoms show the lattice of the material."""

TOO_FEW = 6
"""Atoms outside contamination; fewer show no lattice."""


class FrameMeasures(BaseModel):
    """Measures of one frame that are small for frames like the training data."""

    model_config = ConfigDict(frozen=True)

    disagreement: float = Field(description="the networks disagree about the atoms they find")
    irregularity: float = Field(description="neighbours are not one bond length apart")
    impurity: float = Field(description="atoms are classified as impurities")
    faintness: float = Field(description="the atoms hardly stand out from the background")
    alternation: float = Field(description="neighbours differ in intensity in a way they do not in this material")
    alternation_error: float = Field(0.0, description="standard error of the alternation")

    def excess_alternation(self, expected: float) -> float:
        """Return how far the alternation is from the expected one, beyond what counting noise explains."""
        return max(abs(self.alternation - expected) - 2 * self.alternation_error, 0.0)


class MeasureLimits(BaseModel):
    """Limits of the measures: the values that one held-out frame in forty exceeds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    disagreement: float
    irregularity: float
    impurity: float
    faintness: float
    alternation: float
    expected_alternation: float = Field(0.0, description="0 where all columns are alike")

    @classmethod
    def of(cls, frames: Sequence[FrameMeasures]) -> Self:
        """Return the 97.5th percentile of each measure, or the least limit where that is larger."""
        measured = {name: np.array([getattr(measures, name) for measures in frames]) for name in HARMLESS}
        expected = float(np.median(measured["alternation"]))
        measured["alternation"] = np.array([measures.excess_alternation(expected) for measures in frames])
        limits = {name: max(float(np.percentile(measured[name], 97.5)), least) for name, least in HARMLESS.items()}
        return cls(**limits, expected_alternation=expected)

    def score(self, measures: FrameMeasures) -> tuple[float, str]:
        """Return the out-of-distribution score of a frame (over 1: outside the training data), and the reason."""
        values = {name: getattr(measures, name) for name in HARMLESS}
        values["alternation"] = measures.excess_alternation(self.expected_alternation)
        ratios = {name: value / getattr(self, name) for name, value in values.items()}
        worst = max(ratios, key=lambda name: ratios[name])
        text = FrameMeasures.model_fields[worst].description
        return ratios[worst] / MARGIN, f"{text} ({values[worst]:.2g}, usually under {getattr(self, worst):.2g})"


def measure_frame(frame: NDArray[np.float32], detections: Detections, bond_length: float, hosts: int) -> FrameMeasures:
    """Measure a frame.

    Args:
        frame: (rows, columns) normalised canonical frame.
        detections: those that are more likely an atom than not, and not under contamination.
        bond_length: least distance of two columns of the material [canonical pixels].
        hosts: how many of the first species make up the perfect material.
    """
    if len(detections) < TOO_FEW:
        return FrameMeasures(disagreement=0.0, irregularity=1.0, impurity=0.0, faintness=1.0, alternation=0.0)
    # the second neighbour too: a pair of false atoms at the right distance is common, a triple is not
    distances, _ = cKDTree(detections.positions).query(detections.positions, k=3)
    off = np.abs(distances[:, 1:] / bond_length - 1)
    alternation, error = _alternation(frame, detections.positions, bond_length)
    return FrameMeasures(
        disagreement=float(detections.information.mean()),
        irregularity=float(np.mean(off > 0.15)),
        impurity=float((detections.shares.argmax(axis=1) >= hosts).mean()),
        faintness=float(1 - detections.foreground.mean()),
        alternation=alternation,
        alternation_error=error,
    )


def _alternation(frame: NDArray[np.float32], positions: Floats, bond_length: float) -> tuple[float, float]:
    """How much brighter atoms have fainter neighbours, over the square of their brightness; and its standard error.

    Two sublattices of brightness m + d and m - d give (d/m)²; noise gives nothing, as neighbours' noise is their own.
    """
    brightness = core_means(frame, positions) - float(np.percentile(frame, 10))
    usual = float(np.median(brightness))
    brightness = np.clip(brightness / max(usual, 1e-6), 0, 2) - 1  # limits the influence of single impurities
    distances, near = cKDTree(positions).query(positions, k=4)
    three = (distances[:, 1:] < 1.3 * bond_length).all(axis=1)
    if three.sum() < TOO_FEW:
        return 0.0, 0.0
    centre, around = brightness[three], brightness[near[three, 1:]].mean(axis=1)
    products = -(centre - centre.mean()) * (around - around.mean())
    return float(products.mean()), float(products.std() / np.sqrt(len(products)))
