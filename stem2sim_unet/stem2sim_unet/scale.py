"""The scale and stretch of a frame: from the spots of its spectrum, and from the distances of neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from stem2sim.geometry.metric import metric_by_neighbours
from stem2sim.imaging.lattice import LARGEST_ANISOTROPY, find_lattice
from stem2sim.lattice import DISAGREEMENT, Lattice, lattice_of
from stem2sim_unet.canonical import CANONICAL_PIXEL_SIZE
from stem2sim_unet.seen import Seen, see

if TYPE_CHECKING:
    from stem2sim.image import Image
    from stem2sim_unet.ensemble import Ensemble

Floats = NDArray[np.float64]

SCOUTS = 4
"""Members that look for the scale; all of them look at the frame once it is found."""

STARTS = (1.0, 0.87, 1.15, 0.77, 1.3)
"""True over stated pixel size, tried where the spectrum shows no lattice."""

ENOUGH = 0.6
"""Share of the perfect sheet's atoms that sit regularly: a scale that gives as many is taken at once."""

LEAST, MOSTLY, FEWEST = 0.25, 0.6, 12
"""There is a lattice where regular atoms fill this share of the frame or make up this share of the atoms, and are as
many as this: a flake in vacuum has one too."""

PASSES = 5
SETTLED = 0.005
PLAUSIBLE = 0.15
"""Change of the stated metric up to which it may be the right one."""

MANY_PERIODS = 15
"""Of the lattice across the field, beyond which its spots are sharper than what bonds tell; with fewer, bonds win."""

LOOK_AGAIN = 0.02
"""Change of the metric above which the networks look again: they were trained on strains of this size."""


@dataclass(frozen=True)
class Scaled:
    """A frame seen at its own scale, and how that was found."""

    seen: Seen
    lattice: Lattice | None
    warnings: tuple[str, ...]


def scaled(ensemble: Ensemble, image: Image, lattice_constant: float) -> Scaled:
    """Look at an image at the scale and stretch that its lattice calls for.

    Args:
        ensemble: trained on the material.
        image: the frame; its stated pixel size may be 25 % off.
        lattice_constant: of the frame's lattice [Å].
    """
    stated = image.pixel_size * np.eye(2)
    bond = ensemble.card.bond_length * lattice_constant / ensemble.card.lattice_constant
    spots = find_lattice(image.pixels, image.pixel_size, lattice_constant)
    metric = spots.matrix if spots else _by_scouts(ensemble, image, bond)
    if metric is None:
        return Scaled(see(ensemble, image, stated), None, (
            f"no lattice of {lattice_constant:.4g} Å stands out in the frame; "
            f"the pixel size of {image.pixel_size:.4f} Å is taken on trust",
        ))  # fmt: skip
    seen = see(ensemble, image, metric)
    if spots is None and _change(metric, stated) < PLAUSIBLE:
        # noise in few atoms makes a poor metric: the stated one stays where it lets more atoms be seen
        as_stated = see(ensemble, image, stated)
        seen = as_stated if len(as_stated.clean) > len(seen.clean) else seen
    measured = _by_neighbours(seen, bond)
    if measured is None:
        found = spots or lattice_of(metric, lattice_constant)
        return Scaled(seen, found, _complaint(found, image))
    found = lattice_of(measured, lattice_constant)
    if spots:
        apart = found.pixel_size / spots.pixel_size - 1
        if abs(apart) > DISAGREEMENT:
            said = (
                f"the spots of the spectrum call for {spots.pixel_size:.4f} Å/pixel, the distances of neighbours for "
                f"{100 * apart:+.1f} % more; the spots are used, and neither should be taken on trust"
            )
            return Scaled(seen, spots, (said, *_complaint(spots, image)))
        if min(image.field_of_view) * spots.ratio(image.pixel_size) > MANY_PERIODS * lattice_constant:
            return Scaled(seen, spots, _complaint(spots, image))
        found = found.model_copy(update={"angle": spots.angle, "strength": spots.strength})
    if spots and _change(measured, seen.grid.metric) > LOOK_AGAIN:
        seen = see(ensemble, image, measured)
    return Scaled(seen, found, _complaint(found, image))


def _complaint(lattice: Lattice, image: Image) -> tuple[str, ...]:
    complaint = lattice.complaint(image.pixel_size)
    return (
        (f"{complaint}; the networks look at the lattice's scale, positions keep the given one",) if complaint else ()
    )


def _change(one: Floats, other: Floats) -> float:
    return float(np.abs(np.linalg.svd(one @ np.linalg.inv(other), compute_uv=False) - 1).max())


def _by_neighbours(seen: Seen, bond: float) -> Floats | None:
    metric = metric_by_neighbours(seen.grid.to_image(seen.clean.positions), seen.grid.metric, bond)
    if metric is None:
        return None
    largest, smallest = np.linalg.svd(metric, compute_uv=False)
    return metric if largest / smallest <= LARGEST_ANISOTROPY else None


def _by_scouts(ensemble: Ensemble, image: Image, bond: float) -> Floats | None:
    """Try several scales with a few networks, then close in on the best."""
    best: tuple[float, Seen] | None = None
    for start in STARTS:
        seen = see(ensemble, image, start * image.pixel_size * np.eye(2), SCOUTS)
        share = regular_share(seen, bond)
        if best is None or share > best[0]:
            best = share, seen
        if share > ENOUGH:
            break
    assert best is not None
    share, seen = best
    regular = regular_atoms(seen, bond)
    if regular < FEWEST or (share < LEAST and regular < MOSTLY * len(seen.clean)):
        return None
    for _ in range(PASSES):
        metric = _by_neighbours(seen, bond)
        if metric is None:
            return None
        if _change(metric, seen.grid.metric) < SETTLED:
            return metric
        seen = see(ensemble, image, metric, SCOUTS)
    return seen.grid.metric


def regular_atoms(seen: Seen, bond: float) -> int:
    """Return how many atoms outside contamination have their two nearest neighbours a bond length away."""
    xy = seen.clean.positions * CANONICAL_PIXEL_SIZE
    if len(xy) < 4:
        return 0
    distances, _ = cKDTree(xy).query(xy, k=3)
    return int((np.abs(distances[:, 1:] / bond - 1) < 0.15).all(axis=1).sum())


def regular_share(seen: Seen, bond: float) -> float:
    """Return how much of a perfect sheet over the clean part of a frame was found: atoms with neighbours in place."""
    area = max(float((~seen.dirty).sum()), 1.0) * CANONICAL_PIXEL_SIZE**2
    return float(regular_atoms(seen, bond) / (area / (0.75 * np.sqrt(3) * bond**2)))
