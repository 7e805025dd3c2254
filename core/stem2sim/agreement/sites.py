"""What a frame says of single atoms, and by which thresholds."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

PRESENT = 0.5
"""Of the height of the faintest species here: half way between an atom and none."""

DISPLACED = 0.3
"""[Å]; a fifth of a bond. Real frames and relaxed structures differ by 0.05 to 0.15 Å."""

SURE = 3.0
"""Standard deviations, from the frame's own noise, that a verdict needs."""

SURE_OF_ANYWHERE = 5.0
"""That it needs where an atom might be at any place: among a thousand places noise reaches three."""

BONDED = 1.9
"""[Å]; a place this close to an atom is a neighbour's."""

BRIGHTER, FAINTER = "brighter than any species known here", "fainter than any species known here"

Kind = Literal["explained", "missing", "extra", "displaced", "wrong species", "unclear", "not judged"]


class Verdict(BaseModel):
    """What the frame says of one site of the structure, or of a place that the structure leaves empty."""

    model_config = ConfigDict(frozen=True)

    kind: Kind
    atoms: tuple[int, ...] = Field(description="numbers in the structure; none for one that is missing")
    species: str = Field(description="what the structure has there, such as C, or C+Cr for one above the other")
    seen: str = Field(description="what the frame shows there; '' for nothing")
    x: float = Field(description="in the frame, as the structure has it [Å]")
    y: float = Field(description="[Å]")
    dx: float = Field(0.0, description="from there to where the frame has it [Å]")
    dy: float = Field(0.0, description="[Å]")
    std: float | None = Field(None, description="of dx, and of dy, from the frame's noise; None where not known [Å]")
    height: float = Field(description="of the peak in the frame, in those of the frame's commonest atom")
    height_std: float = Field(description="from the frame's noise")
    expected: float = Field(description="height that the structure calls for; 0 where it has nothing")
    residual: float = Field(description="rms of frame less drawing within a probe's width, in peaks")

    def describe(self) -> str:
        """Return it in words."""
        who = f"{self.species} {', '.join(map(str, self.atoms))}" if self.atoms else self.seen
        where = f"at x = {self.x:.2f}, y = {self.y:.2f} Å"
        return {
            "explained": f"{who} {where} explained",
            "missing": f"the frame shows {self.seen} {where}, the structure has nothing there",
            "extra": f"{who} {where}: the frame shows nothing there",
            "displaced": f"{who} {where}: the frame has it {np.hypot(self.dx, self.dy):.2f} Å away",
            "wrong species": f"{who} {where}: {'as bright as ' * (self.seen not in (BRIGHTER, FAINTER))}{self.seen}",
            "unclear": f"{who} {where}: the frame does not tell",
            "not judged": f"{who} {where}: at the border of the frame, or beyond it",
        }[self.kind]


THRESHOLDS = (
    f"An atom counts as there from {PRESENT:g} of the height of the faintest species, half way between one and none; "
    f"as displaced from {DISPLACED:g} Å, a fifth of a bond; as of another species where its height is nearer to that "
    "one's on a logarithmic scale, or beyond what its own could have with any annular detector. Each verdict stands "
    f"only where the frame's noise leaves {SURE:g} standard deviations for it ({SURE_OF_ANYWHERE:g} for what the "
    "structure lacks); else it is unclear. "
)
