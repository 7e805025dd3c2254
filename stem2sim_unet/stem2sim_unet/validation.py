"""Validation of members on generated frames that no training uses."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import TYPE_CHECKING

import torch

from stem2sim.errors import StageFailed
from stem2sim_unet.training_files import save_member
from stem2sim_unet.training_loop import generated

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

    from stem2sim_unet.recipe import Recipe
    from stem2sim_unet.training import Training

VALIDATION, VALIDATION_FRAMES = 999_000_000, 120
"""First seed of the frames, and their number."""

log = logging.getLogger("stem2sim")


@lru_cache(maxsize=1)
def held_out(recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Return frames and labels that no training uses."""
    return generated(recipe, VALIDATION, VALIDATION_FRAMES)


def overlap(network: nn.Module, frames: Tensor, labels: Tensor, classes: int) -> list[float]:
    """Return the intersection over union of each foreground class with the labels."""
    network.eval()
    device = next(network.parameters()).device
    with torch.inference_mode():
        predicted = torch.cat([network(part.to(device)).argmax(1).cpu() for part in frames.split(12)])
    return [
        float(((predicted == k) & (labels == k)).sum() / ((predicted == k) | (labels == k)).sum().clamp(min=1))
        for k in range(classes - 1)
    ]


def save_if_learnt(training: Training, seed: int, step: int, network: nn.Module, file: Path) -> None:
    """Write a network to its file if it has learnt enough.

    Raises:
        StageFailed: its atoms overlap too little with the labels of held-out frames.
    """
    shares = overlap(network, *held_out(training.recipe), len(training.recipe.classes))
    by_species = dict(zip(training.recipe.species, shares, strict=True))
    text = ", ".join(f"{species} {share:.3f}" for species, share in by_species.items())
    log.info("seed %d: overlap with the labels of held-out images (IoU): %s", seed, text)
    least = min(by_species[column] for column in training.recipe.sheet_of.columns)
    if least < training.least_overlap:
        raise StageFailed(
            f"seed {seed} learnt too little: overlap with the labels (IoU) {least:.2f}, under "
            f"{training.least_overlap}; try more steps, more frames or another seed"
        )
    save_member(network, file, seed=str(seed), step=str(step), torch=torch.__version__)
