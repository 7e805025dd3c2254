"""The frame with what was found in it, in layers that switch on and off."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from stem2sim.report import figures
from stem2sim.report.layers import Layer, Points, Raster, Regions
from stem2sim.report.markup import Figures, data, plain, text, uri

if TYPE_CHECKING:
    from collections.abc import Sequence

FINE = 2
"""Decimals of a place [Å]."""


@dataclass(frozen=True)
class FrameView:
    """Layers over a field of view, to zoom and to point at; the place of a click is given as `patch` takes it."""

    extent: tuple[float, float, float, float]
    """Left, top, right, bottom [Å]."""
    rasters: Sequence[Raster] = ()
    points: Sequence[Points] = ()
    regions: Sequence[Regions] = ()
    title: str = "frame"
    caption: str = ""
    scripts: ClassVar[tuple[str, ...]] = ("frame.js",)

    @property
    def layers(self) -> list[Layer]:
        """All of them, the lowest first."""
        return [*self.rasters, *self.regions, *self.points]

    @cached_property
    def png(self) -> bytes:
        """The picture for Markdown: what is shown at the start, and a panel for each layer that is not."""
        return figures.layered(self.extent, self.layers)

    @property
    def _alt(self) -> str:
        counts = ", ".join(f"{one.name} {len(one.x)}" for one in self.points)
        return f"{self.title}: " + (counts or ", ".join(one.name for one in self.rasters))

    def _data(self) -> dict[str, Any]:
        """Every place once, with its words; for each layer of points, which of them it shows."""
        number: dict[tuple[float, float, str], int] = {}
        layers = [
            [
                number.setdefault((round(x, FINE), round(y, FINE), words), len(number))
                for x, y, words in zip(one.x.tolist(), one.y.tolist(), one.text, strict=True)
            ]
            for one in self.points
        ]
        return {"extent": [round(v, 4) for v in self.extent], "places": list(number), "layers": layers}

    def html(self, level: int) -> str:
        """Return an SVG of all layers, the switches, and the line with details of what is pointed at."""
        left, top, right, bottom = self.extent
        box = f"{left:.4f} {top:.4f} {right - left:.4f} {bottom - top:.4f}"
        rasters = "".join(_raster(one) for one in self.rasters)
        layers = "".join(_regions(one) for one in self.regions) + "".join(_points(one) for one in self.points)
        switches = "".join(_switch(one) for one in self.layers)
        caption = f"<figcaption>{text(self.caption)}</figcaption>" if self.caption else ""
        length = scale_bar(right - left)
        bar = f"{length / 10:g} nm" if length >= 10 else f"{length:g} Å"
        return (
            f'<figure class="frame"><div class="stage" style="--ratio:{(right - left) / (bottom - top):.5f}">'
            f'<svg viewBox="{box}" role="img" aria-label="{text(self._alt)}" preserveAspectRatio="xMidYMid meet">'
            f'{rasters}{layers}<g class="chosen"></g></svg>'
            f'<div class="scale" aria-hidden="true"><i style="width:{100 * length / (right - left):.2f}%"></i>'
            f"<span>{bar}</span></div>"
            '<div class="zoom" hidden><button type="button" aria-label="zoom in">+</button><button type="button" '
            'aria-label="zoom out">−</button><button type="button" aria-label="reset zoom">reset</button></div></div>'
            f'<output class="details" aria-live="polite"></output><output class="place"></output>'
            f'<fieldset class="layers"><legend>Layers</legend>{switches}</fieldset>{caption}'
            f"{data(self._data())}</figure>"
        )

    def markdown(self, figures: Figures, level: int) -> str:
        """Return the picture, kept beside the report."""
        return f"![{plain(self._alt)}]({figures.add(self.png, self.title)})\n\n{plain(self.caption)}".strip()


def scale_bar(width: float) -> float:
    """Return a round length of at most a quarter of a width [Å]."""
    power = 10.0 ** np.floor(np.log10(width / 4))
    return float(next(step * power for step in (5, 2, 1) if step * power <= width / 4))


def _switch(layer: Layer) -> str:
    key = dict(layer.key) if isinstance(layer, Points) else {}
    if isinstance(layer, Regions):
        key = {"": layer.colour}
    swatches = "".join(
        f'<span class="key"><i style="background:{text(colour)}"></i>{text(word)}</span>'
        for word, colour in key.items()
    )
    ramp = None if isinstance(layer, Regions) else layer.ramp
    if ramp:
        colours = ", ".join(ramp.colours)
        swatches += (
            f'<span class="key">{text(ramp.low)}<i class="ramp" style="background-image:linear-gradient(90deg, '
            f'{colours})"></i>{text(ramp.high)}</span>'
        )
    checked = " checked" if layer.shown else ""
    return f'<div><label><input type="checkbox" autocomplete="off"{checked}>{text(layer.name)}</label>{swatches}</div>'


def _group(layer: Layer, body: str, more: str = "") -> str:
    hidden = "" if layer.shown else ' style="display:none"'
    return f'<g class="layer" data-layer="{text(layer.name)}"{hidden}{more}>{body}</g>'


def _raster(layer: Raster) -> str:
    left, top, right, bottom = layer.extent
    return _group(
        layer,
        f'<image href="{uri(layer.png)}" x="{left:.4f}" y="{top:.4f}" width="{right - left:.4f}" '
        f'height="{bottom - top:.4f}" preserveAspectRatio="none"/>',
    )


def _regions(layer: Regions) -> str:
    body = "".join(
        '<polygon points="' + " ".join(f"{x:.2f},{y:.2f}" for x, y in one.tolist()) + '"/>' for one in layer.outlines
    )
    return _group(layer, body, f' fill="none" stroke="{text(layer.colour)}"')


def _points(layer: Points) -> str:
    """Circles, those of one colour together: the page of a large frame stays small."""
    n = len(layer.x)
    colours = [layer.colour] * n if isinstance(layer.colour, str) else list(layer.colour)
    radii = np.broadcast_to(layer.radius, n).tolist()
    groups: dict[str, list[str]] = {}
    for x, y, radius, colour in zip(layer.x.tolist(), layer.y.tolist(), radii, colours, strict=True):
        groups.setdefault(colour, []).append(f'<circle cx="{x:.2f}" cy="{y:.2f}" r="{radius:.3g}"/>')
    paint = "fill" if layer.filled else "stroke"
    body = "".join(f'<g {paint}="{text(colour)}">{"".join(circles)}</g>' for colour, circles in groups.items())
    return _group(layer, body, ' stroke="none"' if layer.filled else ' fill="none"')
