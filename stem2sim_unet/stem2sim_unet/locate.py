"""From class-probability maps to atoms."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.feature import peak_local_max
from skimage.segmentation import watershed

from stem2sim.geometry.bonds import apart
from stem2sim_unet.canonical_grid import CANONICAL_PIXEL_SIZE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stem2sim_unet.prediction import Prediction

CORE = 0.25
"""Radius [Å] around an atom over which its probability is averaged; the rims of the discs are always uncertain."""

FAINTEST = 0.2
"""Least peak of the foreground probability for a detection; what it is worth is for the calibrated probability."""

FEWEST_USUAL = 6
"""Atoms of the material itself that brightness is measured against."""

REACH = 0.6
"""Radius [Å] around a peak within which probability belongs to it: the label's disc and a pixel."""

Floats = NDArray[np.float64]
Maps = NDArray[np.float32]


@dataclass(frozen=True)
class Detections:
    """Atoms on the canonical grid, before calibration."""

    positions: Floats
    """(atoms, 2) x, y [canonical pixels]."""
    foreground: Floats
    """(atoms,) mean probability of any species over the core."""
    shares: Floats
    """(atoms, species) share of each foreground class in the atom's probability mass."""
    spread: Floats
    """(atoms,) standard deviation of the foreground over the networks, averaged over the core."""
    information: Floats
    """(atoms,) mutual information, averaged over the core [nat]."""
    brightness: Floats
    """(atoms,) logarithm of the intensity over that of the usual atom of the material; nan where there is none."""

    def __len__(self) -> int:
        return len(self.positions)

    def chosen(self, kept: NDArray[np.bool_]) -> Self:
        """Return the detections that a mask picks."""
        return type(self)(*(getattr(self, name)[kept] for name in self.__dataclass_fields__))

    @classmethod
    def concatenated(cls, parts: Sequence[Self]) -> Self:
        """Return the detections of several frames as one."""
        names = cls.__dataclass_fields__
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def locate(prediction: Prediction, separation: float, frame: Maps | None = None, hosts: int = 1) -> Detections:
    """Find atoms in the maps of an ensemble.

    Args:
        prediction: maps on the canonical grid.
        separation: least distance between two atoms [Å].
        frame: the normalised canonical frame, for the brightness.
        hosts: how many of the first species make up the perfect material.

    One atom is one peak of the mean foreground: touching discs are split between their peaks, and no atom is counted
    once per class.
    """
    foreground = prediction.foreground
    species = len(prediction.mean) - 1
    smooth = ndimage.gaussian_filter(foreground, 0.15 / CANONICAL_PIXEL_SIZE)
    reach = separation / CANONICAL_PIXEL_SIZE
    peaks = peak_local_max(smooth, min_distance=1, threshold_abs=FAINTEST, exclude_border=False)
    peaks = peaks[apart(peaks.astype(float), smooth[tuple(peaks.T)], reach)]
    if len(peaks) == 0:
        none = np.zeros(0)
        return Detections(np.zeros((0, 2)), none, np.zeros((0, species)), none, none, none)
    seeds = np.zeros(smooth.shape, dtype=np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    # a disc of the label's size around each peak: what lies further out belongs to no atom
    close = ndimage.distance_transform_edt(seeds == 0) <= REACH / CANONICAL_PIXEL_SIZE
    regions = watershed(-smooth, seeds, mask=close & (foreground > FAINTEST / 2))
    within = np.nonzero(regions)
    index = regions[within]

    def summed(values: Maps | Floats) -> Floats:
        return np.asarray(np.bincount(index, values, len(peaks) + 1)[1:], dtype=float)

    weight = foreground[within]
    mass = np.maximum(summed(weight), 1e-12)
    positions = np.column_stack([summed(weight * within[1]) / mass, summed(weight * within[0]) / mass])
    shares = np.column_stack([summed(channel[within]) for channel in prediction.mean[:-1]]) / mass[:, None]
    certain, spread, information = (
        core_means(m, positions) for m in (foreground, prediction.spread[-1], prediction.information)
    )
    # two peaks far enough apart may still have centres that are not
    kept = apart(positions, certain, reach)
    detections = Detections(
        positions[kept], certain[kept], shares[kept], spread[kept], information[kept], np.full(len(kept), np.nan)
    )
    return detections if frame is None else replace(detections, brightness=_brightness(frame, detections, hosts))


def _brightness(frame: Maps, detections: Detections, hosts: int) -> Floats:
    above = core_means(ndimage.gaussian_filter(frame, CORE / CANONICAL_PIXEL_SIZE), detections.positions)
    above -= float(np.percentile(frame, 10))
    usual = (detections.shares.argmax(axis=1) < hosts) & (detections.foreground > 0.5)
    if usual.sum() < FEWEST_USUAL or np.median(above[usual]) <= 0:
        return np.full(len(detections), np.nan)
    return np.asarray(np.log(np.maximum(above / np.median(above[usual]), 0.05)))


def core_means(values: Maps, positions: Floats) -> Floats:
    """Return the average of a map over the core of each atom."""
    radius = CORE / CANONICAL_PIXEL_SIZE
    steps = np.arange(-np.ceil(radius), np.ceil(radius) + 1)
    dy, dx = (g.ravel() for g in np.meshgrid(steps, steps, indexing="ij"))
    inside = np.hypot(dx, dy) <= radius
    rows = positions[:, 1, None] + dy[inside]
    columns = positions[:, 0, None] + dx[inside]
    sampled = ndimage.map_coordinates(values, [rows, columns], order=1, mode="nearest")
    return np.asarray(sampled.mean(axis=1), dtype=float)


def match(detected: Floats, known: Floats, reach: float) -> NDArray[np.int64]:
    """Return pairs (detected, known): one to one, nearest first, none further apart than `reach`."""
    if len(detected) == 0 or len(known) == 0:
        return np.zeros((0, 2), dtype=np.int64)
    near = cKDTree(detected).sparse_distance_matrix(cKDTree(known), reach, output_type="ndarray")
    used: tuple[set[int], set[int]] = set(), set()
    pairs = []
    for pair in near[np.argsort(near["v"], kind="stable")]:
        i, j = int(pair["i"]), int(pair["j"])
        if i not in used[0] and j not in used[1]:
            used[0].add(i)
            used[1].add(j)
            pairs.append((i, j))
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)
