"""Calibration of an ensemble on held-out generated frames: probabilities, error bars, and limits of its validity."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from stem2sim.progress import track
from stem2sim_unet.activation_ranges import write_ranges
from stem2sim_unet.confidence import Confidence
from stem2sim_unet.ensemble import Ensemble
from stem2sim_unet.evaluation import Evaluation
from stem2sim_unet.model_card import BEYOND_TRAINING
from stem2sim_unet.out_of_distribution import MeasureLimits
from stem2sim_unet.synthetic import TrainingFrame, training_frame
from stem2sim_unet.torch_backend import largest_activations

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from stem2sim_unet.model_card import ModelCard
    from stem2sim_unet.recipe import Recipe

HELD_OUT, SCORED, BEYOND, RANGED = 998_000_000, 997_000_000, 996_000_000, 996_500_000
"""First seeds of frames that no training uses: for the fit, its scores, frames beyond training, activation ranges."""

RANGED_FRAMES = 48
"""Frames on which the ranges of the activations are measured."""


def calibrate_folder(folder: Path, recipe: Recipe, frames: int = 160) -> ModelCard:
    """Write what an ensemble needs beside its members: the ranges of their activations, and a calibrated model card.

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
    card = calibrated_card(Ensemble(folder), recipe, frames)  # the networks as they will be used, rounded or not
    card.write(folder)
    return card


def calibrated_card(ensemble: Ensemble, recipe: Recipe, frames: int = 160) -> ModelCard:
    """Return the card with the calibration, fitted on held-out frames and scored on others.

    Args:
        ensemble: the members.
        recipe: of frames like those of training.
        frames: for the fit, and again for the scores.
    """
    first = Evaluation.of(ensemble, _frames(recipe, HELD_OUT, frames))
    confidence = Confidence.fit(first.detections, first.noise, first.true, first.errors, first.species)
    second = Evaluation.of(ensemble, _frames(recipe, SCORED, frames))
    outside = Evaluation.of(ensemble, _frames(_beyond(recipe), BEYOND, max(8, frames // 4)))
    scores = second.scores(confidence)
    scores |= {f"{BEYOND_TRAINING}{name}": value for name, value in outside.scores(confidence).items()}
    return ensemble.card.model_copy(
        update={
            "confidence": confidence,
            "usual": MeasureLimits.of((*first.measures, *second.measures)),
            "scores": {name: round(value, 4) for name, value in scores.items()},
        }
    )


def _frames(recipe: Recipe, first_seed: int, count: int) -> Iterable[TrainingFrame]:
    with track("calibration: frames", count) as advance:
        for k in range(count):
            yield training_frame(recipe, np.random.default_rng(first_seed + k))
            advance()


def _beyond(recipe: Recipe) -> Recipe:
    """Ranges next to those of training: a wider probe with more tail, more strain, more thermal motion."""
    wide, tail = recipe.fwhm[1], recipe.tail_weight[1]
    changed = {"fwhm": (wide, 1.15 * wide), "tail_weight": (tail, tail + 0.1), "strain": 1.5 * recipe.strain}
    return recipe.model_copy(update={**changed, "thermal": 1.5 * recipe.thermal, "dose": (200.0, recipe.dose[1])})
