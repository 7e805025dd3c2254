"""From inference on the canonical grid to a segmentation of the image: atoms with error bars and flags, and maps."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from stem2sim.atoms_table import AtomsTable
from stem2sim.segmentation import Ambiguity, Segmentation
from stem2sim_unet.canonical_grid import CANONICAL_PIXEL_SIZE
from stem2sim_unet.synthetic import LABEL_RADIUS

if TYPE_CHECKING:
    from stem2sim.image import Image
    from stem2sim_unet.inference import Inference
    from stem2sim_unet.locate import Detections
    from stem2sim_unet.model_card import ModelCard

SHORT = 0.78
"""Of the material's bond length: a neighbour closer than this is suspect (1.1 Å in graphene)."""

SETTLED = 0.9
"""Probability of a reading (a species, or nothing) from which on the second one is not reported."""

MOST_AMBIGUOUS = 20
"""Most ambiguous places listed."""

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


def segmentation(
    inference: Inference, image: Image, card: ModelCard, least_probability: float, refine: bool
) -> Segmentation:
    """Return atoms and maps on the image's own pixels.

    Args:
        inference: detections and maps on the canonical grid.
        image: the frame.
        card: of the ensemble, calibrated.
        least_probability: detections less probable than this are discarded.
        refine: fit the positions of all atoms jointly to the frame.
    """
    assert card.confidence is not None
    kept = inference.probability >= least_probability
    detections, probability = inference.detections.chosen(kept), inference.probability[kept]
    std = card.confidence.position_std(detections, inference.noise)
    fitted = np.zeros(len(detections), dtype=bool)
    if refine:
        positions, std, fitted = _fitted(inference, detections, probability >= 0.5, std)
        detections = replace(detections, positions=positions)
    # the frame's border cuts the disc of an atom: its centre is off by what may lie outside
    pixels = inference.grid.to_image(detections.positions)
    last = np.array(image.shape[::-1]) - 1
    scale = float(np.sqrt(np.linalg.det(inference.grid.metric)))
    margin = np.minimum(pixels, last - pixels).min(axis=1) * scale
    std = np.hypot(std, np.clip(LABEL_RADIUS - margin, 0, None))
    shares = card.confidence.shares(detections)
    maps = inference.prediction
    return Segmentation(
        atoms=AtomsTable(
            x=pixels[:, 0] * image.pixel_size,
            y=pixels[:, 1] * image.pixel_size,
            species=np.array(card.species)[shares.argmax(axis=1)],
            probability=probability,
            position_std=std * (image.pixel_size / scale),
            entropy=-(shares * np.log(np.maximum(shares, 1e-12))).sum(axis=1),
            flags=_flags(detections, inference.is_contaminated[kept], margin, fitted, card.bond_length),
            shares={species: shares[:, k] for k, species in enumerate(card.species)},
        ),
        class_names=card.classes,
        mean=inference.grid.maps_on_image(maps.mean, image.shape),
        spread=inference.grid.maps_on_image(maps.spread, image.shape),
        information=inference.grid.maps_on_image(maps.information[None], image.shape)[0],
        ambiguities=_ambiguous(inference, image, card),
        pixel_size=image.pixel_size,
    )


def _fitted(inference: Inference, detections: Detections, sure: Mask, std: Floats) -> tuple[Floats, Floats, Mask]:
    """Means of the networks' positions and those of a joint fit, weighted by variance; their std; which were fitted.

    The two share the frame's noise, so the better of the two standard deviations is kept, not a smaller one.
    """
    from stem2sim_unet.refine import fit

    positions, std = detections.positions.copy(), std.copy()
    fitted = fit(inference.frame, positions[sure])
    good = np.isfinite(fitted.std)
    at = np.flatnonzero(sure)[good]
    ours, theirs = 1 / std[at] ** 2, 1 / fitted.std[good] ** 2
    weighted = positions[at] * ours[:, None] + fitted.positions[good] * theirs[:, None]
    positions[at] = weighted / (ours + theirs)[:, None]
    std[at] = np.minimum(std[at], fitted.std[good])
    is_fitted = np.zeros(len(detections), dtype=bool)
    is_fitted[at] = True
    return positions, std, is_fitted


def _flags(
    detections: Detections, is_contaminated: Mask, margin: Floats, is_fitted: Mask, bond_length: float
) -> NDArray[np.str_]:
    """Flags of each atom: edge, contamination, short-bond; and whether its position was fitted."""
    close = np.zeros(len(detections), dtype=bool)
    if len(detections) > 1:
        nearest = cKDTree(detections.positions).query(detections.positions, k=2)[0][:, 1] * CANONICAL_PIXEL_SIZE
        close = nearest < SHORT * bond_length
    flags = (
        ("edge", margin < LABEL_RADIUS),
        ("contamination", is_contaminated),
        ("short-bond", close),
        ("fitted", is_fitted),
    )
    words = [";".join(flag for flag, is_set in flags if is_set[k]) for k in range(len(detections))]
    return np.array(words, dtype=np.str_)


def _ambiguous(inference: Inference, image: Image, card: ModelCard) -> tuple[Ambiguity, ...]:
    """Places off the border where the likeliest reading is not likely enough, with the two likeliest."""
    assert card.confidence is not None
    detections, probability = inference.detections, inference.probability
    readings = np.column_stack([card.confidence.shares(detections) * probability[:, None], 1 - probability])
    pixels = inference.grid.to_image(detections.positions)
    margin = np.minimum(pixels, np.array(image.shape[::-1]) - 1 - pixels).min(axis=1) * image.pixel_size
    best = readings.max(axis=1)
    ambiguous = np.flatnonzero((best < SETTLED) & (margin > LABEL_RADIUS))
    names = [*card.species, "nothing"]
    places = []
    for k in ambiguous[np.argsort(best[ambiguous])][:MOST_AMBIGUOUS]:
        first, second = np.argsort(-readings[k])[:2]
        x, y = pixels[k] * image.pixel_size
        likeliest = ((names[first], float(readings[k, first])), (names[second], float(readings[k, second])))
        places.append(Ambiguity(x=x, y=y, information=float(detections.information[k]), readings=likeliest))
    return tuple(places)
