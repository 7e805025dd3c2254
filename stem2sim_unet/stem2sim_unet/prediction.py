"""What an ensemble predicts for one frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Maps = NDArray[np.float32]


@dataclass(frozen=True)
class Prediction:
    """Class maps of one frame, averaged over the networks, and how far the networks differ."""

    mean: Maps
    """(classes, rows, columns) probability, the average over the networks."""
    spread: Maps
    """(classes, rows, columns) standard deviation over the networks."""
    information: Maps
    """(rows, columns) mutual information [nat]: entropy of the mean minus the mean entropy."""

    @property
    def foreground(self) -> Maps:
        """(rows, columns) probability of any atom."""
        return np.asarray(1 - self.mean[-1])


def entropy(probability: Maps) -> Maps:
    """Return the entropy [nat] over the first axis."""
    return np.asarray(-(probability * np.log(np.maximum(probability, 1e-12))).sum(axis=0))
