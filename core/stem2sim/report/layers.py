"""What lies over a frame: pictures, places and outlines, each a layer that switches on and off."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from stem2sim import drawing
from stem2sim.report import figures

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Ramp:
    """What the colours of a layer mean: from low to high, words with their unit."""

    low: str
    high: str
    colours: Sequence[str]

    @classmethod
    def of(cls, low: str, high: str, colours: str = "viridis") -> Ramp:
        """Return the ramp of a colour map of matplotlib."""
        return cls(low, high, figures.colours(np.linspace(0, 1, 7), colours))


@dataclass(frozen=True)
class Raster:
    """A picture that covers part of the view: the frame itself, a map over it, a model beside it."""

    name: str
    png: bytes
    extent: tuple[float, float, float, float]
    """Left, top, right, bottom [Å], edges of the outermost pixels."""
    shown: bool = True
    ramp: Ramp | None = None

    @classmethod
    def grey(cls, name: str, pixels: NDArray[Any], pixel_size: float, shown: bool = True) -> Raster:
        """Return an array of grey values, stretched between its percentiles 0.5 and 99.8."""
        return cls(name, figures.grey(pixels), drawing.extent(pixels, pixel_size), shown)

    @classmethod
    def of(
        cls,
        name: str,
        values: NDArray[Any],
        extent: tuple[float, float, float, float],
        high: float,
        unit: str = "",
        shown: bool = False,
    ) -> Raster:
        """Return a map as a colour that is the stronger the further a value is from 0, of another colour below.

        Args:
            name: of the layer.
            values: (rows, columns).
            extent: left, top, right, bottom [Å]; see `drawing.extent`.
            high: value, above or below 0, whose colour hides what is under it.
            unit: of the values.
            shown: at the start.
        """
        low = -high if (np.asarray(values) < 0).any() else 0.0
        colours = (figures.BELOW, "transparent", figures.ABOVE)[0 if low else 1 :]
        ramp = Ramp(f"{low:g}", f"{high:g} {unit}".strip(), colours)
        return cls(name, figures.overlay(values, high), extent, shown, ramp)

    def paint(self, axis: Axes) -> None:
        """Draw it for Markdown."""
        figures.picture(axis, self.png, self.extent)


@dataclass(frozen=True)
class Points:
    """Places with circles round them, and what is said when one is pointed at."""

    name: str
    x: Floats
    y: Floats
    """[Å] in the frame."""
    text: Sequence[str]
    """For each, one line: said when the place is pointed at or walked to."""
    colour: str | Sequence[str]
    """For all, or for each."""
    radius: float | Floats = 0.5
    """For all, or for each [Å]."""
    filled: bool = False
    shown: bool = False
    key: Mapping[str, str] = field(default_factory=dict)
    """What the colours mean: word -> colour."""
    ramp: Ramp | None = None

    def paint(self, axis: Axes) -> None:
        """Draw it for Markdown."""
        drawing.circles(axis, np.column_stack([self.x, self.y]), self.radius, self.colour, self.filled)


@dataclass(frozen=True)
class Regions:
    """Outlines, each an (n, 2) array of x, y [Å]."""

    name: str
    outlines: Sequence[Floats]
    colour: str
    shown: bool = False

    def paint(self, axis: Axes) -> None:
        """Draw it for Markdown."""
        figures.outlines(axis, self.outlines, self.colour)


Layer = Raster | Points | Regions
