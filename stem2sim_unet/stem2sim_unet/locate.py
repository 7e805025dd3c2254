"""From class-probability maps to atoms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.feature import peak_local_max
from skimage.segmentation import watershed

from stem2sim.bonds import apart
from stem2sim_unet.canonical import CANONICAL_PIXEL_SIZE

CORE = 0.25
"""Radius [Å] around an atom over which its probability is averaged; the rims of the discs are always uncertain."""

FAINTEST = 0.2
"""Least peak of the foreground probability for a detection; what it is worth is for the calibrated probability."""

Floats = NDArray[np.float64]
Maps = NDArray[np.float32]


@dataclass(frozen=True)
class Detections:
    """Atoms on the canonical grid, before calibration."""

    positions: Floats
    """(atoms, 2) x, y [canonical pixels]."""
    foreground: Floats
    """(atoms,) mean probability of any species over the core."""
    species: Floats
    """(atoms, species) share of each foreground class."""
    spread: Floats
    """(atoms,) standard deviation of the position over the members, per axis [Å]."""

    def __len__(self) -> int:
        return len(self.positions)


def locate(members: Maps, separation: float) -> Detections:
    """Find atoms in the maps of an ensemble.

    Args:
        members: (members, classes, rows, columns) probabilities on the canonical grid, background last.
        separation: least distance between two atoms [Å].

    One atom is one peak of the mean foreground: touching discs are split between their peaks, and no atom is counted
    once per class.
    """
    mean = members.mean(axis=0)
    foreground = 1 - mean[-1]
    smooth = ndimage.gaussian_filter(foreground, 1.0)
    reach = separation / CANONICAL_PIXEL_SIZE
    peaks = peak_local_max(smooth, min_distance=1, threshold_abs=FAINTEST, exclude_border=False)
    peaks = peaks[apart(peaks.astype(float), smooth[tuple(peaks.T)], reach)]
    if len(peaks) == 0:
        return Detections(np.zeros((0, 2)), np.zeros(0), np.zeros((0, len(mean) - 1)), np.zeros(0))
    seeds = np.zeros(smooth.shape, dtype=np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    regions = watershed(-smooth, seeds, mask=foreground > FAINTEST)
    # a disc of the label's size around each peak: what lies further out belongs to no atom
    away = ndimage.distance_transform_edt(seeds == 0)
    regions[away > 0.6 / CANONICAL_PIXEL_SIZE] = 0
    index = np.arange(1, len(peaks) + 1)
    positions = _centres(foreground, regions, index)
    by_member = np.stack([_centres(1 - one[-1], regions, index) for one in members])
    # a member that sees nothing here has no centre: its vote is in the probability, not in the position
    variance = np.ma.masked_invalid(by_member).var(axis=0).mean(axis=1)
    spread = np.sqrt(np.ma.filled(variance, 0.0)) * CANONICAL_PIXEL_SIZE
    mass = np.stack([ndimage.sum_labels(channel, regions, index) for channel in mean[:-1]], axis=1)
    share = mass / np.maximum(mass.sum(axis=1, keepdims=True), 1e-12)
    certain = _core_means(foreground, positions)
    # two peaks far enough apart may still have centres that are not
    kept = apart(positions, certain, reach)
    return Detections(positions[kept], certain[kept], share[kept], spread[kept])


def _centres(weights: Maps, regions: NDArray[np.int32], index: NDArray[np.int64]) -> Floats:
    """Probability-weighted centres x, y of each region; nan where it has no weight."""
    rows, columns = np.indices(weights.shape)
    total = ndimage.sum_labels(weights, regions, index)
    with np.errstate(invalid="ignore", divide="ignore"):
        x = ndimage.sum_labels(weights * columns, regions, index) / total
        y = ndimage.sum_labels(weights * rows, regions, index) / total
    return np.column_stack([x, y])


def _core_means(foreground: Maps, positions: Floats) -> Floats:
    radius = CORE / CANONICAL_PIXEL_SIZE
    steps = np.arange(-np.ceil(radius), np.ceil(radius) + 1)
    dy, dx = (g.ravel() for g in np.meshgrid(steps, steps, indexing="ij"))
    inside = np.hypot(dx, dy) <= radius
    rows = positions[:, 1, None] + dy[inside]
    columns = positions[:, 0, None] + dx[inside]
    values = ndimage.map_coordinates(foreground, [rows, columns], order=1, mode="nearest")
    return np.asarray(values.mean(axis=1), dtype=float)


def match(found: Floats, known: Floats, reach: float) -> NDArray[np.int64]:
    """Return pairs (found, known) that belong together: one to one, nearest first, none further apart than `reach`."""
    if len(found) == 0 or len(known) == 0:
        return np.zeros((0, 2), dtype=np.int64)
    near = cKDTree(found).sparse_distance_matrix(cKDTree(known), reach, output_type="ndarray")
    used: tuple[set[int], set[int]] = set(), set()
    pairs = []
    for pair in near[np.argsort(near["v"], kind="stable")]:
        i, j = int(pair["i"]), int(pair["j"])
        if i not in used[0] and j not in used[1]:
            used[0].add(i)
            used[1].add(j)
            pairs.append((i, j))
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)
