"""Verdicts on single sites of a structure, and their thresholds."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

PRESENT = 0.5
"""Of the height of the faintest species here: half way between an atom and none."""

DISPLACED = 0.3
"""[Å]; a fifth of a bond. Real images and relaxed structures differ by 0.05 to 0.15 Å."""

SURE = 3.0
"""Standard deviations of the image noise that a verdict needs."""

SURE_OF_ANYWHERE = 5.0
"""The same where an atom might be at any place: among a thousand places noise reaches three."""

BONDED = 1.9
"""[Å]; a place this close to an atom is a neighbour's."""

BRIGHTER, FAINTER = "brighter than any species known here", "fainter than any species known here"

Kind = Literal["explained", "missing", "extra", "displaced", "wrong species", "unclear", "not judged"]


class Verdict(BaseModel):
    """How one site of the structure, or a place that it leaves empty, compares with the image."""

    model_config = ConfigDict(frozen=True)

    kind: Kind
    atoms: tuple[int, ...] = Field(description="numbers in the structure; empty for a missing atom")
    species: str = Field(description="species in the structure, such as C, or C+Cr for one above the other")
    image_shows: str = Field(description="species that the image shows; '' for none")
    x: float = Field(description="x of the site in the image, from the structure [Å]")
    y: float = Field(description="y of the site [Å]")
    dx: float = Field(0.0, description="displacement in the image along x [Å]")
    dy: float = Field(0.0, description="along y [Å]")
    std: float | None = Field(
        None, description="standard deviation of dx, and of dy, from noise [Å]; None if not known"
    )
    height: float = Field(description="height of the peak, relative to the most frequent species")
    height_std: float = Field(description="its standard deviation from noise")
    expected: float = Field(description="height for the species of the structure; 0 for none")
    residual: float = Field(description="rms of image less simulation within a probe width, in the same unit")

    def describe(self) -> str:
        """Return it in words."""
        who = f"{self.species} {', '.join(map(str, self.atoms))}" if self.atoms else self.image_shows
        where = f"at x = {self.x:.2f}, y = {self.y:.2f} Å"
        like = "" if self.image_shows in (BRIGHTER, FAINTER) else "as bright as "
        return {
            "explained": f"{who} {where}: agrees with the image",
            "missing": f"{self.image_shows} {where}: in the image, but not in the structure",
            "extra": f"{who} {where}: in the structure, but not in the image",
            "displaced": f"{who} {where}: displaced by {np.hypot(self.dx, self.dy):.2f} Å in the image",
            "wrong species": f"{who} {where}: {like}{self.image_shows}",
            "unclear": f"{who} {where}: inconclusive",
            "not judged": f"{who} {where}: not assessed, at the border of the image or outside it",
        }[self.kind]


THRESHOLDS = (
    f"An atom is counted as present if its peak height is at least {PRESENT:g} times that of the faintest species, as "
    f"displaced if it lies {DISPLACED:g} Å or more (about one fifth of a bond length) from its expected position, and "
    "as another species if its height is closer, on a logarithmic scale, to that of the other species, or outside the "
    "range possible for its own species with any annular detector. An atom is classified only if the deviation exceeds "
    f"{SURE:g} standard deviations of the image noise ({SURE_OF_ANYWHERE:g} for atoms missing from the structure); "
    "otherwise it is unclear."
)
