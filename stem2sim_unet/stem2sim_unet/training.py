"""The options of training; they are read without PyTorch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from stem2sim_unet.labelled import LabelledFrame
from stem2sim_unet.recipe import Recipe

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
