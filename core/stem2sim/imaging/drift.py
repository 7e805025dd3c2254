"""How far the specimen moved from one frame to the next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft, ndimage
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stem2sim.atoms_table import AtomsTable
    from stem2sim.image import Image

    Floats = NDArray[np.float64]

FARTHEST = 3.0
"""[Å]; a larger drift from one frame to the next is not looked for."""

SAME = 0.5
"""[Å]; atoms of two frames this close, drift removed, are taken for one: a third of the shortest bond of carbon."""

BIN, SPREAD = 0.1, 0.15
"""[Å]; of the histogram of displacements: its bin, and the blur that joins what position noise has parted."""

FEWEST, LEAST_SHARE = 4, 0.3
"""Atoms seen again, and their share, below which no drift is read from atoms; by chance a share of 0.15 is."""

BLUR = 0.3
"""[Å]; of the frames before they are compared, so that noise of single pixels has no say."""

STANDARD_ERRORS = 4.0
"""Frames that agree better by less than this do not contradict the smallest drift."""


@dataclass(frozen=True)
class Candidate:
    """One drift that the atoms allow."""

    shift: tuple[float, float]
    """x, y [Å]."""
    share: float
    """Of the atoms that should be seen in both frames, those that are, with the same species."""
    tolerance: float
    """Shares that differ by less say the same."""


def drift(
    before: AtomsTable,
    after: AtomsTable,
    field: tuple[float, float, float, float],
    frames: tuple[Image, Image] | None = None,
) -> tuple[float, float] | None:
    """Return how far the atoms of one frame moved as a whole until the next, x and y [Å]; None where they do not tell.

    A perfect lattice that moved by a lattice vector looks as it did before: its atoms tell the drift only up to
    lattice vectors. Among the drifts that explain the atoms equally well (within three standard errors of the share of
    atoms seen again) the smallest is taken. That is wrong where the specimen moved by more than half a lattice vector
    between two frames (1.2 Å in graphene) and nothing that breaks the lattice (an edge, a hole, a dopant,
    contamination) shows it. What breaks the lattice counts as atoms that only one drift explains; and in the pixels,
    where they are given: a larger drift is taken when under it the frames agree better by more than four standard
    errors of their noise. Distortion, rotation and a changed magnification are not removed.

    Args:
        before: atoms of one frame.
        after: of the next.
        field: left, top, right, bottom of the field of view [Å]; what moves out of it is not missed.
        frames: the pixels of both.
    """
    allowed = candidates(before, after, field)
    if not allowed:
        return None
    best = max(allowed, key=lambda candidate: candidate.share)
    allowed = [candidate for candidate in allowed if candidate.share >= best.share - best.tolerance]
    smallest = min(allowed, key=lambda candidate: (np.hypot(*candidate.shift), candidate.shift))
    if frames is None or len(allowed) == 1:
        return smallest.shift
    agreements, error = agreement(*frames, [candidate.shift for candidate in allowed])
    clearest = int(np.argmax(agreements))
    better = agreements[clearest] - agreements[allowed.index(smallest)]
    return allowed[clearest].shift if better > STANDARD_ERRORS * error else smallest.shift


def candidates(before: AtomsTable, after: AtomsTable, field: tuple[float, float, float, float]) -> list[Candidate]:
    """Return the drifts under which enough atoms are seen again; arguments as of `drift`."""
    if min(len(before), len(after)) < FEWEST:
        return []
    first, second = before.positions, after.positions
    trees = cKDTree(first), cKDTree(second)
    found: list[Candidate] = []
    for start in _peaks(_displacements(first, second, trees)):
        shift = _refined(first, second, trees[1], start)
        if np.hypot(*shift) > FARTHEST or any(np.hypot(*(shift - other.shift)) < SAME for other in found):
            continue
        share, looked_for = _share(before, after, trees, shift, field)
        if looked_for >= FEWEST and share >= LEAST_SHARE and share * looked_for >= FEWEST:
            # half an atom at least: what a perfect match and a single mismatch say is not the same
            tolerance = max(3 * float(np.sqrt(2 * share * (1 - share) / looked_for)), 0.5 / looked_for)
            found.append(Candidate((float(shift[0]), float(shift[1])), share, tolerance))
    return found


def _displacements(before: Floats, after: Floats, trees: tuple[cKDTree, cKDTree]) -> Floats:
    """Every vector from an atom of one frame to an atom of the next that a drift could be."""
    near = trees[0].query_ball_tree(trees[1], FARTHEST + SAME)
    first = np.repeat(np.arange(len(before)), [len(row) for row in near])
    second = np.array([number for row in near for number in row], dtype=int)
    return np.asarray(after[second] - before[first])


def _peaks(vectors: Floats) -> list[Floats]:
    """Displacements that many atoms share, the most shared first."""
    reach = FARTHEST + SAME
    edges = np.linspace(-reach, reach, 2 * round(reach / BIN) + 1)
    counts, *_ = np.histogram2d(vectors[:, 0], vectors[:, 1], bins=(edges, edges))
    smooth = ndimage.gaussian_filter(counts, SPREAD / BIN, mode="constant")
    peak = (smooth == ndimage.maximum_filter(smooth, size=5)) & (smooth > 0.5 * smooth.max())
    places = np.argwhere(peak)
    order = np.argsort(-smooth[tuple(places.T)], kind="stable")
    centres = (edges[:-1] + edges[1:]) / 2
    return [centres[places[k]] for k in order]


def _refined(before: Floats, after: Floats, tree: cKDTree, shift: Floats) -> Floats:
    for _ in range(3):
        away, nearest = tree.query(before + shift, distance_upper_bound=SAME)
        matched = np.isfinite(away)
        if not matched.any():
            return shift
        shift = np.median(after[nearest[matched]] - before[matched], axis=0)
    return shift


def _share(
    before: AtomsTable,
    after: AtomsTable,
    trees: tuple[cKDTree, cKDTree],
    shift: Floats,
    field: tuple[float, float, float, float],
) -> tuple[float, float]:
    """Share of atoms seen again among those that should be, and how many those are (mean of both directions)."""
    low, high = np.array(field[:2]) + SAME, np.array(field[2:]) - SAME  # at the border noise decides what is seen
    seen, looked_for = 0, 0
    for here, there, tree, move in ((before, after, trees[1], shift), (after, before, trees[0], -shift)):
        goal = here.positions + move
        expected = ((goal > low) & (goal < high)).all(axis=1)
        away, nearest = tree.query(goal[expected], distance_upper_bound=SAME)
        matched = np.isfinite(away)
        seen += int((here.species[expected][matched] == there.species[nearest[matched]]).sum())
        looked_for += int(expected.sum())
    return seen / max(looked_for, 1), looked_for / 2


def agreement(before: Image, after: Image, shifts: list[tuple[float, float]]) -> tuple[list[float], float]:
    """Return how well two frames agree under each shift [Å], 1 for perfectly, and the standard error of a difference.

    The frames are blurred, and covariances are counted per pixel of overlap, so that a small shift is not preferred.
    """
    size = before.pixel_size
    blurred = [ndimage.gaussian_filter(frame.pixels.astype(float), BLUR / size) for frame in (before, after)]
    blurred = [frame - frame.mean() for frame in blurred]
    margin = int(np.ceil((FARTHEST + SAME) / size)) + 3
    shape = [fft.next_fast_len(n + margin, real=True) for n in before.shape]  # no frame meets its own far side
    spectra = [fft.rfft2(frame, shape) for frame in blurred]
    covariance = fft.irfft2(np.conj(spectra[0]) * spectra[1], shape)
    x, y = np.array(shifts).T / size
    rows, columns = before.shape
    overlap = (rows - np.abs(y)) * (columns - np.abs(x))
    spread = float(blurred[0].std() * blurred[1].std())
    values = ndimage.map_coordinates(covariance, [y, x], order=3, mode="grid-wrap") / overlap / spread
    independent = rows * columns * size**2 / (4 * np.pi * BLUR**2)
    return [float(value) for value in values], float(np.sqrt(2 / independent) * (1 - min(max(values), 1) ** 2))
