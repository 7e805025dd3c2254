"""Training: its options, and the loop from labelled frames to networks, which can resume at any step."""

from __future__ import annotations

import math
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from stem2sim_unet.labelled import LabelledFrame
from stem2sim_unet.recipe import Recipe
from stem2sim_unet.synthetic import training_frame
from stem2sim_unet.trainer import Trainer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

BACKGROUND_WEIGHT, HOST_WEIGHT, IMPURITY_WEIGHT = 0.8, 1.0, 2.5
"""Of the classes in the loss: impurities are rare."""

CHECKPOINT_EVERY = 100
"""Steps between two checkpoints."""

RECORD_EVERY = 50
"""Steps between two rows of the table of losses."""

OF_A_START, OF_A_CYCLE = 1_000_000, 100_000
"""Frame seeds reserved for each start, and for each of its cycles."""

HELD_OUT_STARTS = 996
"""Starts from this seed on would train on the frames held out for calibration and validation."""


class Training(BaseModel):
    """How an ensemble is trained: several independent starts, and several snapshots of each."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str] = "training"

    recipe: Recipe = Field(default_factory=Recipe, description="contents of the synthetic images")
    labelled: tuple[LabelledFrame, ...] = Field((), description="your own images, each with a mask or an atom table")
    labelled_share: float = Field(
        0.5, ge=0, le=1, description="fraction of labelled images in each batch, if there are any"
    )
    trainer: Literal["stem2sim", "atomai"] = Field("stem2sim", description="training loop to use")
    baseline: Path | None = Field(
        None, description="ensemble whose members initialise the training runs; default: random weights"
    )
    average: bool = Field(
        False, description="average the weights of each member over the second half of its cycle (SWA)"
    )
    starts: int = Field(5, ge=1, description="number of independent training runs")
    snapshots: int = Field(4, ge=1, le=10, description="members taken from each training run, one after each cycle")
    frames: int = Field(
        3000,
        ge=1,
        le=OF_A_CYCLE,
        description="synthetic images per training run; as many again for its later cycles together",
    )
    steps: int = Field(1800, ge=1, description="number of batches in the first cycle")
    cycle: int = Field(300, ge=1, description="number of batches in each later cycle")
    batch: int = Field(12, ge=1, description="images of 128 × 128 pixels per batch")
    learning_rate: float = Field(
        3e-3, gt=0, description="maximum learning rate of the first cycle; a third of it in later ones"
    )
    filters: int = Field(
        16, ge=1, description="number of filters in the first block of the U-Net; doubled at each depth"
    )
    depths: tuple[int, int, int, int] = Field((2, 3, 3, 4), description="layers per block, encoder to bottleneck")
    seed: int = Field(1, ge=0, description="random seed of the first training run; increased by 1 for each further run")
    least_overlap: float = Field(
        0.5,
        ge=0,
        le=1,
        description="minimum overlap (IoU) of a member's atoms with the labels; below it, training fails",
    )
    calibration_frames: int = Field(
        160, ge=20, description="held-out images for the calibration, and as many for its scores"
    )
    device: Literal["cpu", "cuda"] = Field("cpu", description="device to train on")
    parallel_starts: int = Field(
        0, ge=0, description="training runs in parallel, with stacked weights; 0: one on a CPU, all on a GPU"
    )

    @model_validator(mode="after")
    def _own_frames(self) -> Self:
        if self.seed + self.starts > HELD_OUT_STARTS:
            raise ValueError(f"seed + starts may be {HELD_OUT_STARTS} at most, got {self.seed} + {self.starts}")
        return self

    @property
    def seed_groups(self) -> list[list[int]]:
        """Seeds of the starts that are trained in parallel."""
        size = self.parallel_starts or (1 if self.device == "cpu" else self.starts)
        seeds = range(self.seed, self.seed + self.starts)
        return [[*seeds[k : k + size]] for k in range(0, self.starts, size)]

    @property
    def later_frames(self) -> int:
        """Generated frames of each cycle after the first."""
        return max(1, self.frames // max(1, self.snapshots - 1))

    def rate(self, step: int) -> float:
        """Return the learning rate of a step: one warm-up and cosine, then a cosine per cycle."""
        if step < self.steps:
            warm = max(1, self.steps // 20)
            if step < warm:
                return self.learning_rate * (step + 1) / warm
            return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / (self.steps - warm)))
        part = ((step - self.steps) % self.cycle) / self.cycle
        return self.learning_rate / 3 * 0.5 * (1 + math.cos(math.pi * part))

    @property
    def ends(self) -> list[int]:
        """Step after which each snapshot is taken."""
        return [self.steps + k * self.cycle for k in range(self.snapshots)]

    def averaged(self, step: int) -> bool:
        """Whether the weights after this step count towards the average of their cycle."""
        length = self.steps if step <= self.steps else self.cycle
        done = step if step <= self.steps else (step - self.steps - 1) % self.cycle + 1
        return self.average and done > length / 2


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
