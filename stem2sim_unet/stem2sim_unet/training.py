"""Training: from labelled frames to networks, resumable at any moment."""

from __future__ import annotations

import math
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, update_bn

from stem2sim.errors import BadInput
from stem2sim_unet.labelled import IGNORED, Labelled
from stem2sim_unet.recipe import Recipe
from stem2sim_unet.synthetic import training_frame

if TYPE_CHECKING:
    from collections.abc import Iterator

BACKGROUND_WEIGHT, HOST_WEIGHT, IMPURITY_WEIGHT = 0.8, 1.0, 2.5
"""Of the classes in the loss: impurities are rare."""

CHECKPOINT_EVERY = 100

OF_A_START, OF_A_CYCLE = 1_000_000, 100_000
"""Seeds of frames that each start, and each of its cycles, has to itself."""

HELD_OUT_STARTS = 996
"""Starts from here on would train on the frames that calibration and validation hold out."""


class Training(BaseModel):
    """How an ensemble is trained: several independent starts, and several snapshots of each."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: Recipe = Field(default_factory=Recipe, description="what generated frames show")
    labelled: tuple[Labelled, ...] = Field((), description="the user's own frames, with a mask or a table of atoms")
    labelled_share: float = Field(0.5, ge=0, le=1, description="of each batch, where there are labelled frames")
    trainer: Literal["stem2sim", "atomai"] = Field("stem2sim", description="whose training loop")
    baseline: Path | None = Field(None, description="ensemble whose members the starts begin with, not random weights")
    average: bool = Field(False, description="members are averages of the weights over a cycle's second half (SWA)")
    starts: int = Field(5, ge=1, description="networks trained independently")
    snapshots: int = Field(4, ge=1, le=10, description="members taken from each start, one after each cycle")
    frames: int = Field(
        3000, ge=1, le=OF_A_CYCLE, description="generated frames per start; as many again over its later cycles"
    )
    steps: int = Field(1800, ge=1, description="batches of the first cycle")
    cycle: int = Field(300, ge=1, description="batches of each later cycle")
    batch: int = Field(12, ge=1, description="frames of 128 x 128 pixels in a batch")
    learning_rate: float = Field(3e-3, gt=0, description="highest of the first cycle; a third of it in later ones")
    filters: int = Field(16, ge=1, description="of the first block of the U-Net; doubled at each depth")
    depths: tuple[int, int, int, int] = Field((2, 3, 3, 4), description="layers per block, encoder to bottleneck")
    seed: int = Field(1, ge=0, description="of the first start; each further start has the next")
    least_overlap: float = Field(
        0.5, ge=0, le=1, description="a member whose atoms overlap less with labels is refused"
    )
    calibration_frames: int = Field(160, ge=20, description="held-out frames for the fit, and again for the scores")
    device: Literal["cpu", "cuda"] = Field("cpu", description="where to train")

    @model_validator(mode="after")
    def _own_frames(self) -> Self:
        if self.seed + self.starts > HELD_OUT_STARTS:
            raise ValueError(f"seed + starts may be {HELD_OUT_STARTS} at most, got {self.seed} + {self.starts}")
        return self

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


def train_start(
    training: Training, seed: int, checkpoint: Path, own: tuple[Tensor, Tensor] | None = None
) -> Iterator[tuple[int, float, nn.Module]]:
    """Train one network and yield (step, loss, network) after each step; continue from `checkpoint` where there is one.

    The frames of a step depend on seed and step alone, so that a run that was cut off ends as one that was not. At the
    end of a cycle the network that is yielded is the member; a checkpoint is written only once the caller has come
    back for more, so that no run goes on behind a member that was not saved.

    Args:
        training: all options.
        seed: of the start.
        checkpoint: file to go on from, rewritten as training goes on.
        own: patches and labels of the user's frames.

    Raises:
        BadInput: a damaged checkpoint.
    """
    network = new_network(training, seed)
    optimiser = torch.optim.AdamW(network.parameters(), lr=training.learning_rate)
    average = AveragedModel(network)
    first = 0
    if checkpoint.exists():
        try:
            state = torch.load(checkpoint, weights_only=True, map_location=training.device)
            network.load_state_dict(state["network"])
            optimiser.load_state_dict(state["optimiser"])
            average.load_state_dict(state["average"])
            first = state["step"]
        except Exception:  # bytes that are not what they should be can raise anything
            raise BadInput(f"{checkpoint} is damaged; delete it, and its start is trained from the beginning") from None
    weights = class_weights(training.recipe).to(training.device)
    last = training.ends[-1]
    pool, pixels, labels = -1, torch.empty(0), torch.empty(0)
    for step in range(first, last):
        needed = 0 if step < training.steps else 1 + (step - training.steps) // training.cycle
        if needed != pool:
            pool = needed
            count = training.frames if pool == 0 else training.later_frames
            pixels, labels = generated(training.recipe, seed * OF_A_START + pool * OF_A_CYCLE, count)
        choice = torch.Generator().manual_seed(seed * 1_000_003 + step)
        mine = round(training.batch * training.labelled_share) if own else 0
        x, y = batch_of(pixels, labels, training.batch - mine, choice)
        if own and mine:
            more = batch_of(*own, mine, choice)
            x, y = torch.cat([x, more[0]]), torch.cat([y, more[1]])
        for group in optimiser.param_groups:
            group["lr"] = training.rate(step)
        loss = descend(network, optimiser, x.to(training.device), y.to(training.device), weights)
        done = step + 1
        if training.averaged(done):
            average.update_parameters(network)
        if training.average and done in training.ends:
            update_bn(pixels[:240].to(training.device).split(training.batch), average)
            yield done, loss, average.module
            average = AveragedModel(network)
        else:
            yield done, loss, network
        if done % CHECKPOINT_EVERY == 0 and done < last:
            _save_checkpoint(checkpoint, network, optimiser, average, done)


def descend(network: nn.Module, optimiser: torch.optim.Optimizer, x: Tensor, y: Tensor, weights: Tensor) -> float:
    """Take one step down the weighted cross-entropy of a batch, and return it."""
    network.train()
    with torch.autocast(x.device.type, torch.bfloat16):
        scores = network(x.contiguous(memory_format=torch.channels_last))
    loss = functional.cross_entropy(scores.float(), y, weight=weights, ignore_index=IGNORED)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
    return loss.item()


def _save_checkpoint(
    path: Path, network: nn.Module, optimiser: torch.optim.Optimizer, average: nn.Module, step: int
) -> None:
    part = path.with_suffix(".part")
    states = {"network": network.state_dict(), "optimiser": optimiser.state_dict(), "average": average.state_dict()}
    torch.save({**states, "step": step}, part)
    os.replace(part, path)


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


def overlap(network: nn.Module, frames: Tensor, labels: Tensor, classes: int) -> list[float]:
    """Return intersection over union of each foreground class on labelled frames."""
    network.eval()
    device = next(network.parameters()).device
    with torch.inference_mode():
        found = torch.cat([network(part.to(device)).argmax(1).cpu() for part in frames.split(12)])
    return [
        float(((found == k) & (labels == k)).sum() / ((found == k) | (labels == k)).sum().clamp(min=1))
        for k in range(classes - 1)
    ]


def save_member(network: nn.Module, path: Path, **facts: str) -> None:
    """Write the weights as float16 safetensors, atomically."""
    state = {k: v.half().cpu().contiguous() for k, v in network.state_dict().items() if v.is_floating_point()}
    part = path.with_suffix(".part")
    save_file(state, part, metadata=facts)
    os.replace(part, path)
