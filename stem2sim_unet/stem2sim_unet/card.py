"""The card of an ensemble: what its networks are, how they were trained, and how far to trust them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stem2sim.errors import BadInput
from stem2sim.files import write_text
from stem2sim_unet.confidence import Confidence
from stem2sim_unet.foreign import Usual

if TYPE_CHECKING:
    from pathlib import Path

CARD = "ensemble.json"


class Card(BaseModel):
    """Everything about an ensemble but its weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    classes: tuple[str, ...] = Field(description="of the output channels; background last")
    material: str = Field("", description="that the networks were trained on")
    lattice_constant: float = Field(description="of that material [Å]")
    bond_length: float = Field(description="least distance between two columns of that material [Å]")
    hosts: tuple[str, ...] = Field(description="classes that make up the perfect material")
    canonical_pixel_size: float = Field(description="of the grid on which the networks see every frame [Å]")
    filters: int = Field(16, description="of the first block of the U-Net")
    depths: tuple[int, int, int, int] = Field((2, 3, 3, 4), description="layers per block, encoder to bottleneck")
    trained: dict[str, Any] = Field(default_factory=dict, description="how, on what, with which seeds")
    confidence: Confidence | None = Field(None, description="what a detection is worth")
    usual: Usual | None = Field(None, description="what frames of this kind look like to the networks")
    scores: dict[str, float] = Field(default_factory=dict, description="on frames used for no fit")
    limits: tuple[str, ...] = Field((), description="what the ensemble was not made for")

    @property
    def species(self) -> tuple[str, ...]:
        """Classes of atoms, without the background."""
        return self.classes[:-1]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the card of an ensemble's folder.

        Raises:
            BadInput: no folder, no card, or one that does not read.
        """
        file = folder / CARD
        if not file.is_file():
            raise BadInput(f"{folder} is not the folder of an ensemble: it has no {CARD}")
        try:
            return cls.model_validate_json(file.read_text())
        except (ValidationError, UnicodeDecodeError) as problem:
            raise BadInput(f"{file} does not read as the card of an ensemble: {str(problem).splitlines()[0]}") from None

    def write(self, folder: Path) -> None:
        """Write the card, atomically."""
        write_text(folder / CARD, self.model_dump_json(indent=1) + "\n")
