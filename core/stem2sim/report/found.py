"""What was found in the frame, in layers over it, and how sure each atom is."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii

from stem2sim.geometry.bonds import Bonds
from stem2sim.geometry.defects import defects
from stem2sim.report import figures
from stem2sim.report.blocks import Block, Facts, FrameView, Points, Ramp, Raster, Section, Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stem2sim.image import Image
    from stem2sim.report.report import Report
    from stem2sim.segmentation import AtomsTable, Segmentation

DOUBTFUL, CHOSEN, SPREAD = "#ff5fa2", "#ffd166", "#ff9f1c"
"""Places with two readings, atoms that went into a structure, circles of uncertainty; all on a dark frame."""

MOST_DEFECTS = 12
"""That are named; a frame full of holes has more."""

MARGIN = 2.0
"""[Å] round atoms without a frame."""

WORTH_TELLING = 0.005
"""Least share of a species that the line of an atom names."""


def found(report: Report) -> Iterator[Section]:
    """The frame with its layers, and the numbers."""
    if report.segmentation is None:
        if report.image is not None:  # nothing was found in it, but it can be looked at
            pixels, size = report.image.pixels, report.image.pixel_size
            raster = Raster.grey("frame", pixels, size)
            yield Section("What was imaged", [FrameView(figures.extent(pixels, size), [raster], title=report.title)])
        return
    blocks: list[Block] = [frame(report, report.segmentation), Facts(facts(report, report.segmentation))]
    if report.segmentation.doubts:
        blocks.append(_readings(report.segmentation))
    yield Section("What was found", blocks)


def frame(report: Report, found: Segmentation) -> FrameView:
    """The layers that every run has."""
    atoms, image = found.atoms, report.image
    rasters = [Raster.grey("frame", image.pixels, image.pixel_size)] if image else []
    if found.spread is not None and found.pixel_size is not None:
        covered = figures.extent(found.spread[-1], found.pixel_size)
        rasters.append(Raster.of("doubt (spread between networks)", found.spread[-1], covered, 0.5))
    if found.information is not None and found.pixel_size is not None:
        covered = figures.extent(found.information, found.pixel_size)
        high = max(0.05, float(np.percentile(found.information, 99.9)))
        rasters.append(Raster.of("doubt (mutual information)", found.information, covered, round(high, 2), "nat"))
    if image:
        extent, caption = figures.extent(image.pixels, image.pixel_size), ""
    else:
        x, y = (atoms.x, atoms.y) if len(atoms) else (np.zeros(1), np.zeros(1))
        extent = (x.min() - MARGIN, y.min() - MARGIN, x.max() + MARGIN, y.max() + MARGIN)
        caption = "The atoms alone: there is no frame beside the table."
    return FrameView(
        extent, rasters, list(_layers(report, found)), title=f"Atoms found in {report.title}",
        caption=f"{caption} Atoms are numbered from 0, as the rows of atoms.csv.".strip(),
    )  # fmt: skip


def _layers(report: Report, found: Segmentation) -> Iterator[Points]:
    atoms = found.atoms
    told = [_describe(atoms, k) for k in range(len(atoms))]
    sizes = {s: 0.75 * covalent_radii[atomic_numbers.get(s.rstrip("0123456789"), 0)] for s in atoms.counts()}
    colours = {species: figures.colour(species) for species in atoms.counts()}
    species = [str(one) for one in atoms.species]
    radius = np.array([sizes[one] for one in species])
    if len(found.doubts):
        yield Points(
            "two readings", np.array([one.x for one in found.doubts]), np.array([one.y for one in found.doubts]),
            [
                f"x = {one.x:.2f}, y = {one.y:.2f} Å: {' or '.join(f'{name} ({p:.2f})' for name, p in one.readings)}"
                for one in found.doubts
            ],
            DOUBTFUL, 1.1, key={"": DOUBTFUL},
        )  # fmt: skip
    yield Points(
        "atoms found", atoms.x, atoms.y, told, [colours[one] for one in species], radius, shown=True,
        key={f"{name} ({count})": colours[name] for name, count in atoms.counts().items()},
    )  # fmt: skip
    shades = figures.colours(atoms.probability) if len(atoms) else []
    yield Points("probability", atoms.x, atoms.y, told, shades, 0.45, filled=True, ramp=Ramp.of("0", "1"))
    known = np.isfinite(atoms.position_std)
    if known.any():
        rows = atoms.chosen(known)
        yield Points(
            "position uncertainty (circles of 2 σ)", rows.x, rows.y, [told[k] for k in np.flatnonzero(known)],
            SPREAD, 2 * rows.position_std, key={"": SPREAD},
        )  # fmt: skip
    # samples of one structure, or sites on it, are made of the same atoms: one layer
    alike: dict[bytes, list[str]] = {}
    for name, structure in report.structures.items():
        if structure.atoms.has("source"):
            source = np.unique(structure.atoms.arrays["source"]).astype(np.int64)
            alike.setdefault(source[(source >= 0) & (source < len(atoms))].tobytes(), []).append(name)
    for packed, names in alike.items():
        source = np.frombuffer(packed, dtype=np.int64)
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        yield Points(
            f"in {names[0]}{more}", atoms.x[source], atoms.y[source], [told[k] for k in source], CHOSEN,
            radius[source] + 0.12, key={str(len(source)): CHOSEN},
        )  # fmt: skip


def _describe(atoms: AtomsTable, k: int) -> str:
    """What is known of one atom."""
    std = f" ± {atoms.position_std[k]:.3f}" if np.isfinite(atoms.position_std[k]) else ""
    shares = {name: share[k] for name, share in atoms.shares.items() if share[k] >= WORTH_TELLING}
    reads = [f"{name} {share:.2f}" for name, share in sorted(shares.items(), key=lambda one: -one[1])]
    parts = [
        f"atom {k}: {atoms.species[k]}",
        f"probability {atoms.probability[k]:.3f}",
        f"x = {atoms.x[k]:.2f}, y = {atoms.y[k]:.2f}{std} Å",
        *([f"read as {', '.join(reads)}"] if len(reads) > 1 else []),
        *([f"flags: {atoms.flags[k].replace(';', ', ')}"] if atoms.flags[k] else []),
    ]
    return "; ".join(parts)


def facts(report: Report, found: Segmentation) -> dict[str, str]:
    """What was found, in numbers."""
    atoms = found.atoms
    std = atoms.position_std[np.isfinite(atoms.position_std)]
    rows = {
        "atoms": ", ".join(f"{n} {s}" for s, n in atoms.counts().items()) or "none",
        "less probable than 0.5": str(int((atoms.probability < 0.5).sum())),
        "position uncertainty per axis, median": f"{np.median(std):.3f} Å" if len(std) else "not known",
    }
    if found.out_of_distribution is not None:
        rows["how foreign the frame is (over 1 it would be refused)"] = f"{found.out_of_distribution:.2f}"
    if report.image:
        rows["pixel size used"] = pixel_size(report.image)
    if found.lattice and found.pixel_size:
        lattice = found.lattice
        rows["pixel size that the lattice calls for"] = (
            f"{lattice.pixel_size:.4f} Å ({100 * (lattice.ratio(found.pixel_size) - 1):+.1f} %), from a = "
            f"{lattice.lattice_constant} Å"
        )
        rows["stretch between directions"] = f"{100 * (lattice.anisotropy - 1):.1f} %"
    if names := in_the_sheet(found):
        more = f", and {len(names) - MOST_DEFECTS} more" if len(names) > MOST_DEFECTS else ""
        rows["defects of the sheet"] = "; ".join(names[:MOST_DEFECTS]) + more
    flags = Counter(flag for flags in atoms.flags for flag in flags.split(";") if flag)
    if flags:
        rows["flags"] = ", ".join(f"{count} {flag}" for flag, count in flags.most_common())
    return rows


def pixel_size(image: Image) -> str:
    """The pixel size of a frame, and what it rests on."""
    source = image.pixel_size_source
    return f"{image.pixel_size:.4f} Å ({'as given' if source == 'given' else f'from the {source}'})"


def in_the_sheet(found: Segmentation) -> list[str]:
    """Defects that have a name, with their places in the frame; none for columns of several atoms."""
    atoms = found.atoms.chosen(found.atoms.probability >= 0.5)
    if len(atoms) == 0 or not set(atoms.counts()) <= set(atomic_numbers):
        return []
    to_structure = np.eye(2)
    if found.lattice is not None and found.pixel_size is not None:
        to_structure = found.lattice.matrix / found.pixel_size
    xy = atoms.positions @ to_structure.T
    sheet = Atoms(atoms.species.tolist(), positions=np.column_stack([xy, np.zeros(len(xy))]))
    told = []
    for one in defects(Bonds.of(sheet)):
        x, y = np.linalg.solve(to_structure, one.centre[:2])
        told.append(f"{one.name} at x = {x:.2f}, y = {y:.2f} Å")
    return told


def _readings(found: Segmentation) -> Table:
    columns = ("x [Å]", "y [Å]", "likeliest", "probability", "or", "with probability", "information [nat]")
    rows = []
    for one in found.doubts:
        (first, p), (second, q) = one.readings
        numbers = (f"{one.x:.2f}", f"{one.y:.2f}")
        rows.append([*numbers, first, f"{p:.2f}", second, f"{q:.2f}", f"{one.information:.3f}"])
    caption = "Places that could be read in two ways, the most doubtful first."
    return Table("Places with two readings", columns, rows, caption)
