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
from stem2sim_unet.canonical_grid import CANONICAL_PIXEL_SIZE
from stem2sim_unet.inference import Inference, infer

if TYPE_CHECKING:
    from stem2sim.image import Image
    from stem2sim_unet.ensemble import Ensemble

Floats = NDArray[np.float64]

SCOUTS = 4
"""Members that search for the scale; once it is known, all of them are used."""

STARTS = (1.0, 0.87, 1.15, 0.77, 1.3)
"""True over stated pixel size, tried where the spectrum shows no lattice."""

ENOUGH = 0.6
"""Share of the perfect sheet's atoms that sit regularly, from which on a scale is accepted without trying others."""

LEAST, MOSTLY, FEWEST = 0.25, 0.6, 12
"""There is a lattice where regular atoms fill this share of the frame or make up this share of the atoms, and are as
many as this: a flake in vacuum has one too."""

PASSES = 5
SETTLED = 0.005
PLAUSIBLE = 0.15
"""Change of the stated metric up to which the stated one may be right."""

MANY_PERIODS = 15
"""Periods of the lattice across the field above which the spots are more precise than the bond lengths."""

REPEAT = 0.02
"""Change of the metric above which the inference is repeated: the networks were trained on strains of this size."""


@dataclass(frozen=True)
class ScaledInference:
    """Inference at the scale of the frame's own lattice, and that lattice."""

    inference: Inference
    lattice: Lattice | None
    """None where no lattice was found."""
    warnings: tuple[str, ...]


def infer_at_lattice_scale(ensemble: Ensemble, image: Image, lattice_constant: float) -> ScaledInference:
    """Detect the atoms of an image at the scale and stretch that its lattice implies.

    Args:
        ensemble: trained on the material.
        image: the frame; its stated pixel size may be off by 25 %.
        lattice_constant: of the frame's lattice [Å].
    """
    stated = image.pixel_size * np.eye(2)
    bond = ensemble.card.bond_length * lattice_constant / ensemble.card.lattice_constant
    spots = find_lattice(image.pixels, image.pixel_size, lattice_constant)
    metric = spots.matrix if spots else _by_scouts(ensemble, image, bond)
    if metric is None:
        return ScaledInference(infer(ensemble, image, stated), None, (
            f"no lattice of {lattice_constant:.4g} Å found in the image; "
            f"the given pixel size of {image.pixel_size:.4f} Å is used unchecked",
        ))  # fmt: skip
    inference = infer(ensemble, image, metric)
    if spots is None and _change(metric, stated) < PLAUSIBLE:
        # noise in few atoms makes a poor metric: the stated one stays where it gives more atoms
        as_stated = infer(ensemble, image, stated)
        inference = as_stated if len(as_stated.clean) > len(inference.clean) else inference
    measured = _by_neighbours(inference, bond)
    if measured is None:
        lattice = spots or lattice_of(metric, lattice_constant)
        return ScaledInference(inference, lattice, _complaint(lattice, image))
    lattice = lattice_of(measured, lattice_constant)
    if spots:
        apart = lattice.pixel_size / spots.pixel_size - 1
        if abs(apart) > DISAGREEMENT:
            warning = (
                f"the power spectrum implies {spots.pixel_size:.4f} Å/pixel, the distances between neighbouring atoms "
                f"{lattice.pixel_size:.4f} Å/pixel ({100 * apart:+.1f} %); the spectrum is used; check the scale"
            )
            return ScaledInference(inference, spots, (warning, *_complaint(spots, image)))
        if min(image.field_of_view) * spots.ratio(image.pixel_size) > MANY_PERIODS * lattice_constant:
            return ScaledInference(inference, spots, _complaint(spots, image))
        lattice = lattice.model_copy(update={"angle": spots.angle, "strength": spots.strength})
    if spots and _change(measured, inference.grid.metric) > REPEAT:
        inference = infer(ensemble, image, measured)
    return ScaledInference(inference, lattice, _complaint(lattice, image))


def _complaint(lattice: Lattice, image: Image) -> tuple[str, ...]:
    complaint = lattice.complaint(image.pixel_size)
    return (
        (f"{complaint}; the networks use the scale of the lattice, positions in Å keep the given one",)
        if complaint
        else ()
    )


def _change(metric: Floats, reference: Floats) -> float:
    return float(np.abs(np.linalg.svd(metric @ np.linalg.inv(reference), compute_uv=False) - 1).max())


def _by_neighbours(inference: Inference, bond: float) -> Floats | None:
    metric = metric_by_neighbours(inference.grid.to_image(inference.clean.positions), inference.grid.metric, bond)
    if metric is None:
        return None
    largest, smallest = np.linalg.svd(metric, compute_uv=False)
    return metric if largest / smallest <= LARGEST_ANISOTROPY else None


def _by_scouts(ensemble: Ensemble, image: Image, bond: float) -> Floats | None:
    """Try several scales with a few networks, then close in on the best."""
    best: tuple[float, Inference] | None = None
    for start in STARTS:
        inference = infer(ensemble, image, start * image.pixel_size * np.eye(2), SCOUTS)
        share = regular_share(inference, bond)
        if best is None or share > best[0]:
            best = share, inference
        if share > ENOUGH:
            break
    assert best is not None
    share, inference = best
    regular = regular_atoms(inference, bond)
    if regular < FEWEST or (share < LEAST and regular < MOSTLY * len(inference.clean)):
        return None
    for _ in range(PASSES):
        metric = _by_neighbours(inference, bond)
        if metric is None:
            return None
        if _change(metric, inference.grid.metric) < SETTLED:
            return metric
        inference = infer(ensemble, image, metric, SCOUTS)
    return inference.grid.metric


def regular_atoms(inference: Inference, bond: float) -> int:
    """Return how many atoms outside contamination have their two nearest neighbours a bond length away."""
    xy = inference.clean.positions * CANONICAL_PIXEL_SIZE
    if len(xy) < 4:
        return 0
    distances, _ = cKDTree(xy).query(xy, k=3)
    return int((np.abs(distances[:, 1:] / bond - 1) < 0.15).all(axis=1).sum())


def regular_share(inference: Inference, bond: float) -> float:
    """Return how much of a perfect sheet over the clean part of a frame was found: atoms with neighbours in place."""
    area = max(float((~inference.contamination).sum()), 1.0) * CANONICAL_PIXEL_SIZE**2
    return float(regular_atoms(inference, bond) / (area / (0.75 * np.sqrt(3) * bond**2)))
