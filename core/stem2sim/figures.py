"""Figures of the report. Each function returns one PNG picture; those of the frame also where its axes lie in it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from ase.data import atomic_numbers, covalent_radii
from ase.data.colors import jmol_colors
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import EllipseCollection, LineCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from stem2sim.bonds import bonds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ase import Atoms
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage
    from numpy.typing import NDArray

    from stem2sim.image import Image
    from stem2sim.segmentation import AtomsTable, Segmentation

COLOURS = {"C": "#4cc9f0", "Si": "#ff9f1c", "H": "#f1faee", "Cr": "#8ac926"}
"""On grey frames; other species take their customary colour."""

BLUE, ORANGE, GREY = "#1d6fa5", "#d1661b", "#7a7a7a"
PANEL = 4.3
"""Inches."""

DOTS = 140
"""Per inch."""

PADDING = 0.05
"""Inches."""


def _figure(panels: int, ratio: float = 1.0, width: float = PANEL) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width * panels, width * ratio), layout="constrained")
    FigureCanvasAgg(figure)
    axes = [figure.add_subplot(1, panels, k + 1) for k in range(panels)]
    for axis in axes:
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS, bbox_inches="tight", pad_inches=PADDING)
    return buffer.getvalue()


class Panel(NamedTuple):
    """Axes in a picture: left, top, right, bottom as shares of its width and height, and x, y there [Å]."""

    box: tuple[float, float, float, float]
    data: tuple[float, float, float, float]


def _mapped(figure: Figure, axes: Sequence[Axes]) -> tuple[bytes, list[Panel]]:
    """The picture, and its axes, for whoever wants to know what a point of it shows."""
    png = _png(figure)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    whole = figure.get_tightbbox(canvas.get_renderer()).padded(PADDING)  # type: ignore[no-untyped-call]
    panels = []
    for axis in axes:
        inside = axis.get_window_extent().transformed(figure.dpi_scale_trans.inverted())
        corners = axis.transData.inverted().transform(axis.transAxes.transform([[0, 1], [1, 0]]))
        box = (
            (inside.x0 - whole.x0) / whole.width,
            (whole.y1 - inside.y1) / whole.height,
            (inside.x1 - whole.x0) / whole.width,
            (whole.y1 - inside.y0) / whole.height,
        )
        panels.append(Panel(box, tuple(corners.ravel().tolist())))
    return png, panels


def _show(axis: Axes, pixels: NDArray[np.float32], pixel_size: float, **how: Any) -> AxesImage:
    rows, columns = pixels.shape
    start, right, bottom = (k * pixel_size for k in (-0.5, columns - 0.5, rows - 0.5))
    shown = axis.imshow(pixels, extent=(start, right, bottom, start), interpolation="nearest", **how)
    axis.set_xlabel("x [Å]", fontsize=8)
    axis.set_ylabel("y [Å]", fontsize=8)
    return shown


def _grey(pixels: NDArray[np.float32]) -> dict[str, Any]:
    low, high = np.percentile(pixels, (0.5, 99.8))
    return {"cmap": "gray", "vmin": low, "vmax": high}


def _colour(species: str) -> str:
    element = species.rstrip("0123456789")  # a column of several atoms shows in its element's colour
    return COLOURS.get(element, to_hex(jmol_colors[atomic_numbers.get(element, 0)]))


def frame(image: Image, atoms: AtomsTable) -> tuple[bytes, list[Panel]]:
    """The frame as it is, and with the atoms found over it."""
    figure, axes = _figure(2)
    for axis in axes:
        _show(axis, image.pixels, image.pixel_size, **_grey(image.pixels))
    size = _marker(image.field_of_view[0])
    for species, count in atoms.counts().items():
        here = atoms.species == species
        axes[1].scatter(
            atoms.x[here], atoms.y[here], s=size * (1 if species == "C" else 4), facecolors="none",
            edgecolors=[_colour(species)], linewidths=1.0, label=f"{species} ({count})",
        )  # fmt: skip
    axes[0].set_title("frame", fontsize=10)
    axes[1].set_title("atoms found", fontsize=10)
    axes[1].legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=4, frameon=False)
    return _mapped(figure, axes)


def _marker(width: float) -> float:
    """Marker area [points²] of a circle of about 0.5 Å radius."""
    return float(np.clip((PANEL * 0.8 * 72 / width) ** 2 * 0.5, 2, 60))


def uncertainty(image: Image | None, found: Segmentation) -> bytes:
    """Where the ensemble disagrees, pixel by pixel, and how sure each atom is."""
    atoms = found.atoms
    figure, axes = _figure(2 if found.spread is not None else 1, ratio=0.9)
    if found.spread is not None and found.pixel_size is not None:
        shown = _show(axes[0], found.spread[-1], found.pixel_size, cmap="inferno", vmin=0, vmax=0.5)
        figure.colorbar(shown, ax=axes[0], shrink=0.8).ax.tick_params(labelsize=8)
        axes[0].set_title("spread of the foreground probability", fontsize=10)
    axis = axes[-1]
    if image is not None:
        _show(axis, image.pixels, image.pixel_size, **{**_grey(image.pixels), "alpha": 0.35})
    else:
        axis.set_aspect("equal")
        axis.invert_yaxis()
    width = float(np.ptp(atoms.x)) or 1.0
    dots = axis.scatter(atoms.x, atoms.y, c=atoms.probability, s=_marker(width), cmap="viridis", vmin=0, vmax=1)
    figure.colorbar(dots, ax=axis, shrink=0.8).ax.tick_params(labelsize=8)
    axis.set_title("probability of each atom", fontsize=10)
    return _png(figure)


def patch(image: Image, atoms: AtomsTable, source: NDArray[np.int64]) -> tuple[bytes, list[Panel]]:
    """The atoms that went into the structure, over the frame."""
    figure, (axis,) = _figure(1)
    _show(axis, image.pixels, image.pixel_size, **_grey(image.pixels))
    kept = source[source >= 0]
    size = _marker(image.field_of_view[0])
    axis.scatter(atoms.x, atoms.y, s=size / 3, color="white", alpha=0.35, linewidths=0)
    axis.scatter(
        atoms.x[kept], atoms.y[kept], s=size, c=[_colour(str(s)) for s in atoms.species[kept]], edgecolors="black",
        linewidths=0.4,
    )  # fmt: skip
    axis.set_title(f"{len(kept)} atoms of the frame in the structure", fontsize=10)
    return _mapped(figure, [axis])


def structures(named: Sequence[tuple[str, Atoms]]) -> bytes:
    """Structures side by side, seen along the beam, x to the right and y down as in the frame; below, from the side."""
    figure = Figure(figsize=(PANEL * len(named), PANEL * 1.3), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(2, len(named), squeeze=False, height_ratios=[4, 1])
    for (title, atoms), (top, side) in zip(named, grid.T, strict=True):
        xyz = atoms.positions - atoms.positions.mean(axis=0)
        _draw(top, xyz[:, (0, 1)], xyz[:, 2], atoms)
        _draw(side, xyz[:, (0, 2)], xyz[:, 1], atoms)
        reach = np.abs(xyz[:, :2]).max() + 1.2
        top.set(xlim=(-reach, reach), ylim=(reach, -reach))
        deep = max(1.6, np.abs(xyz[:, 2]).max() + 0.8)
        side.set(xlim=(-reach, reach), ylim=(deep, -deep))
        top.set_title(title, fontsize=10)
        top.set_ylabel("y [Å]", fontsize=8)
        side.set_ylabel("z [Å]", fontsize=8)
        side.set_xlabel("x [Å]", fontsize=8)
        for axis in (top, side):
            axis.tick_params(labelsize=8)
            axis.set_aspect("equal")
    return _png(figure)


def _draw(axis: Axes, flat: NDArray[np.float64], depth: NDArray[np.float64], atoms: Atoms) -> None:
    i, j, _ = bonds(atoms)
    inside = np.linalg.norm(atoms.positions[i] - atoms.positions[j], axis=1) < 4  # not across a periodic boundary
    lines = [np.array([flat[a], flat[b]]) for a, b in zip(i[inside], j[inside], strict=True)]
    axis.add_collection(LineCollection(lines, colors="#444444", linewidths=1.6, zorder=1))
    order = np.argsort(-depth)  # z points into the page: the deepest first
    size = 0.9 * covalent_radii[atoms.numbers[order]]
    colours = ["#3a3a3a" if s == "C" else _colour(s) for s in np.array(atoms.get_chemical_symbols())[order]]
    circles = EllipseCollection(
        size, size, np.zeros(len(size)), units="x", offsets=flat[order], offset_transform=axis.transData,
        facecolors=colours, edgecolors="black", linewidths=0.5, zorder=2,
    )  # fmt: skip
    axis.add_collection(circles)


def bond_histogram(named: Sequence[tuple[str, Mapping[str, NDArray[np.float64]]]]) -> bytes:
    """Bond lengths by kind of bond, one outline per structure."""
    kinds = sorted({kind for _, lengths in named for kind in lengths})
    figure, axes = _figure(len(kinds), ratio=0.62 if len(kinds) < 4 else 0.9, width=PANEL * 2 / max(2, len(kinds)))
    for axis, kind in zip(axes, kinds, strict=True):
        every = np.concatenate([lengths[kind] for _, lengths in named if kind in lengths])
        middle, half = (every.max() + every.min()) / 2, max(0.05, 0.55 * float(np.ptp(every)))
        bins = np.linspace(middle - half, middle + half, 26).tolist()
        for (name, lengths), colour in zip(named, (GREY, BLUE, ORANGE) * 3, strict=False):
            if kind in lengths:
                axis.hist(lengths[kind], bins, histtype="stepfilled", alpha=0.25, color=colour)
                axis.hist(lengths[kind], bins, histtype="step", color=colour, linewidth=1.4, label=name)
        axis.set_title(kind, fontsize=10)
        axis.set_xlabel("length [Å]", fontsize=8)
    axes[0].set_ylabel("bonds", fontsize=8)
    axes[0].legend(fontsize=8)
    return _png(figure)


def series(observables: Mapping[str, Sequence[float]]) -> bytes:
    """Every observable over time where there is a time, over the steps otherwise."""
    time = next((name for name in observables if name.startswith("time")), None)
    shown = [name for name in observables if name != time]
    figure, axes = _figure(len(shown), ratio=0.62, width=PANEL * 2 / max(2, len(shown)))
    for axis, name in zip(axes, shown, strict=True):
        values = np.asarray(observables[name], dtype=float)
        x = np.asarray(observables[time]) if time else np.arange(len(values))
        axis.plot(x, values, color=ORANGE if "temperature" in name else BLUE, linewidth=1.3)
        if "force" in name:
            axis.set_yscale("log")
        axis.ticklabel_format(axis="x" if "force" in name else "both", useOffset=False)
        axis.set_xlabel(time or "step", fontsize=8)
        axis.set_title(name, fontsize=10)
    return _png(figure)
