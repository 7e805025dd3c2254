"""The atoms found in the image, in layers over it, each with its confidence."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii

from stem2sim import drawing
from stem2sim.geometry.bonds import Bonds
from stem2sim.geometry.defects import defects
from stem2sim.image import origin_in_words
from stem2sim.report import figures
from stem2sim.report.blocks import Block, Facts, FrameView, Points, Ramp, Raster, Section, Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from stem2sim.atoms_table import AtomsTable
    from stem2sim.image import Image
    from stem2sim.runs.run import Run
    from stem2sim.segmentation import Segmentation

DOUBTFUL, CHOSEN, SPREAD = "#ff5fa2", "#ffd166", "#ff9f1c"
"""Places with two readings, atoms that went into a structure, circles of uncertainty; all on a dark frame."""

MOST_DEFECTS = 12
"""That are named; a frame full of holes has more."""

MARGIN = 2.0
"""[Å] round atoms without a frame."""

FLAGS = {
    "fitted": "refined by fitting to the image", "edge": "at the image edge", "short-bond": "with a short bond",
    "contamination": "on contamination",
}  # fmt: skip
"""Flags of the atoms table -> in print."""

LEAST_SHARE = 0.005
"""Of a species, to be listed for an atom."""


def segmentation(run: Run) -> Iterator[Section]:
    """The frame with its layers, and the numbers."""
    if run.segmentation is None:
        if run.image is not None:  # nothing was found in it, but it can be looked at
            pixels, size = run.image.pixels, run.image.pixel_size
            raster = Raster.grey("image", pixels, size)
            yield Section("Image", [FrameView(drawing.extent(pixels, size), [raster], title=run.title)])
        return
    blocks: list[Block] = [frame(run, run.segmentation), Facts(facts(run, run.segmentation))]
    if run.segmentation.ambiguities:
        blocks.append(_readings(run.segmentation))
    yield Section("Detected atoms", blocks)


def frame(run: Run, segmentation: Segmentation) -> FrameView:
    """The layers that every run has."""
    atoms, image = segmentation.atoms, run.image
    rasters = [Raster.grey("image", image.pixels, image.pixel_size)] if image else []
    if segmentation.spread is not None and segmentation.pixel_size is not None:
        covered = drawing.extent(segmentation.spread[-1], segmentation.pixel_size)
        rasters.append(Raster.of("uncertainty (spread between networks)", segmentation.spread[-1], covered, 0.5))
    if segmentation.information is not None and segmentation.pixel_size is not None:
        covered = drawing.extent(segmentation.information, segmentation.pixel_size)
        high = max(0.05, float(np.percentile(segmentation.information, 99.9)))
        rasters.append(
            Raster.of("uncertainty (mutual information)", segmentation.information, covered, round(high, 2), "nat")
        )
    if image:
        extent, caption = drawing.extent(image.pixels, image.pixel_size), ""
    else:
        x, y = (atoms.x, atoms.y) if len(atoms) else (np.zeros(1), np.zeros(1))
        extent = (x.min() - MARGIN, y.min() - MARGIN, x.max() + MARGIN, y.max() + MARGIN)
        caption = "No image: the run started from a table of atoms."
    return FrameView(
        extent, rasters, list(_layers(run, segmentation)), title=f"Detected atoms in {run.title}",
        caption=f"{caption} Atoms are numbered from 0, in the order of the rows in atoms.csv.".strip(),
    )  # fmt: skip


def _layers(run: Run, segmentation: Segmentation) -> Iterator[Points]:
    atoms = segmentation.atoms
    labels = [_describe(atoms, k) for k in range(len(atoms))]
    sizes = radii(atoms.counts())
    colours = {species: drawing.colour(species) for species in atoms.counts()}
    species = [str(one) for one in atoms.species]
    radius = np.array([sizes[one] for one in species])
    if len(segmentation.ambiguities):
        yield Points(
            "ambiguous positions",
            np.array([one.x for one in segmentation.ambiguities]),
            np.array([one.y for one in segmentation.ambiguities]),
            [
                f"x = {one.x:.2f}, y = {one.y:.2f} Å: {' or '.join(f'{name} ({p:.2f})' for name, p in one.readings)}"
                for one in segmentation.ambiguities
            ],
            DOUBTFUL, 1.1, key={"": DOUBTFUL},
        )  # fmt: skip
    yield Points(
        "detected atoms", atoms.x, atoms.y, labels, [colours[one] for one in species], radius, shown=True,
        key={f"{name} ({count})": colours[name] for name, count in atoms.counts().items()},
    )  # fmt: skip
    shades = figures.colours(atoms.probability) if len(atoms) else []
    yield Points("probability", atoms.x, atoms.y, labels, shades, 0.45, filled=True, ramp=Ramp.of("0", "1"))
    known = np.isfinite(atoms.position_std)
    if known.any():
        rows = atoms.chosen(known)
        yield Points(
            "position uncertainty (circles of 2 σ)", rows.x, rows.y, [labels[k] for k in np.flatnonzero(known)],
            SPREAD, 2 * rows.position_std, key={"": SPREAD},
        )  # fmt: skip
    # samples of one structure, or sites on it, are made of the same atoms: one layer
    alike: dict[bytes, list[str]] = {}
    for name, structure in run.structures.items():
        if structure.atoms.has("source"):
            source = np.unique(structure.atoms.arrays["source"]).astype(np.int64)
            alike.setdefault(source[(source >= 0) & (source < len(atoms))].tobytes(), []).append(name)
    for packed, names in alike.items():
        source = np.frombuffer(packed, dtype=np.int64)
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        yield Points(
            f"in {names[0]}{more}", atoms.x[source], atoms.y[source], [labels[k] for k in source], CHOSEN,
            radius[source] + 0.12, key={str(len(source)): CHOSEN},
        )  # fmt: skip


def radii(species: Iterable[str]) -> dict[str, float]:
    """Return the radius of the circle round an atom of each species [Å]; of columns of several atoms too."""
    return {one: 0.75 * float(covalent_radii[atomic_numbers.get(one.rstrip("0123456789"), 0)]) for one in species}


def _describe(atoms: AtomsTable, k: int) -> str:
    """What is known of one atom."""
    std = f" ± {atoms.position_std[k]:.3f}" if np.isfinite(atoms.position_std[k]) else ""
    shares = {name: share[k] for name, share in atoms.shares.items() if share[k] >= LEAST_SHARE}
    reads = [f"{name} {share:.2f}" for name, share in sorted(shares.items(), key=lambda one: -one[1])]
    parts = [
        f"atom {k}: {atoms.species[k]}",
        f"probability {atoms.probability[k]:.3f}",
        f"x = {atoms.x[k]:.2f}, y = {atoms.y[k]:.2f}{std} Å",
        *([f"species probabilities: {', '.join(reads)}"] if len(reads) > 1 else []),
        *([f"flags: {', '.join(FLAGS.get(f, f) for f in atoms.flags[k].split(';'))}"] if atoms.flags[k] else []),
    ]
    return "; ".join(parts)


def facts(run: Run, segmentation: Segmentation) -> dict[str, str]:
    """What was found, in numbers."""
    atoms = segmentation.atoms
    std = atoms.position_std[np.isfinite(atoms.position_std)]
    rows = {
        "detected atoms": ", ".join(f"{n} {s}" for s, n in atoms.counts().items()) or "none",
        "probability below 0.5": str(int((atoms.probability < 0.5).sum())),
        "position uncertainty per axis, median": f"{np.median(std):.3f} Å" if len(std) else "not known",
    }
    if segmentation.out_of_distribution is not None:
        rows["out-of-distribution score (images scoring above 1 are rejected)"] = (
            f"{segmentation.out_of_distribution:.2f}"
        )
    if run.image:
        rows["pixel size used"] = pixel_size(run.image)
    if segmentation.lattice and segmentation.pixel_size:
        lattice = segmentation.lattice
        rows["pixel size from the lattice"] = (
            f"{lattice.pixel_size:.4f} Å ({100 * (lattice.ratio(segmentation.pixel_size) - 1):+.1f} %), from a = "
            f"{lattice.lattice_constant} Å"
        )
        rows["anisotropy of the pixel size"] = f"{100 * (lattice.anisotropy - 1):.1f} %"
    if names := sheet_defects(segmentation):
        more = f", and {len(names) - MOST_DEFECTS} more" if len(names) > MOST_DEFECTS else ""
        rows["defects in the sheet"] = "; ".join(names[:MOST_DEFECTS]) + more
    flags = Counter(flag for flags in atoms.flags for flag in flags.split(";") if flag)
    if flags:
        rows["flags"] = ", ".join(f"{count} {FLAGS.get(flag, flag)}" for flag, count in flags.most_common())
    return rows


def pixel_size(image: Image) -> str:
    """The pixel size of a frame, and what it rests on."""
    source = image.pixel_size_source
    return f"{image.pixel_size:.4f} Å ({origin_in_words(source)})"


def sheet_defects(segmentation: Segmentation) -> list[str]:
    """Defects that have a name, with their places in the frame; none for columns of several atoms."""
    atoms = segmentation.atoms.chosen(segmentation.atoms.probability >= 0.5)
    if len(atoms) == 0 or not set(atoms.counts()) <= set(atomic_numbers):
        return []
    to_structure = np.eye(2)
    if segmentation.lattice is not None and segmentation.pixel_size is not None:
        to_structure = segmentation.lattice.matrix / segmentation.pixel_size
    xy = atoms.positions @ to_structure.T
    sheet = Atoms(atoms.species.tolist(), positions=np.column_stack([xy, np.zeros(len(xy))]))
    names = []
    for one in defects(Bonds.of(sheet)):
        x, y = np.linalg.solve(to_structure, one.centre[:2])
        names.append(f"{one.title} at x = {x:.2f}, y = {y:.2f} Å")
    return names


def _readings(segmentation: Segmentation) -> Table:
    columns = ("x [Å]", "y [Å]", "most likely", "probability", "alternative", "its probability", "information [nat]")
    rows = []
    for one in segmentation.ambiguities:
        (first, p), (second, q) = one.readings
        numbers = (f"{one.x:.2f}", f"{one.y:.2f}")
        rows.append([*numbers, first, f"{p:.2f}", second, f"{q:.2f}", f"{one.information:.3f}"])
    caption = "Positions with two likely interpretations, the most uncertain first."
    return Table("Ambiguous positions", columns, rows, caption)
