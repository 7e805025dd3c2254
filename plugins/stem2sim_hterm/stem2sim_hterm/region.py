"""A part of the plane: a box, a circle or a polygon."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
from matplotlib.path import Path as Outline
from pydantic import BaseModel, ConfigDict, Field, model_validator

from stem2sim.geometry.pairs import SLACK

if TYPE_CHECKING:
    from numpy.typing import NDArray

Point = tuple[float, float]


class Region(BaseModel):
    """Options of a builder that acts on a part of the plane."""

    model_config = ConfigDict(frozen=True)

    box: tuple[float, float, float, float] | None = Field(
        None, description="atoms within x_min, x_max, y_min, y_max of a rectangle [Å]"
    )
    circle: tuple[float, float, float] | None = Field(
        None, description="atoms within a circle: x, y of the centre, and the radius [Å]"
    )
    polygon: tuple[Point, ...] | None = Field(
        None, min_length=3, description="atoms within a polygon: x, y of its vertices [Å]"
    )

    @model_validator(mode="after")
    def _one_that_is(self) -> Self:
        given = [name for name in ("box", "circle", "polygon") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"give a region as one shape, not as {' and '.join(given)}")
        if self.box is not None and not (self.box[0] < self.box[1] and self.box[2] < self.box[3]):
            raise ValueError(f"a box is x from, x to, y from, y to, in ascending order, got {self.box} Å")
        if self.circle is not None and self.circle[2] <= 0:
            raise ValueError(f"the radius of a circle must be positive, got {self.circle[2]} Å")
        return self

    @property
    def shape(self) -> str:
        """What the region is; '' where none was given."""
        return next((name for name in ("box", "circle", "polygon") if getattr(self, name) is not None), "")

    def inside(self, xy: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return (points,) which of them (points, 2) are within the region; all of them where none was given."""
        if self.box is not None:
            low, high = np.array(self.box).reshape(2, 2).T
            return np.asarray(((xy > low - SLACK) & (xy < high + SLACK)).all(axis=1))
        if self.circle is not None:
            return np.asarray(np.hypot(*(xy - self.circle[:2]).T) < self.circle[2] + SLACK)
        if self.polygon is not None:
            return np.asarray(Outline([*self.polygon, self.polygon[0]], closed=True).contains_points(xy))
        return np.ones(len(xy), dtype=bool)
