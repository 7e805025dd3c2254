"""The structures compared with the image: each rendered as the microscope would record it, every atom judged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ase.data import atomic_numbers, covalent_radii

from stem2sim import drawing
from stem2sim.agreement.agreement import Agreement
from stem2sim.agreement.sites import THRESHOLDS, Kind
from stem2sim.report import figures
from stem2sim.report.blocks import Block, Facts, FrameView, Listed, Picture, Points, Raster, Section, Table, Text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stem2sim.runs.derived import SimulatedImage
    from stem2sim.runs.run import Run

COLOURS: dict[Kind, str] = {
    "explained": "#4cc9f0", "displaced": "#ffd166", "missing": "#ff5fa2", "extra": "#ff4d4d",
    "wrong species": "#c77dff", "unclear": "#ffffff", "not judged": "#8d99ae",
}  # fmt: skip
"""On a dark frame."""

MOST = 6
"""Structures and results that are shown in full; the others get a line in a table."""

STRONGEST = 1.5
"""Residual, in peaks of the commonest atom, that is drawn opaque."""


def compare_back(run: Run) -> Iterator[Section]:
    """One part for each structure and result."""
    compared = {name: one for name, one in run.agreements.items() if isinstance(one, Agreement)}
    several = len(run.structures) > 1
    parts: list[Block] = []
    for name, agreement in list(compared.items())[:MOST]:
        title = f"After {name}" if name in run.places else f"{name} as built" if several else "Structure as built"
        blocks = [_summary(agreement), Facts(_facts(agreement)), _view(title, agreement)]
        blocks += [*_multislice(run.multislice(name), title, agreement), _table(title, agreement)]
        parts.append(Section(title, blocks, f"compare-back-{len(parts) + 1}"))
    if len(compared) > MOST:
        rows = [[name, f"{one.correlation:.3f}", f"{one.ceiling:.3f}", _counted(one)] for name, one in compared.items()]
        columns = ("structure or result", "correlation", "noise limit", "atoms")
        parts.append(
            Table("All structures compared with the image", columns, rows, f"The first {MOST} are shown above.")
        )
    problems = {name: why for name, why in run.agreements.items() if isinstance(why, str)}
    if problems:
        parts.append(Listed([f"{name} could not be compared with the image: {why}" for name, why in problems.items()]))
    if parts:
        how = (
            "An image of each structure is simulated with a probe profile fitted to the input image, aligned "
            "with it by a small affine transformation, and compared within the area of the structure. Atoms detected "
            "outside the structure are included at their detected positions. For molecular dynamics, the structure "
            f"averaged over the second half of the trajectory is used. {THRESHOLDS} Hydrogen is too faint to be "
            "assessed."
        )
        yield Section("Comparison with the image", [Text(how), *parts], "compare-back")


def describe(agreement: Agreement) -> str:
    """Return it in a line."""
    return (
        f"correlation {agreement.correlation:.3f} (noise limit {agreement.ceiling:.3f}); atoms: {_counted(agreement)}"
    )


def _summary(agreement: Agreement) -> Block:
    if agreement.note:
        return Text(f"{agreement.note[:1].upper()}{agreement.note[1:]}.")
    lines = [one.describe() for one in agreement.unexplained()]
    return (
        Listed(lines)
        if lines
        else Text("All assessable atoms of the structure are present in the image, and no additional atoms are seen.")
    )


def _counted(agreement: Agreement) -> str:
    return agreement.note or ", ".join(f"{count} {kind}" for kind, count in agreement.counts().items())


def _facts(agreement: Agreement) -> dict[str, str]:
    scale, turn, stretch = agreement.stretch
    x, y = agreement.shift
    return {
        "normalised cross-correlation": f"{agreement.correlation:.3f} (noise limit for a perfect structure: "
        f"{agreement.ceiling:.3f})",
        "atoms": _counted(agreement),
        "alignment with the image": f"shift {x:+z.3f}, {y:+z.3f} Å, scale {100 * scale:+z.2f} %, "
        f"rotation {turn:+z.2f}°, anisotropy {100 * stretch:z.2f} %",
        "probe, fitted to the image": f"FWHM {agreement.probe.fwhm:.2f} Å (including source size), "
        f"{100 * agreement.probe.tail_weight:.0f} % of the intensity in the tails, aspect ratio (y/x) "
        f"{agreement.probe.ellipticity:.2f}; peak heights scale as Z^{agreement.probe.scattering_exponent:.2f}",
        f"noise per pixel of {agreement.pixel_size:.3f} Å": f"standard deviation {agreement.noise:.2f} of the peak "
        "height of the most common species",
    }


def _view(title: str, agreement: Agreement) -> FrameView:
    left, top, right, bottom = drawing.extent(agreement.frame, agreement.pixel_size)
    x, y = agreement.origin
    extent = (left + x, top + y, right + x, bottom + y)
    opaque = np.where(agreement.counted, agreement.residual, 0.0)
    rasters = [
        Raster("image", figures.grey(agreement.frame), extent),
        Raster("simulated from the structure", figures.grey(agreement.drawn), extent, shown=False),
        Raster.of("residual: brighter or darker than simulated", opaque, extent, STRONGEST, "peaks"),
    ]
    points = [
        Points(
            kind, np.array([one.x for one in chosen]), np.array([one.y for one in chosen]),
            [f"{one.describe()}; peak height {one.height:.2f} ± {one.height_std:.2f} (expected {one.expected:.2f})"
             for one in chosen],
            colour, np.array([_radius(one.species or one.image_shows) for one in chosen]), shown=True,
            key={str(len(chosen)): colour},
        )
        for kind, colour in COLOURS.items()
        if (chosen := [one for one in agreement.verdicts if one.kind == kind])
    ]  # fmt: skip
    return FrameView(extent, rasters, points, title=f"{title}, compared with the image")


def _multislice(simulated: SimulatedImage | None, title: str, agreement: Agreement) -> Iterator[Block]:
    """The image that a plugin simulated from a result, where there is one."""
    if simulated is None:
        return
    image, pixel_size = simulated.image, simulated.pixel_size
    high, wide = image.shape
    x, y = simulated.origin
    left, top = x - pixel_size / 2, y - pixel_size / 2
    extent = (left, top, left + wide * pixel_size, top + high * pixel_size)
    options = ", ".join(
        f"{key} {value}" for key, value in simulated.metadata.items() if isinstance(value, str | int | float)
    )
    caption = (
        f"Multislice image, {100 * image.min():.2f} to {100 * image.max():.2f} % of the beam; its correlation with the "
        f"image is {agreement.correlation_with(image, pixel_size, (x, y)):.3f}. {options}."
    )
    # in the structure's own coordinates: a place of it is none in the frame
    yield Picture(
        figures.layered(extent, [Raster("multislice", figures.grey(image), extent)]), f"{title}, multislice", caption
    )


def _radius(species: str) -> float:
    return 0.75 * float(covalent_radii[atomic_numbers.get(species.partition("+")[0], 6)])


def _table(title: str, agreement: Agreement) -> Table:
    columns = (
        "atom", "species", "verdict", "image shows", "x [Å]", "y [Å]", "Δx [Å]", "Δy [Å]", "σ [Å]", "peak height",
        "σ of height", "expected height", "residual",
    )  # fmt: skip
    rows = [
        [
            " ".join(map(str, one.atoms)), one.species, one.kind, one.image_shows, f"{one.x:.3f}", f"{one.y:.3f}",
            f"{one.dx:z.3f}", f"{one.dy:z.3f}", f"{one.std:.3f}" if one.std is not None else "",
            f"{one.height:z.2f}", f"{one.height_std:.2f}", f"{one.expected:.2f}", f"{one.residual:.2f}",
        ]
        for one in sorted(agreement.verdicts, key=lambda one: one.kind == "explained")
    ]  # fmt: skip
    caption = "Peak heights and residuals are given relative to the peak height of the most common species."
    return Table(f"{title}: all atoms", columns, rows, caption)
