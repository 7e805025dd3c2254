"""The loop from labelled frames to networks, which can resume at any step."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from stem2sim_unet.synthetic import training_frame
from stem2sim_unet.trainer import Trainer
from stem2sim_unet.training import OF_A_CYCLE, OF_A_START

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from stem2sim_unet.recipe import Recipe
    from stem2sim_unet.training import Training

BACKGROUND_WEIGHT, HOST_WEIGHT, IMPURITY_WEIGHT = 0.8, 1.0, 2.5
"""Of the classes in the loss: impurities are rare."""

CHECKPOINT_EVERY = 100
"""Steps between two checkpoints."""

RECORD_EVERY = 50
"""Steps between two rows of the table of losses."""


def _frame(job: tuple[Recipe, int]) -> tuple[np.ndarray, np.ndarray]:
    recipe, seed = job
    made = training_frame(recipe, np.random.default_rng(seed))
    return made.pixels.astype(np.float16), made.labels


def generated(recipe: Recipe, first_seed: int, count: int) -> tuple[Tensor, Tensor]:
    """Return frames (count, 1, rows, columns) and labels (count, rows, columns) for the seeds from `first_seed`."""
    jobs = ((recipe, seed) for seed in range(first_seed, first_seed + count))
    with ProcessPoolExecutor() as workers:
        made = list(workers.map(_frame, jobs, chunksize=25))
    return (
        torch.from_numpy(np.stack([m[0] for m in made])).float()[:, None],
        torch.from_numpy(np.stack([m[1] for m in made])),
    )


def new_network(training: Training, seed: int) -> nn.Module:
    """Return AtomAI's U-Net with random weights, or those of the baseline's member for this seed."""
    from atomai.nets import Unet  # seconds to import, and needed to train only

    torch.manual_seed(seed)
    network: nn.Module = Unet(len(training.recipe.classes), training.filters, layers=list(training.depths))
    if training.baseline is not None:
        from stem2sim_unet.ensemble import Ensemble

        members = Ensemble(training.baseline).members
        weights = members[(seed - training.seed) % len(members)]
        network.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()}, strict=False)
    return network.to(memory_format=torch.channels_last).to(training.device)


def train_starts(
    training: Training, seeds: Sequence[int], checkpoint: Path, own: tuple[Tensor, Tensor] | None = None
) -> Iterator[tuple[int, list[float], Callable[[], list[nn.Module]]]]:
    """Train a network for each seed; yield step, losses, and what returns the networks, after each step.

    The frames of a step depend on seed and step alone, so that an interrupted run ends like any other. At the
    end of a cycle the networks that are yielded are members; a checkpoint is written only once the caller has come
    back for more, so that no run goes on behind a member that was not saved.

    Args:
        training: all options.
        seeds: of the starts; several are trained in parallel, their weights stacked.
        checkpoint: file to resume from, rewritten during training.
        own: patches and labels of the user's frames.

    Raises:
        BadInput: a damaged checkpoint.
    """
    device, last = training.device, training.ends[-1]
    weights = class_weights(training.recipe).to(device)
    trainer = Trainer([new_network(training, seed) for seed in seeds], training.learning_rate, weights)
    first = trainer.load(checkpoint, device) if checkpoint.exists() else 0
    pool, made = -1, []
    for step in range(first, last):
        needed = 0 if step < training.steps else 1 + (step - training.steps) // training.cycle
        if needed != pool:
            pool = needed
            count = training.frames if pool == 0 else training.later_frames
            made = [generated(training.recipe, seed * OF_A_START + pool * OF_A_CYCLE, count) for seed in seeds]
        batches = [_batch(training, frames, own, seed, step) for seed, frames in zip(seeds, made, strict=True)]
        x, y = (torch.stack(part).to(device) for part in zip(*batches, strict=True))
        losses = trainer.step(x, y, training.rate(step))
        done = step + 1
        if training.averaged(done):
            trainer.add_to_average()
        if training.average and done in training.ends:
            some = [pixels[:240].to(device).split(training.batch) for pixels, _ in made]
            yield done, losses, partial(trainer.averaged, some)
            trainer.start_averaging()
        else:
            yield done, losses, trainer.networks
        if done % CHECKPOINT_EVERY == 0 and done < last:
            trainer.save(checkpoint, done)


def _batch(
    training: Training, frames: tuple[Tensor, Tensor], own: tuple[Tensor, Tensor] | None, seed: int, step: int
) -> tuple[Tensor, Tensor]:
    choice = torch.Generator().manual_seed(seed * 1_000_003 + step)
    mine = round(training.batch * training.labelled_share) if own else 0
    x, y = batch_of(*frames, training.batch - mine, choice)
    if own and mine:
        more = batch_of(*own, mine, choice)
        x, y = torch.cat([x, more[0]]), torch.cat([y, more[1]])
    return x, y


def class_weights(recipe: Recipe) -> Tensor:
    """Return the weight of each class in the loss."""
    hosts = set(recipe.sheet_of.columns)
    return torch.tensor([*(HOST_WEIGHT if s in hosts else IMPURITY_WEIGHT for s in recipe.species), BACKGROUND_WEIGHT])


def batch_of(pixels: Tensor, labels: Tensor, size: int, choice: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return frames picked at random, all turned and mirrored alike."""
    picked = torch.randint(len(pixels), (size,), generator=choice)
    turns, flip = (int(torch.randint(n, (1,), generator=choice)) for n in (4, 2))
    x, y = torch.rot90(pixels[picked], turns, (2, 3)), torch.rot90(labels[picked].long(), turns, (1, 2))
    return (x.flip(3), y.flip(2)) if flip else (x, y)
