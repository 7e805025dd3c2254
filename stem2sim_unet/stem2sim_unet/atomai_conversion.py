"""Conversion of ensembles from and to AtomAI's model files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import save_file

from stem2sim.errors import BadInput
from stem2sim.files import write_atomically
from stem2sim_unet.atomai_files import AtomaiModel, read_atomai, write_atomai
from stem2sim_unet.calibration import calibrate_folder
from stem2sim_unet.canonical_grid import CANONICAL_PIXEL_SIZE
from stem2sim_unet.ensemble import Ensemble
from stem2sim_unet.model_card import CARD, ModelCard

if TYPE_CHECKING:
    from pathlib import Path

    from stem2sim_unet.training import Training


def from_atomai(model: Path, species: tuple[str, ...], training: Training | None, out: Path) -> ModelCard:
    """Convert AtomAI's file to the folder of an ensemble.

    Args:
        model: file of one model or of an ensemble.
        species: of its classes, in order; background is AtomAI's last class.
        training: whose recipe to calibrate on; without it the ensemble serves `compat = "atomai"` only.
        out: folder to write to.

    Raises:
        BadInput: a file that cannot be read, an architecture that this plugin's own path does not compute, a number of
            classes that does not fit, or a folder in use.
    """
    read = read_atomai(model)
    if not _plain(read):
        raise BadInput(
            f"{model.name} is {read}; only plain U-Nets can be imported, use this one with compat = 'atomai'"
        )
    if len(species) + 1 != read.classes:
        raise BadInput(
            f"{model.name} has {read.classes} classes including the background; --classes lists {len(species)} species"
        )
    recipe = training.recipe if training else None
    if recipe and recipe.species != species:
        raise BadInput(f"--classes are {', '.join(species)}, the recipe's are {', '.join(recipe.species)}")
    if (out / CARD).exists():
        raise BadInput(f"{out} already holds an ensemble; choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    for number, state in enumerate(read.members):
        weights = {k: v.float().contiguous() for k, v in state.items() if not k.endswith("num_batches_tracked")}
        with write_atomically(out / f"member-{number:02d}.safetensors") as part:
            save_file(weights, part, metadata={"from": model.name})
    material = recipe.sheet_of if recipe else None
    card = ModelCard(
        classes=(*species, "background"),
        material=material.name if material else "",
        lattice_constant=material.lattice_constant if material else 2.46,
        bond_length=material.bond_length if material else 1.42,
        hosts=tuple(dict.fromkeys(material.columns)) if material else species[:1],
        canonical_pixel_size=CANONICAL_PIXEL_SIZE,
        filters=read.filters,
        depths=read.depths,
        trained={"by": f"AtomAI, read from {model.name}"},
    )
    card.write(out)
    return calibrate_folder(out, recipe) if recipe else card


def _plain(model: AtomaiModel) -> bool:
    return model.batch_norm and not model.dropout and not model.with_dilation and model.upsampling == "bilinear"


def to_atomai(folder: Path, model: Path) -> ModelCard:
    """Write an ensemble as AtomAI's file: one model for one member, an ensemble for more; return its card.

    Raises:
        BadInput: no ensemble in the folder.
    """
    ensemble = Ensemble(folder)
    card = ensemble.card
    members = tuple({k: torch.from_numpy(np.array(v)) for k, v in weights.items()} for weights in ensemble.members)
    write_atomai(model, AtomaiModel(len(card.classes), members, card.filters, card.depths))
    return card
