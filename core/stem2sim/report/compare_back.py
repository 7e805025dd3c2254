"""The structures held against the frame: each drawn as the microscope would see it, and every atom judged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase.data import atomic_numbers, covalent_radii

from stem2sim.agreement.agreement import Agreement
from stem2sim.agreement.compare_back import agreement
from stem2sim.agreement.sites import THRESHOLDS, Kind
from stem2sim.engines.trajectory import mean_structure
from stem2sim.errors import BadInput
from stem2sim.progress import track
from stem2sim.report import figures
from stem2sim.report.blocks import Block, Facts, FrameView, Listed, Picture, Points, Raster, Section, Table, Text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ase import Atoms

    from stem2sim.report.report import Report

COLOURS: dict[Kind, str] = {
    "explained": "#4cc9f0", "displaced": "#ffd166", "missing": "#ff5fa2", "extra": "#ff4d4d",
    "wrong species": "#c77dff", "unclear": "#ffffff", "not judged": "#8d99ae",
}  # fmt: skip
"""On a dark frame."""

MOST = 6
"""Structures and results that are drawn; of the others a line tells."""

STRONGEST = 1.5
"""Residual, in peaks of the commonest atom, that is drawn opaque."""


def agreements(report: Report) -> dict[str, Agreement | str]:
    """Hold every structure and every result against the frame, or say why that cannot be; none without a frame.

    Of dynamics it is the mean over the second half that counts: a frame takes far longer than any vibration.
    """
    if report.image is None or report.segmentation is None:
        return {}
    held: list[tuple[str, Atoms, Atoms]] = [
        (Path(name).stem, one.atoms, one.atoms) for name, one in report.structures.items()
    ]
    for name, result in report.results.items():
        built = report.built(result)
        atoms = result.structure.atoms
        if "temperature [K]" in result.observables and result.trajectory is not None:
            atoms = mean_structure(report.folder / Path(name).parent / result.trajectory) or atoms
        if built is not None and len(built.atoms) == len(atoms):
            held.append((f"{Path(name).parent} {result.label}".strip(), atoms, built.atoms))
    found: dict[str, Agreement | str] = {}
    probe = None  # of the frame: the first structure that tells it tells it for all
    with track("compare back", len(held)) as advance:
        for name, atoms, built_as in held:
            try:
                one = agreement(report.image, report.segmentation, atoms, built_as, probe)
                found[name], probe = one, one.probe
            except BadInput as problem:
                found[name] = str(problem)
            advance()
    return found


def compare_back(report: Report) -> Iterator[Section]:
    """One part for each structure and result."""
    held = {name: one for name, one in report.agreements.items() if isinstance(one, Agreement)}
    parts: list[Block] = []
    for name, found in list(held.items())[:MOST]:
        doubts = [one.describe() for one in found.unexplained()]
        said: Block = Text("The frame shows every atom of the structure that can be judged, and no other.")
        if found.note:
            said = Text(f"Nothing can be said of single atoms: {found.note}.")
        elif doubts:
            said = Listed(doubts)
        drawn: list[Block] = [Facts(_facts(found)), _view(name, found), *_multislice(report, name, found)]
        drawn.append(_table(name, found))
        parts.append(Section(_title(name), [said, *drawn], f"compare-back-{len(parts) + 1}"))
    if len(held) > MOST:
        rows = [[name, f"{one.correlation:.3f}", f"{one.ceiling:.3f}", _counted(one)] for name, one in held.items()]
        columns = ("structure or result", "correlation", "that noise allows", "atoms")
        parts.append(Table("All structures against the frame", columns, rows, f"The first {MOST} are drawn above."))
    not_held = {name: why for name, why in report.agreements.items() if isinstance(why, str)}
    if not_held:
        parts.append(Listed([f"{name} was not held against the frame: {why}" for name, why in not_held.items()]))
    if parts:
        how = (
            "Each structure is drawn through the probe that the frame itself shows, laid on the frame by a small "
            "affine map, and compared over its own area; what else was found round it is drawn as it was found. Of "
            f"dynamics it is the mean over the second half. {THRESHOLDS} Hydrogen is too faint to be judged."
        )
        yield Section("Does the frame show it?", [Text(how), *parts], "compare-back")


def describe(found: Agreement) -> str:
    """Return it in a line."""
    return f"correlation {found.correlation:.3f} of the {found.ceiling:.3f} that noise allows; atoms: {_counted(found)}"


def _counted(found: Agreement) -> str:
    return found.note or ", ".join(f"{count} {kind}" for kind, count in found.counts().items())


def _title(name: str) -> str:
    return f"{name}, as built" if name.startswith("structure") else f"After {name}"


def _facts(found: Agreement) -> dict[str, str]:
    scale, turn, stretch = found.stretch
    x, y = found.shift
    return {
        "normalised cross-correlation": f"{found.correlation:.3f}; the frame's noise would leave a perfect drawing "
        f"{found.ceiling:.3f}",
        "atoms": _counted(found),
        "laid on the frame by": f"a shift of {x:+.3f}, {y:+.3f} Å, scale {100 * scale:+.2f} %, rotation {turn:+.2f}°, "
        f"stretch {100 * stretch:.2f} %",
        "probe, fitted to the frame": f"{found.probe.fwhm:.2f} Å wide (FWHM, source size included), "
        f"{100 * found.probe.tail_weight:.0f} % in its tail, height over width {found.probe.ellipticity:.2f}; peaks "
        f"grow with Z to the power of {found.probe.scattering_exponent:.2f}",
        "noise": f"{found.noise:.2f} of the commonest atom's peak, in a pixel of {found.pixel_size:.3f} Å",
    }


def _view(name: str, found: Agreement) -> FrameView:
    left, top, right, bottom = figures.extent(found.frame, found.pixel_size)
    x, y = found.origin
    extent = (left + x, top + y, right + x, bottom + y)
    opaque = np.where(found.counted, found.residual, 0.0)
    rasters = [
        Raster("frame", figures.grey(found.frame), extent),
        Raster("drawn from the structure", figures.grey(found.drawn), extent, shown=False),
        Raster.of("residual: brighter or darker than drawn", opaque, extent, STRONGEST, "peaks"),
    ]
    points = [
        Points(
            kind, np.array([one.x for one in chosen]), np.array([one.y for one in chosen]),
            [f"{one.describe()}; height {one.height:.2f} ± {one.height_std:.2f} of {one.expected:.2f}" for one in chosen],
            colour, np.array([_radius(one.species or one.seen) for one in chosen]), shown=True,
            key={str(len(chosen)): colour},
        )
        for kind, colour in COLOURS.items()
        if (chosen := [one for one in found.verdicts if one.kind == kind])
    ]  # fmt: skip
    return FrameView(extent, rasters, points, title=f"{_title(name)}, held against the frame")


def _multislice(report: Report, name: str, found: Agreement) -> Iterator[Block]:
    """The image that `stem2sim multislice` made of a result, where there is one."""
    folder, _, label = name.partition(" ")
    file = report.folder / folder / (f"multislice-{label}.npz" if label else "multislice.npz")
    try:
        with np.load(file, allow_pickle=False) as kept:
            image, pixel_size, origin = kept["image"], float(kept["pixel_size"]), kept["origin"]
            made = json.loads(str(kept["metadata"]))
    except (OSError, KeyError, ValueError):  # none, or of something else
        return
    high, wide = image.shape
    x, y = float(origin[0]), float(origin[1])
    left, top = x - pixel_size / 2, y - pixel_size / 2
    extent = (left, top, left + wide * pixel_size, top + high * pixel_size)
    told = ", ".join(f"{key} {value}" for key, value in made.items() if isinstance(value, str | int | float))
    caption = (
        f"Multislice image, {100 * image.min():.2f} to {100 * image.max():.2f} % of the beam; its correlation with the "
        f"frame is {found.correlation_with(image, pixel_size, (x, y)):.3f}. {told}."
    )
    title = f"{_title(name)}, multislice"
    # in the structure's own coordinates: a place of it is none in the frame
    yield Picture(figures.layered(extent, [Raster("multislice", figures.grey(image), extent)]), title, caption)


def _radius(species: str) -> float:
    return 0.75 * float(covalent_radii[atomic_numbers.get(species.partition("+")[0], 6)])


def _table(name: str, found: Agreement) -> Table:
    columns = (
        "atoms", "species", "verdict", "seen", "x [Å]", "y [Å]", "off x [Å]", "off y [Å]", "± [Å]", "height", "±",
        "expected", "residual",
    )  # fmt: skip
    rows = [
        [
            " ".join(map(str, one.atoms)), one.species, one.kind, one.seen, f"{one.x:.3f}", f"{one.y:.3f}",
            f"{one.dx:.3f}", f"{one.dy:.3f}", f"{one.std:.3f}" if one.std is not None else "",
            f"{one.height:.2f}", f"{one.height_std:.2f}", f"{one.expected:.2f}", f"{one.residual:.2f}",
        ]
        for one in sorted(found.verdicts, key=lambda one: one.kind == "explained")
    ]  # fmt: skip
    return Table(f"{_title(name)}: every atom against the frame", columns, rows, "Heights and residuals in peaks of "
                 "the frame's commonest atom.")  # fmt: skip
