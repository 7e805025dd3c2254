"""Training an ensemble into a folder: `stem2sim train CONFIG --out FOLDER`.

A finished member is a file, and a start under way is a checkpoint, so the command resumes where it was interrupted.
"""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from stem2sim import __version__
from stem2sim.errors import BadInput, StageFailed
from stem2sim.files import write_text
from stem2sim.progress import track
from stem2sim_unet.calibration import calibrate_folder
from stem2sim_unet.canonical_grid import CANONICAL_PIXEL_SIZE
from stem2sim_unet.model_card import ModelCard
from stem2sim_unet.training_files import claim_folder, finished_card, member_file, record_loss, training_seconds
from stem2sim_unet.training_loop import RECORD_EVERY, train_starts
from stem2sim_unet.validation import save_if_learnt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from stem2sim_unet.training import Training

CONFIG = "training.json"

log = logging.getLogger("stem2sim")


def train(training: Training, out: Path) -> ModelCard:
    """Train, calibrate and describe an ensemble.

    Args:
        training: all options.
        out: folder for members, model card and checkpoints; finished work there is not repeated.

    Raises:
        BadInput: a folder that holds something else, invalid options, labelled frames that cannot be read.
        StageFailed: a member that learnt too little.
    """
    _check_options(training)
    options = training.model_dump_json(indent=1) + "\n"
    claim_folder(out, CONFIG, options, "training")
    out.mkdir(parents=True, exist_ok=True)
    files = [member_file(out, k) for k in range(training.starts * training.snapshots)]
    if all(file.exists() for file in files) and (card := finished_card(out)) is not None:
        return card
    own = _own_patches(training)
    write_text(out / CONFIG, options)
    if training.trainer == "atomai":
        from stem2sim_unet.atomai_training import train_with_atomai

        train_with_atomai(training, out, own)
    else:
        _train_members(training, out, own)
    spent = {"patches": len(own[0]) if own else 0, "seconds": round(training_seconds(out))}
    card_of(training, **spent).write(out)
    return calibrate_folder(out, training.recipe, training.calibration_frames)


def _check_options(training: Training) -> None:
    """Check everything that can be known before the first frame is generated."""
    recipe = training.recipe
    if training.device == "cuda" and not torch.cuda.is_available():
        raise BadInput('device = "cuda" needs a GPU, and torch finds none; use device = "cpu"')
    if training.baseline is not None:
        card = ModelCard.read(training.baseline)
        options = {"classes": recipe.classes, "filters": training.filters, "depths": training.depths}
        for name, value in options.items():
            if getattr(card, name) != value:
                raise BadInput(f"baseline {training.baseline} has {name} {getattr(card, name)}, this training {value}")
    if training.trainer == "atomai":
        from stem2sim_unet.atomai_training import check_options

        check_options(training)


def card_of(training: Training, **spent: int) -> ModelCard:
    """Return the card of an ensemble before its calibration.

    Args:
        training: all options.
        spent: numbers to record beside them, such as the seconds that it took.
    """
    material = training.recipe.sheet_of
    return ModelCard(
        classes=training.recipe.classes,
        material=material.name,
        lattice_constant=round(material.lattice_constant, 4),
        bond_length=round(material.bond_length, 4),
        hosts=tuple(dict.fromkeys(material.columns)),
        canonical_pixel_size=CANONICAL_PIXEL_SIZE,
        filters=training.filters,
        depths=training.depths,
        trained={
            "by": f"stem2sim-unet {__version__}",
            "torch": torch.__version__,
            "seeds": list(range(training.seed, training.seed + training.starts)),
            "steps": training.ends[-1],
            "members": training.starts * training.snapshots,
            "frames": training.starts * (training.frames + (training.snapshots - 1) * training.later_frames),
            **spent,
            "options": _without_folders(training.model_dump(exclude_defaults=True)),
        },
        limits=(
            f"{material.name} only, one layer, viewed along its normal",
            f"species {', '.join(training.recipe.species)} only: any other is classified as one of these",
            f"pixels of at most {training.recipe.pixel_size[1]} Å; doses from {training.recipe.dose[0]:g} per Å²",
        ),
    )


def _without_folders(value: Any) -> Any:
    """Options with names of files instead of paths: a card goes to other machines, and to other people."""
    if isinstance(value, dict):
        kept = {key: _without_folders(entry) for key, entry in value.items()}
        return kept | ({"material": Path(kept["material"]).name} if "material" in kept else {})
    if isinstance(value, tuple | list):
        return [_without_folders(entry) for entry in value]
    return value.name if isinstance(value, Path) else value


def _own_patches(training: Training) -> tuple[Tensor, Tensor] | None:
    if not training.labelled:
        return None
    parts = [frame.patches(training.recipe) for frame in training.labelled]
    pixels, labels = (torch.from_numpy(np.concatenate([part[k] for part in parts])) for k in (0, 1))
    log.info("%d patches of 128 × 128 pixels from %d labelled images", len(pixels), len(parts))
    return pixels[:, None], labels


def _train_members(training: Training, out: Path, own: tuple[Tensor, Tensor] | None) -> None:
    ends = training.ends
    with track("training: steps", training.starts * ends[-1]) as advance:
        for seeds in training.seed_groups:
            files = {
                (seed, end): member_file(out, (seed - training.seed) * training.snapshots + k)
                for seed in seeds
                for k, end in enumerate(ends)
            }
            if all(file.exists() for file in files.values()):
                advance(len(seeds) * ends[-1])
                continue
            name = "-".join(map(str, sorted({seeds[0], seeds[-1]})))
            checkpoint = out / f"seed-{name}.checkpoint"
            last, since = 0, time.monotonic()
            for step, losses, networks in train_starts(training, seeds, checkpoint, own):
                done = f"{seeds[-1] - training.seed + 1} of {training.starts} starts"
                advance(len(seeds) * (step - last), note=f"{done}, loss {sum(losses) / len(losses):.4f}")
                last = step
                _check_losses(training, seeds, losses, step)
                if step in ends:
                    for seed, network in zip(seeds, networks(), strict=True):
                        save_if_learnt(training, seed, step, network, files[seed, step])
                if step % RECORD_EVERY == 0 or step in ends:
                    now = time.monotonic()
                    for seed, loss in zip(seeds, losses, strict=True):
                        record_loss(out, seed, step, loss, (now - since) / len(seeds))
                    since = now
            checkpoint.unlink(missing_ok=True)


def _check_losses(training: Training, seeds: Sequence[int], losses: Sequence[float], step: int) -> None:
    for seed, loss in zip(seeds, losses, strict=True):
        if not math.isfinite(loss):
            raise StageFailed(
                f"seed {seed}: the loss is not finite at step {step}; try a learning_rate under "
                f"{training.learning_rate:g}"
            )
