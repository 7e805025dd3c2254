"""Pictures and colours of the report. What draws returns one PNG picture."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import PIL.Image as PillowImage
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

from stem2sim.drawing import balls, stretched

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

SHADES = ("#1d6fa5", "#c2570f", "#6b6b6b", "#2f7d4f", "#7a4fa3", "#a33a5e")
"""Of curves; page.js has the same."""

ABOVE, BELOW = "#ff5a1f", "#2f7bff"
"""Of maps over a frame, where a value is above 0 and below."""

MOST_PANELS = 9

PANEL = 4.3
"""Inches."""

DOTS = 140
"""Per inch."""


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS)
    return buffer.getvalue()


def grey(pixels: NDArray[Any]) -> bytes:
    """A frame pixel by pixel in grey, stretched between its percentiles 0.5 and 99.8."""
    return _pixels(np.round(255 * stretched(pixels)).astype(np.uint8))


def overlay(values: NDArray[Any], high: float) -> bytes:
    """A map pixel by pixel: the further from 0 the less transparent, opaque at ± `high`."""
    values = np.nan_to_num(values)
    shades = np.zeros((*values.shape, 4), dtype=np.uint8)
    above, below = (np.round(255 * np.array(to_rgb(colour))).astype(np.uint8) for colour in (ABOVE, BELOW))
    shades[..., :3] = np.where((values < 0)[..., None], below, above)
    shades[..., 3] = np.round(255 * np.clip(np.abs(values) / high, 0, 1))
    return _pixels(shades)


def _pixels(array: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    PillowImage.fromarray(array).save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def colours(values: Any, name: str = "viridis") -> list[str]:
    """The colours of values between 0 and 1 in a colour map."""
    return [to_hex(one) for one in colormaps[name](np.asarray(values))]


def structures(named: Sequence[tuple[str, Atoms]]) -> bytes:
    """Structures side by side, seen along the beam, x to the right and y down as in the frame; below, from the side."""
    figure = Figure(figsize=(PANEL * len(named), PANEL * 1.3), layout="compressed")
    FigureCanvasAgg(figure)
    grid = figure.subplots(2, len(named), squeeze=False, height_ratios=[4, 1])
    for (title, atoms), (top, side) in zip(named, grid.T, strict=True):
        atoms = atoms.copy()
        atoms.positions -= atoms.positions.mean(axis=0)
        xyz = atoms.positions
        balls(top, atoms)
        balls(side, atoms, across=(0, 2), depth=1)
        reach = np.abs(xyz[:, :2]).max() + 1.2
        top.set(xlim=(-reach, reach), ylim=(reach, -reach))
        deep = max(1.6, np.abs(xyz[:, 2]).max() + 0.8)
        side.set(xlim=(-reach, reach), ylim=(deep, -deep))
        top.set_title(_words(title), fontsize=10)
        top.set_ylabel("y [Å]", fontsize=8)
        side.set_ylabel("z [Å]", fontsize=8)
        side.set_xlabel("x [Å]", fontsize=8)
        for axis in (top, side):
            axis.tick_params(labelsize=8)
            axis.set_aspect("equal")
    return _png(figure)


def _words(text: str) -> str:
    """Text that stays text: matplotlib takes what is between two dollars for a formula."""
    return text.replace("$", r"\$")


class Layer(Protocol):
    """What can be painted over a field of view."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def shown(self) -> bool:
        """Whether it shows before anyone switches it on."""

    def paint(self, axis: Axes) -> None:
        """Draw it by `picture`, `circles` or `outlines`."""


def layered(extent: tuple[float, float, float, float], layers: Sequence[Layer]) -> bytes:
    """The layers that show at the start together, then each of the others over the first one."""
    panels = [[one for one in layers if one.shown]]
    panels += [[*layers[:1], one] for one in layers[1:] if not one.shown]
    panels = panels[:MOST_PANELS]
    left, top, right, bottom = extent
    across = min(3, len(panels))
    down = -(-len(panels) // across)
    high = PANEL * (bottom - top) / (right - left) + 0.4
    figure = Figure(figsize=(PANEL * across, high * down), layout="compressed")
    FigureCanvasAgg(figure)
    for k, shown in enumerate(panels):
        axis = figure.add_subplot(down, across, k + 1)
        for layer in shown:
            layer.paint(axis)
        axis.set(xlim=(left, right), ylim=(bottom, top))
        axis.set_aspect("equal")
        axis.set_title(_words(", ".join(one.name for one in shown)), fontsize=9, wrap=True)
        axis.set_xlabel("x [Å]", fontsize=8)
        axis.set_ylabel("y [Å]", fontsize=8)
        axis.tick_params(labelsize=8)
    return _png(figure)


def picture(axis: Axes, png: bytes, extent: tuple[float, float, float, float]) -> None:
    """Draw a PNG where it lies [Å]."""
    left, top, right, bottom = extent
    pixels = np.asarray(PillowImage.open(io.BytesIO(png)))
    axis.imshow(pixels, cmap="gray", vmin=0, vmax=255, extent=(left, right, bottom, top), interpolation="nearest")


def outlines(axis: Axes, polygons: Sequence[NDArray[np.float64]], colour: str) -> None:
    """Draw outlines, each (n, 2) corners x, y [Å]."""
    axis.add_collection(PolyCollection(list(polygons), facecolors="none", edgecolors=colour))


def plot(
    x_label: str,
    y_label: str,
    curves: Sequence[tuple[Any, ...]],
    kind: str = "line",
    log_y: bool = False,
) -> bytes:
    """Curves over one axis: name, x, y, and the low and high edge of a band where it is known."""
    figure = Figure(figsize=(PANEL * 1.2, PANEL * 0.68))
    FigureCanvasAgg(figure)
    axis = figure.add_axes((0.17, 0.19, 0.8, 0.77))  # a layout engine would take longer than all else
    for k, (called, x, y, *band) in enumerate(curves):
        name, shade = _words(called), SHADES[k % len(SHADES)]
        if kind == "bars":
            axis.bar(x[:-1], y[:-1], np.diff(x), align="edge", color=shade, alpha=0.5, label=name)
        elif kind == "steps":
            axis.step(x, y, where="post", color=shade, linewidth=1.4, label=name)
            axis.fill_between(x, y, step="post", color=shade, alpha=0.15, linewidth=0)
        else:
            axis.plot(x, y, color=shade, linewidth=1.3, label=name)
        if len(band) == 2:
            axis.fill_between(x, *band, color=shade, alpha=0.15, linewidth=0)
    if log_y:
        axis.set_yscale("log")
    else:
        axis.ticklabel_format(useOffset=False)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_xlabel(_words(x_label), fontsize=8)
    axis.set_ylabel(_words(y_label), fontsize=8)
    if len(curves) > 1:
        axis.legend(fontsize=8, frameon=False)
    return _png(figure)
