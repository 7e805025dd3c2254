"""A frame as AtomAI would read it: `compat = "atomai"`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stem2sim.errors import BadInput
from stem2sim.segmentation import AtomsTable, Segmentation
from stem2sim_unet import atomai_compat
from stem2sim_unet.atomai_files import read_atomai
from stem2sim_unet.ensemble import Ensemble
from stem2sim_unet.torch_backend import network_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from stem2sim.image import Image
    from stem2sim_unet.card import Card
    from stem2sim_unet.network import UnetNetwork


def segment_as_atomai(image: Image, weights: Path, classes: tuple[str, ...] | None) -> Segmentation:
    """Return AtomAI's mean, spread and coordinates: no calibration, no resampling, one atom per class that claims it.

    Args:
        image: rows and columns must be multiples of 8.
        weights: AtomAI's model file, or the folder of an ensemble.
        classes: species of the classes of a model file, background left out.

    Raises:
        BadInput: a file that does not read, classes that do not fit it, a shape AtomAI does not take, or no atoms.
    """
    species, networks = _networks(weights, classes)
    mean, variance = atomai_compat.predict(networks, image.pixels)
    (found,) = atomai_compat.locate(mean)
    if len(found) == 0:
        raise BadInput(f"no atoms found by AtomAI's rules at {image.pixel_size:.4f} Å/pixel")
    row, column, kind = found[:, 0], found[:, 1], found[:, 2].astype(int)
    maps = np.moveaxis(mean[0], -1, 0)
    spread = np.sqrt(np.moveaxis(variance[0], -1, 0))
    if len(maps) == 1:  # AtomAI's single class is foreground
        maps, spread = np.concatenate([maps, 1 - maps]), np.concatenate([spread, spread])
    at = np.rint(row).astype(int), np.rint(column).astype(int)
    return Segmentation(
        atoms=AtomsTable(
            x=column * image.pixel_size,
            y=row * image.pixel_size,
            species=np.array(species)[kind],
            probability=np.asarray(maps[(kind, *at)], dtype=float),
            position_std=np.full(len(found), np.nan),
            entropy=np.zeros(len(found)),
            flags=np.full(len(found), ""),
        ),
        class_names=(*species, "background"),
        mean=maps.astype(np.float32),
        spread=spread.astype(np.float32),
        pixel_size=image.pixel_size,
        warnings=("read as AtomAI reads it: probabilities are not calibrated, positions have no error bars",),
    )


def _networks(weights: Path, classes: tuple[str, ...] | None) -> tuple[tuple[str, ...], Iterable[UnetNetwork]]:
    if weights.is_dir():
        ensemble = Ensemble(weights, "torch")
        card: Card = ensemble.card
        return card.species, (network_of(one, card) for one in ensemble.members)
    model = read_atomai(weights)
    species = max(model.classes - 1, 1)
    if classes is None or len(classes) != species:
        named = ", ".join(classes) if classes else "none"
        raise BadInput(f"{weights.name} knows {species} species; name each in segment.classes, got {named}")
    return classes, model.networks()
