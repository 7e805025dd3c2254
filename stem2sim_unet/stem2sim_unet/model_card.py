"""The model card of an ensemble: its networks, their training, their accuracy and their limits."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stem2sim.errors import BadInput
from stem2sim.files import write_text
from stem2sim.mistakes import explained
from stem2sim_unet.confidence import Confidence
from stem2sim_unet.out_of_distribution import MeasureLimits

if TYPE_CHECKING:
    from pathlib import Path

CARD = "ensemble.json"

BEYOND_TRAINING = "beyond training: "
"""Starts the names of the scores on images beyond the training ranges."""


class ModelCard(BaseModel):
    """Everything about an ensemble except its weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str] = "model card"

    classes: tuple[str, ...] = Field(description="classes of the output channels; background last")
    material: str = Field("", description="material that the networks were trained on")
    lattice_constant: float = Field(description="lattice constant of that material [Å]")
    bond_length: float = Field(description="minimum distance between two columns of that material [Å]")
    hosts: tuple[str, ...] = Field(description="classes that make up the perfect material")
    canonical_pixel_size: float = Field(description="pixel size of the grid to which every image is resampled [Å]")
    filters: int = Field(16, description="number of filters in the first block of the U-Net")
    depths: tuple[int, int, int, int] = Field((2, 3, 3, 4), description="layers per block, encoder to bottleneck")
    trained: dict[str, Any] = Field(default_factory=dict, description="training options, data and seeds")
    confidence: Confidence | None = Field(None, description="calibration of probabilities and error bars")
    usual: MeasureLimits | None = Field(
        None, description="limits of the measures that identify out-of-distribution images"
    )
    scores: dict[str, float] = Field(
        default_factory=dict, description="accuracy on images used for neither training nor calibration"
    )
    limits: tuple[str, ...] = Field((), description="what the ensemble cannot be used for")

    @property
    def species(self) -> tuple[str, ...]:
        """Classes of atoms, without the background."""
        return self.classes[:-1]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the model card in the folder of an ensemble.

        Raises:
            BadInput: no folder, no card, or one that cannot be read.
        """
        file = folder / CARD
        if not file.is_file():
            raise BadInput(f"{folder} is not the folder of an ensemble: it has no {CARD}")
        try:
            return cls.model_validate(json.loads(file.read_text(encoding="utf-8")))
        except ValidationError as problem:
            raise BadInput(f"{file}: {explained(problem, '', cls)}") from None
        except ValueError as problem:  # not JSON, or not even text
            raise BadInput(f"cannot read {file} as the model card of an ensemble: {problem}") from None

    def write(self, folder: Path) -> None:
        """Write the card, atomically."""
        write_text(folder / CARD, self.model_dump_json(indent=1) + "\n")
