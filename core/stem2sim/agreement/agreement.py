"""How well a structure explains its frame: correlation, maps, and a verdict on every atom."""

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
    """How well a structure explains its frame."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    correlation: float = Field(description="normalised cross-correlation of drawing and frame, over the structure")
    ceiling: float = Field(description="correlation that the frame's noise would leave a perfect drawing")
    shift: tuple[float, float] = Field(description="of the structure, to lie on the frame [Å]")
    stretch: tuple[float, float, float] = Field(
        description="scale less 1, rotation [degrees] and shear, beyond those it was built with"
    )
    matrix: tuple[tuple[float, float], tuple[float, float]] = Field(
        description="takes x, y of the structure to those in the frame, with the offset"
    )
    offset: tuple[float, float] = Field(description="[Å]")
    probe: Probe
    noise: float = Field(description="of one pixel of the maps, in peaks of the commonest atom")
    verdicts: tuple[Verdict, ...]
    note: str = Field("", description="why there are no verdicts; '' where there are")
    pixel_size: float = Field(description="of the maps [Å]")
    origin: tuple[float, float] = Field(description="x, y of the maps' top-left pixel in the frame [Å]")
    frame: Floats = Field(description="(rows, columns) in peaks of the commonest atom, background off", repr=False)
    drawn: Floats = Field(description="(rows, columns) the structure, and round it what else was found", repr=False)
    counted: NDArray[np.bool_] = Field(description="(rows, columns) the structure's own area", repr=False)

    @property
    def residual(self) -> Floats:
        """(rows, columns) frame less drawing, in peaks of the commonest atom."""
        return self.frame - self.drawn

    def correlation_with(self, image: Floats, pixel_size: float, origin: tuple[float, float]) -> float:
        """Return the normalised cross-correlation of the frame with another drawing of the structure, over its area.

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
        return dict(Counter(one.kind for one in self.verdicts).most_common())

    def unexplained(self) -> list[Verdict]:
        """Return what the structure does not explain."""
        return [one for one in self.verdicts if one.kind not in ("explained", "not judged")]

    def summary(self) -> dict[str, Any]:
        """Return it for programs, without the maps."""
        return self.model_dump(mode="json", exclude={"frame", "drawn", "counted"}) | {"counts": self.counts()}
