"""The structure laid on its image: peaks fitted at its sites, and the affine map that takes the sites there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from stem2sim.agreement.scene import OWN
from stem2sim.agreement.sites import BONDED, PRESENT
from stem2sim.geometry.affine import fit_affine
from stem2sim.imaging.brightness import Brightness
from stem2sim.imaging.forward import Probe
from stem2sim.imaging.peaks import FittedPeaks, fit

if TYPE_CHECKING:
    from stem2sim.agreement.scene import Scene
    from stem2sim.geometry.affine import Affine

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Registration:
    """Where the structure lies on the image, and the image as peaks."""

    correction: Affine
    """What takes the sites of the scene to where the image has them."""
    sites: Floats
    """(sites, 2) there [Å]."""
    peaks: FittedPeaks
    """At the sites first, then at other atoms, found or not."""
    unit: float
    """Height of the commonest column [units of the image]."""


def register(scene: Scene, probe: Probe | None) -> Registration:
    """Fit peaks at the sites, move the structure there, and fit again with what the structure lacks.

    Args:
        scene: of the structure.
        probe: of the image where it is known; None to fit it.
    """
    count, pixels, pixel_size = len(scene.sites), scene.crop.pixels, scene.crop.pixel_size
    every = np.vstack([scene.sites, scene.others])
    free = np.ones(len(every), dtype=bool)
    first = fit(pixels, pixel_size, every, probe or Probe(), free, settle=probe is None)
    least = PRESENT * faintest(scene) * _unit(scene, first)
    good = first.heights[:count] > least
    correction = fit_affine(scene.sites[good], first.positions[:count][good], robust=True)
    sites = correction.apply(scene.sites)
    others = first.positions[count:][first.heights[count:] > least]
    # an atom that is not there has no place to go to
    still = fit(pixels, pixel_size, np.vstack([sites, others]), first.probe)
    there = still.heights > 0.8 * least
    for _ in range(3):  # what is missing pulls at its neighbours until it is in the model
        last = fit(pixels, pixel_size, np.vstack([sites, others]), first.probe, there)
        more = _unexplained(last, sites, pixel_size, least)
        if len(more) == 0:
            break
        others = np.vstack([last.positions[count:], more])
        there = np.concatenate([there, np.ones(len(more), dtype=bool)])
    return Registration(correction, sites, last, _unit(scene, last))


def faintest(scene: Scene) -> float:
    """Return the height of the faintest column that is known here, in those of the commonest one."""
    return min(map(Brightness(scene.host).of, scene.known))


def _unit(scene: Scene, peaks: FittedPeaks) -> float:
    """Height of the commonest column."""
    labels = scene.species_at(peaks.positions)
    if not (labels == scene.host).any():  # nothing was found here: the structure's own
        labels = np.array([*scene.labels, *([""] * (len(peaks.positions) - len(scene.labels)))])
    return max(float(np.median(peaks.heights[labels == scene.host])), 1e-12)


def _unexplained(peaks: FittedPeaks, sites: Floats, pixel_size: float, least: float) -> Floats:
    """Places at the structure where what is left of the image has an atom's height."""
    half = int(np.ceil(peaks.probe.fwhm / pixel_size))
    steps = np.arange(-half, half + 1) * pixel_size
    kernel = peaks.probe.profile(*np.meshgrid(steps, steps))[0]
    height = ndimage.correlate(peaks.left, kernel / (kernel**2).sum(), mode="nearest")
    top = (height == ndimage.maximum_filter(height, 2 * half + 1)) & (height > least)
    places = np.argwhere(top)[:, ::-1] * pixel_size
    if len(places) == 0:
        return places.astype(float)
    apart = (cKDTree(peaks.positions).query(places)[0] > OWN) & (cKDTree(sites).query(places)[0] < 2 * BONDED)
    return np.asarray(places[apart], dtype=float)
