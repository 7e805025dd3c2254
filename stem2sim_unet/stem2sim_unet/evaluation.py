"""Evaluation of an ensemble on frames whose atoms are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from stem2sim.structure import CLOSEST
from stem2sim_unet.canonical_grid import CANONICAL_PIXEL_SIZE
from stem2sim_unet.inference import contamination_mask
from stem2sim_unet.locate import Detections, locate, match
from stem2sim_unet.out_of_distribution import FrameMeasures, measure_frame

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stem2sim_unet.confidence import Confidence
    from stem2sim_unet.ensemble import Ensemble
    from stem2sim_unet.model_card import ModelCard
    from stem2sim_unet.synthetic import TrainingFrame

Floats = NDArray[np.float64]

REACH = 0.5
"""[Å]; a detection this close to an atom is that atom."""

BORDER = 0.5
"""[Å]; width of the band along the border in which nothing is counted."""


@dataclass(frozen=True)
class Evaluation:
    """Detections on frames whose atoms are known, those in a band along the border excepted."""

    detections: Detections
    noise: Floats
    """(detections,) of their frames."""
    true: NDArray[np.bool_]
    errors: Floats
    """(detections, 2) [Å]; 0 for false detections."""
    species: NDArray[np.int64]
    """(detections,) class of the atom there; 0 for false detections."""
    missed: int
    measures: tuple[FrameMeasures, ...]
    """Of the frames with enough clean atoms."""

    @classmethod
    def of(cls, ensemble: Ensemble, frames: Iterable[TrainingFrame]) -> Self:
        """Detect the atoms of each frame and compare them with the known ones."""
        parts: list[tuple[Detections, Floats, NDArray[np.bool_], Floats, NDArray[np.int64]]] = []
        missed, measures = 0, []
        for frame in frames:
            detections = locate(ensemble.predict(frame.pixels), CLOSEST, frame.pixels, len(ensemble.card.hosts))
            pairs = match(detections.positions, frame.positions, REACH / CANONICAL_PIXEL_SIZE)
            true = np.zeros(len(detections), dtype=bool)
            errors, species = np.zeros((len(detections), 2)), np.zeros(len(detections), dtype=np.int64)
            i, j = pairs.T
            true[i], species[i] = True, frame.species[j]
            errors[i] = (detections.positions[i] - frame.positions[j]) * CANONICAL_PIXEL_SIZE
            size = np.array(frame.pixels.shape[::-1])
            kept = _inside(detections.positions, size)
            detected = np.zeros(len(frame.positions), dtype=bool)
            detected[j] = True
            missed += int((_inside(frame.positions, size) & ~detected).sum())
            noise = np.full(int(kept.sum()), frame.noise)
            parts.append((detections.chosen(kept), noise, true[kept], errors[kept], species[kept]))
            if (measured := _measured(frame, detections, ensemble.card)) is not None:
                measures.append(measured)
        every, noises, trues, errors_, kinds = zip(*parts, strict=True)
        return cls(
            Detections.concatenated(every),
            np.concatenate(noises),
            np.concatenate(trues),
            np.concatenate(errors_),
            np.concatenate(kinds),
            missed,
            tuple(measures),
        )

    def scores(self, confidence: Confidence) -> dict[str, float]:
        """Return how accurate the ensemble is on these frames."""
        probability = confidence.probability(self.detections, self.noise)
        sure = probability >= 0.5
        hit = self.true & sure
        std = confidence.position_std(self.detections, self.noise)
        shares = confidence.shares(self.detections)
        every = int(self.true.sum()) + self.missed
        return {
            "atoms": float(every),
            "precision": float(self.true[sure].mean()),
            "recall": float(hit.sum() / every),
            "right species": float((shares.argmax(axis=1) == self.species)[hit].mean()),
            "AUROC of probability, true against false": auroc(probability, self.true),
            "detection calibration error": calibration_error(probability, self.true),
            "species calibration error": calibration_error(
                shares[hit].max(axis=1), shares[hit].argmax(axis=1) == self.species[hit]
            ),
            "position error rms per axis [Å]": float(np.sqrt((self.errors[hit] ** 2).mean())),
            "within one standard deviation": float((np.abs(self.errors[hit]) < std[hit, None]).mean()),
        }


def _measured(frame: TrainingFrame, detections: Detections, card: ModelCard) -> FrameMeasures | None:
    """Measures of a frame; None where contamination leaves too little of it."""
    size = np.array(frame.pixels.shape[::-1])
    contamination = contamination_mask(frame.pixels)
    if len(frame.positions) <= size.prod() / 400 or contamination.mean() >= 0.5:
        return None
    column, row = np.clip(np.rint(detections.positions), 0, size - 1).astype(int).T
    clean = detections.chosen((detections.foreground > 0.5) & ~contamination[row, column])
    return measure_frame(frame.pixels, clean, card.bond_length / CANONICAL_PIXEL_SIZE, len(card.hosts))


def _inside(positions: Floats, size: NDArray[np.int64]) -> NDArray[np.bool_]:
    band = BORDER / CANONICAL_PIXEL_SIZE
    return np.asarray(((positions > band) & (positions < size - 1 - band)).all(axis=1))


def auroc(score: Floats, true: NDArray[np.bool_]) -> float:
    """Return the probability that a true detection scores higher than a false one; ties count half."""
    from scipy.stats import rankdata

    positive, negative = int(true.sum()), int((~true).sum())
    if not positive or not negative:
        return 1.0
    ranks = rankdata(score)
    return float((ranks[true].sum() - positive * (positive + 1) / 2) / (positive * negative))


def calibration_error(probability: Floats, true: NDArray[np.bool_], bins: int = 10) -> float:
    """Return the expected calibration error: |mean probability - share that is true|, weighted over equal bins."""
    which = np.minimum((probability * bins).astype(int), bins - 1)
    total = 0.0
    for k in np.unique(which):
        here = which == k
        total += abs(float(probability[here].mean()) - float(true[here].mean())) * float(here.mean())
    return total
