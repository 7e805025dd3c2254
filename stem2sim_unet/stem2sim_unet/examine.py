"""Looking at frames whose atoms are known: to calibrate an ensemble, and to say how good it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from numpy.typing import NDArray

from stem2sim.progress import track
from stem2sim.structure import CLOSEST
from stem2sim_unet.canonical import CANONICAL_PIXEL_SIZE
from stem2sim_unet.confidence import Confidence
from stem2sim_unet.ensemble import Ensemble
from stem2sim_unet.foreign import Look, Usual, look_at
from stem2sim_unet.locate import Detections, locate, match
from stem2sim_unet.ranges import write_ranges
from stem2sim_unet.seen import contaminated
from stem2sim_unet.synthetic import TrainingFrame, training_frame
from stem2sim_unet.torch_backend import largest_activations

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from stem2sim_unet.card import Card
    from stem2sim_unet.recipe import Recipe

Floats = NDArray[np.float64]

REACH = 0.5
"""[Å]; a detection this close to an atom is that atom."""

HELD_OUT, SCORED, BEYOND, RANGED = 998_000_000, 997_000_000, 996_000_000, 996_500_000
"""First seeds of frames that no training sees."""

RANGED_FRAMES = 48
"""That tell how large activations become."""


@dataclass(frozen=True)
class Examined:
    """Detections on frames whose atoms are known; a band of half an Å along the border is left out."""

    found: Detections
    noise: Floats
    """(detections,) of their frames."""
    true: NDArray[np.bool_]
    errors: Floats
    """(detections, 2) [Å]; 0 for false ones."""
    species: NDArray[np.int64]
    """(detections,) class of the atom there; 0 for false ones."""
    missed: int
    looks: tuple[Look, ...]

    @classmethod
    def of(cls, ensemble: Ensemble, frames: Iterable[TrainingFrame]) -> Self:
        """Look at each frame and compare."""
        parts: list[tuple[Detections, Floats, NDArray[np.bool_], Floats, NDArray[np.int64]]] = []
        missed, looks = 0, []
        card = ensemble.card
        for made in frames:
            found = locate(ensemble.predict(made.pixels), CLOSEST, made.pixels, len(card.hosts))
            size = np.array(made.pixels.shape[::-1])
            pairs = match(found.positions, made.positions, REACH / CANONICAL_PIXEL_SIZE)
            true = np.zeros(len(found), dtype=bool)
            errors, species = np.zeros((len(found), 2)), np.zeros(len(found), dtype=np.int64)
            i, j = pairs.T
            true[i], species[i] = True, made.species[j]
            errors[i] = (found.positions[i] - made.positions[j]) * CANONICAL_PIXEL_SIZE
            kept = _inside(found.positions, size)
            seen = np.zeros(len(made.positions), dtype=bool)
            seen[j] = True
            missed += int((_inside(made.positions, size) & ~seen).sum())
            noise = np.full(int(kept.sum()), made.noise)
            parts.append((found.chosen(kept), noise, true[kept], errors[kept], species[kept]))
            dirty = contaminated(made.pixels)
            if len(made.positions) > size.prod() / 400 and dirty.mean() < 0.5:  # little but dirt says nothing
                column, row = np.clip(np.rint(found.positions), 0, size - 1).astype(int).T
                clean = found.chosen((found.foreground > 0.5) & ~dirty[row, column])
                looks.append(look_at(made.pixels, clean, card.bond_length / CANONICAL_PIXEL_SIZE, len(card.hosts)))
        founds, noises, trues, errors_, kinds = zip(*parts, strict=True)
        return cls(
            Detections.together(founds),
            np.concatenate(noises),
            np.concatenate(trues),
            np.concatenate(errors_),
            np.concatenate(kinds),
            missed,
            tuple(looks),
        )

    def scores(self, confidence: Confidence) -> dict[str, float]:
        """Return how good the ensemble is on these frames."""
        probability = confidence.probability(self.found, self.noise)
        sure = probability >= 0.5
        hit = self.true & sure
        std = confidence.position_std(self.found, self.noise)
        shares = confidence.shares(self.found)
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


def _inside(positions: Floats, size: NDArray[np.int64]) -> NDArray[np.bool_]:
    band = 0.5 / CANONICAL_PIXEL_SIZE
    return np.asarray(((positions > band) & (positions < size - 1 - band)).all(axis=1))


def auroc(score: Floats, true: NDArray[np.bool_]) -> float:
    """Return the chance that a true one scores higher than a false one; ties count half."""
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


def beyond(recipe: Recipe) -> Recipe:
    """Return ranges next to those of training: a wider probe with more tail, more strain, more motion."""
    wide, tail = recipe.fwhm[1], recipe.tail_weight[1]
    changed = {"fwhm": (wide, 1.15 * wide), "tail_weight": (tail, tail + 0.1), "strain": 1.5 * recipe.strain}
    return recipe.model_copy(update={**changed, "thermal": 1.5 * recipe.thermal, "dose": (200.0, recipe.dose[1])})


def calibrated(ensemble: Ensemble, recipe: Recipe, frames: int = 160) -> Card:
    """Return the card with what detections are worth, fitted on held-out frames and scored on others.

    Args:
        ensemble: the members.
        recipe: of frames like those of training.
        frames: for the fit, and again for the scores.
    """

    def made(what: Recipe, seed: int, count: int) -> Iterable[TrainingFrame]:
        with track("calibration: frames", count) as advance:
            for k in range(count):
                yield training_frame(what, np.random.default_rng(seed + k))
                advance()

    first = Examined.of(ensemble, made(recipe, HELD_OUT, frames))
    confidence = Confidence.fit(first.found, first.noise, first.true, first.errors, first.species)
    second = Examined.of(ensemble, made(recipe, SCORED, frames))
    outside = Examined.of(ensemble, made(beyond(recipe), BEYOND, max(8, frames // 4)))
    scores = second.scores(confidence)
    scores |= {f"beyond training: {name}": value for name, value in outside.scores(confidence).items()}
    return ensemble.card.model_copy(
        update={
            "confidence": confidence,
            "usual": Usual.of((*first.looks, *second.looks)),
            "scores": {name: round(value, 4) for name, value in scores.items()},
        }
    )


def completed(folder: Path, recipe: Recipe, frames: int = 160) -> Card:
    """Write what an ensemble lacks beside its members: the ranges of their activations, and a calibrated card.

    Args:
        folder: of the ensemble, with a card.
        recipe: of frames like those of training.
        frames: for the fit of the calibration, and again for its scores.
    """
    ensemble = Ensemble(folder)
    some = [training_frame(recipe, np.random.default_rng(RANGED + k)).pixels for k in range(RANGED_FRAMES)]
    x = torch.from_numpy(np.stack(some))[:, None]
    ranges = []
    with track("calibration: ranges", len(ensemble)) as advance:
        for member in ensemble.members:
            ranges.append(largest_activations(member, ensemble.card, x))
            advance()
    write_ranges(folder, ensemble.names, ranges)
    card = calibrated(Ensemble(folder), recipe, frames)  # the same networks, rounded or not as they will be in use
    card.write(folder)
    return card
