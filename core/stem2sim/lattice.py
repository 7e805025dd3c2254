"""The lattice found in an image: pixel size, stretch and rotation, compared with a reference."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

Floats = NDArray[np.float64]

GRAPHENE = 2.46
"""Lattice constant [Å] of graphene."""


DISAGREEMENT = 0.03
"""Relative difference between the given pixel size and that of the lattice, from which on it is reported."""


class Lattice(BaseModel):
    """A hexagonal lattice found in an image, with its reference lattice constant."""

    model_config = ConfigDict(frozen=True)

    pixel_size: float = Field(description="geometric mean pixel size from the lattice [Å]")
    anisotropy: float = Field(description="largest over smallest pixel size by direction, at least 1")
    angle: float = Field(description="direction of a lattice row from the x axis, 0 to 60 [degrees]")
    strength: float = Field(description="power of the three spots (geometric mean) over their surroundings")
    lattice_constant: float = Field(description="reference for the pixel size [Å]")
    metric: tuple[float, float, float] = Field(
        description="xx, xy, yy of the symmetric matrix from x, y in pixels to true x, y [Å]"
    )
    found_by: Literal["spectrum", "neighbours"] = Field("spectrum", description="what it was determined from")

    @property
    def matrix(self) -> Floats:
        """The metric as a (2, 2) matrix."""
        xx, xy, yy = self.metric
        return np.array([[xx, xy], [xy, yy]])

    def magnified(self, factor: float) -> Lattice:
        """Return the same lattice for pixels that are larger by this factor."""
        xx, xy, yy = self.metric
        metric = (xx * factor, xy * factor, yy * factor)
        return self.model_copy(update={"pixel_size": self.pixel_size * factor, "metric": metric})

    def ratio(self, pixel_size: float) -> float:
        """Return the pixel size from the lattice over a given one [Å]: 1 if they agree."""
        return self.pixel_size / pixel_size

    def complaint(self, pixel_size: float) -> str:
        """Return a warning about a given pixel size [Å] that is more than 3 % off; '' where it is not."""
        off = pixel_size / self.pixel_size - 1
        if abs(off) <= DISAGREEMENT:
            return ""
        of_lattice = f"the {self.pixel_size:.4f} Å/pixel of the lattice"
        return f"{pixel_size:.4f} Å/pixel was given, {100 * off:+.1f} % from {of_lattice}"


def lattice_of(metric: Floats, lattice_constant: float) -> Lattice:
    """Return the lattice of a metric that was determined from neighbours; its angle is not known."""
    largest, smallest = np.linalg.svd(metric, compute_uv=False)
    return Lattice(
        pixel_size=float(np.sqrt(largest * smallest)),
        anisotropy=float(largest / smallest),
        angle=0.0,
        strength=0.0,
        lattice_constant=lattice_constant,
        metric=(float(metric[0, 0]), float(metric[0, 1]), float(metric[1, 1])),
        found_by="neighbours",
    )
