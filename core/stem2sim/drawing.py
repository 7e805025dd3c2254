"""Frames, atoms and structures on the axes of matplotlib: x to the right, y down, in Å."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from ase.data import atomic_numbers, covalent_radii
from ase.data.colors import jmol_colors
from matplotlib.collections import EllipseCollection, LineCollection
from matplotlib.colors import to_hex

from stem2sim.geometry.bonds import Bonds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

COLOURS = {"C": "#4cc9f0", "Si": "#ff9f1c", "H": "#f1faee", "Cr": "#8ac926"}
"""On grey frames; other species take their customary colour."""


def new_axes() -> Axes:
    """Return the axes of a new figure of pyplot, which notebooks show."""
    from matplotlib import pyplot

    axes: Axes = pyplot.subplots(layout="compressed")[1]
    return axes


def colour(species: str) -> str:
    """Return the colour of a species over a grey frame."""
    element = species.rstrip("0123456789")  # a column of several atoms shows in its element's colour
    return COLOURS.get(element, to_hex(jmol_colors[atomic_numbers.get(element, 0)]))


def solid_colour(symbol: str) -> str:
    """Return the colour of an element on white."""
    return "#3a3a3a" if symbol == "C" else colour(symbol)


def extent(pixels: NDArray[Any], pixel_size: float) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom edge of an array [Å]; the centre of its first pixel is at 0, 0."""
    rows, columns = pixels.shape
    return -0.5 * pixel_size, -0.5 * pixel_size, (columns - 0.5) * pixel_size, (rows - 0.5) * pixel_size


def stretched(pixels: NDArray[Any]) -> NDArray[np.float64]:
    """Return a frame as grey values 0 to 1, stretched between its percentiles 0.5 and 99.8."""
    low, high = np.percentile(pixels, (0.5, 99.8))
    grey: NDArray[np.float64] = np.clip((pixels - low) / ((high - low) or 1.0), 0, 1)
    return grey


def labelled(axis: Axes) -> Axes:
    """Give axes equal scales and their labels; y points down as in the frame."""
    axis.set_aspect("equal")
    if not axis.yaxis_inverted():
        axis.invert_yaxis()
    axis.set_xlabel("x [Å]")
    axis.set_ylabel("y [Å]")
    return axis


def frame(axis: Axes, pixels: NDArray[Any], pixel_size: float) -> None:
    """Draw a frame in grey where it lies."""
    left, top, right, bottom = extent(pixels, pixel_size)
    axis.imshow(stretched(pixels), cmap="gray", vmin=0, vmax=1, extent=(left, right, bottom, top))


def circles(
    axis: Axes,
    places: NDArray[np.float64],
    radius: float | NDArray[np.float64],
    colour: str | Sequence[str],
    filled: bool = False,
) -> None:
    """Draw circles round (n, 2) places x, y [Å], of one radius [Å] and colour or one for each."""
    wide = 2 * np.broadcast_to(radius, len(places))
    drawn = EllipseCollection(
        wide, wide, np.zeros(len(wide)), units="x", offsets=places, offset_transform=axis.transData,
        facecolors=colour if filled else "none", edgecolors=colour, linewidths=0.8,
    )  # fmt: skip
    axis.add_collection(drawn)


def balls(axis: Axes, atoms: Atoms, across: tuple[int, int] = (0, 1), depth: int = 2) -> None:
    """Draw atoms as balls with their bonds.

    Args:
        axis: to draw on.
        atoms: positions [Å].
        across: the two coordinates that are drawn.
        depth: the third one; the deepest atoms are drawn first.
    """
    flat, deep = atoms.positions[:, across], atoms.positions[:, depth]
    i, j, _ = Bonds.of(atoms).once
    inside = np.linalg.norm(atoms.positions[i] - atoms.positions[j], axis=1) < 4  # not across a periodic boundary
    lines = [np.array([flat[a], flat[b]]) for a, b in zip(i[inside], j[inside], strict=True)]
    axis.add_collection(LineCollection(lines, colors="#444444", linewidths=1.6, zorder=1))
    order = np.argsort(-deep)  # z points into the page: the deepest first
    size = 0.9 * covalent_radii[atoms.numbers[order]]
    colours = [solid_colour(s) for s in np.array(atoms.get_chemical_symbols())[order]]
    spheres = EllipseCollection(
        size, size, np.zeros(len(size)), units="x", offsets=flat[order], offset_transform=axis.transData,
        facecolors=colours, edgecolors="black", linewidths=0.5, zorder=2,
    )  # fmt: skip
    axis.add_collection(spheres)
