"""How well a structure agrees with its image: correlation, maps, and a verdict on every atom."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy import ndimage

from stem2sim.agreement.sites import Verdict
from stem2sim.imaging.forward import Probe

Floats = NDArray[np.float64]


class Agreement(BaseModel):
    """How well a structure agrees with its image."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    correlation: float = Field(description="normalised cross-correlation of simulation and image, over the structure")
    ceiling: float = Field(description="the same for a perfect simulation with this noise")
    shift: tuple[float, float] = Field(description="shift that registers the structure to the image [Å]")
    stretch: tuple[float, float, float] = Field(
        description="scale less 1, rotation [degrees] and shear of the registration, beyond those of the build"
    )
    matrix: tuple[tuple[float, float], tuple[float, float]] = Field(
        description="with the offset, maps x, y of the structure to the image"
    )
    offset: tuple[float, float] = Field(description="[Å]")
    probe: Probe
    noise: float = Field(description="of one pixel of the maps, relative to a peak of the most frequent species")
    verdicts: tuple[Verdict, ...]
    note: str = Field("", description="why single atoms are not judged; '' if they are")
    pixel_size: float = Field(description="of the maps [Å]")
    origin: tuple[float, float] = Field(description="x, y of the top-left pixel of the maps in the image [Å]")
    frame: Floats = Field(
        description="(rows, columns) image without background, relative to a peak of the most frequent species",
        repr=False,
    )
    drawn: Floats = Field(
        description="(rows, columns) simulation of the structure and of other atoms around it", repr=False
    )
    counted: NDArray[np.bool_] = Field(description="(rows, columns) area of the structure", repr=False)

    @property
    def residual(self) -> Floats:
        """(rows, columns) image less simulation, relative to a peak of the most frequent species."""
        return self.frame - self.drawn

    def correlation_with(self, image: Floats, pixel_size: float, origin: tuple[float, float]) -> float:
        """Return the normalised cross-correlation with another simulated image of the structure, over its area.

        Args:
            image: (rows, columns), any unit.
            pixel_size: of the image [Å].
            origin: x, y of the image's top-left pixel, in the structure [Å].
        """
        rows, columns = np.nonzero(self.counted)
        there = np.column_stack([columns, rows]) * self.pixel_size + self.origin
        own = np.linalg.solve(np.array(self.matrix), (there - self.offset).T).T
        x, y = ((own - origin) / pixel_size).T
        inside = (x >= 0) & (y >= 0) & (x <= image.shape[1] - 1) & (y <= image.shape[0] - 1)
        drawn = ndimage.map_coordinates(image, [y[inside], x[inside]], order=1)
        return float(np.corrcoef(drawn, self.frame[self.counted][inside])[0, 1])

    def counts(self) -> dict[str, int]:
        """Return verdicts by kind, the most frequent first."""
        return dict(Counter(verdict.kind for verdict in self.verdicts).most_common())

    def unexplained(self) -> list[Verdict]:
        """Return the verdicts other than agreement."""
        return [verdict for verdict in self.verdicts if verdict.kind not in ("explained", "not judged")]

    def summary(self) -> dict[str, Any]:
        """Return it for programs, without the maps."""
        return self.model_dump(mode="json", exclude={"frame", "drawn", "counted"}) | {"counts": self.counts()}
