"""Segmentation exactly as by AtomAI: `compat = "atomai"`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stem2sim.atoms_table import AtomsTable
from stem2sim.errors import BadInput
from stem2sim.segmentation import Segmentation
from stem2sim_unet import atomai_compat
from stem2sim_unet.atomai_files import read_atomai
from stem2sim_unet.ensemble import Ensemble
from stem2sim_unet.torch_backend import network_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from stem2sim.image import Image
    from stem2sim_unet.model_card import ModelCard
    from stem2sim_unet.network import UnetNetwork


def segment_as_atomai(image: Image, weights: Path, classes: tuple[str, ...] | None) -> Segmentation:
    """Return AtomAI's mean, spread and coordinates: no calibration, no resampling, one atom per class that claims it.

    Args:
        image: rows and columns must be multiples of 8.
        weights: AtomAI's model file, or the folder of an ensemble.
        classes: species of the classes of a model file, without the background.

    Raises:
        BadInput: a file that cannot be read, classes that do not fit it, a shape AtomAI does not take, or no atoms.
    """
    species, networks = _networks(weights, classes)
    mean, variance = atomai_compat.predict(networks, image.pixels)
    (atoms,) = atomai_compat.locate(mean)
    if len(atoms) == 0:
        raise BadInput(f"no atoms found by AtomAI's rules at {image.pixel_size:.4f} Å/pixel")
    row, column, kind = atoms[:, 0], atoms[:, 1], atoms[:, 2].astype(int)
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
            position_std=np.full(len(atoms), np.nan),
            entropy=np.zeros(len(atoms)),
            flags=np.full(len(atoms), ""),
        ),
        class_names=(*species, "background"),
        mean=maps.astype(np.float32),
        spread=spread.astype(np.float32),
        pixel_size=image.pixel_size,
        warnings=("segmented by AtomAI's rules: probabilities are not calibrated, positions have no error bars",),
    )


def _networks(weights: Path, classes: tuple[str, ...] | None) -> tuple[tuple[str, ...], Iterable[UnetNetwork]]:
    if weights.is_dir():
        ensemble = Ensemble(weights, "torch")
        card: ModelCard = ensemble.card
        return card.species, (network_of(weights, card) for weights in ensemble.members)
    model = read_atomai(weights)
    species = max(model.classes - 1, 1)
    if classes is None or len(classes) != species:
        listed = ", ".join(classes) if classes else "none"
        raise BadInput(f"{weights.name} has {species} species; list them in segment.classes, got {listed}")
    return classes, model.networks()
