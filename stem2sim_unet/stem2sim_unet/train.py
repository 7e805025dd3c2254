"""Training an ensemble into a folder: `stem2sim train CONFIG --out FOLDER`.

A member that is done is a file, and a start under way is a checkpoint, so the command continues where it was cut off.
"""

from __future__ import annotations

import csv
import logging
import math
import time
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import safe_open

from stem2sim import __version__
from stem2sim.errors import BadInput, StageFailed
from stem2sim.files import write_text
from stem2sim.progress import track
from stem2sim_unet.canonical import CANONICAL_PIXEL_SIZE
from stem2sim_unet.card import CARD, Card
from stem2sim_unet.examine import completed
from stem2sim_unet.training import Training, generated, overlap, save_member, train_starts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from stem2sim_unet.recipe import Recipe

CONFIG, LOSSES = "training.json", "losses.csv"
VALIDATION, VALIDATION_FRAMES = 999_000_000, 120
NOTE_EVERY = 50
"""Steps between two rows of the table of losses."""

log = logging.getLogger("stem2sim")


def train(training: Training, out: Path) -> Card:
    """Train, calibrate and describe an ensemble.

    Args:
        training: all options.
        out: folder for members, card and checkpoints; what is there already is not repeated.

    Raises:
        BadInput: a folder that holds something else, options that cannot be met, labelled frames that do not read.
        StageFailed: a member that learnt too little.
    """
    _check_options(training)
    _claim(training, out)
    files = [member_file(out, k) for k in range(training.starts * training.snapshots)]
    if (out / CARD).exists() and all(file.exists() for file in files):
        card = Card.read(out)
        if card.confidence is not None:
            return card
    own = _own_patches(training)
    write_text(out / CONFIG, _resolved(training))
    if training.trainer == "atomai":
        from stem2sim_unet.atomai_training import train_with_atomai

        train_with_atomai(training, out, own)
    else:
        _train_members(training, out, own)
    spent = {"patches": len(own[0]) if own else 0, "seconds": round(seconds_of(out))}
    card_of(training, **spent).write(out)
    return completed(out, training.recipe, training.calibration_frames)


def _resolved(training: Training) -> str:
    return training.model_dump_json(indent=1) + "\n"


def _check_options(training: Training) -> None:
    """Everything that can be known before the first frame is made."""
    recipe = training.recipe
    recipe.sheet_of  # noqa: B018  a material that does not read must fail first
    if training.device == "cuda" and not torch.cuda.is_available():
        raise BadInput('device "cuda" asks for a GPU that torch does not see; device = "cpu" works anywhere')
    if training.baseline is not None:
        card = Card.read(training.baseline)
        asked = {"classes": recipe.classes, "filters": training.filters, "depths": training.depths}
        for name, mine in asked.items():
            if getattr(card, name) != mine:
                raise BadInput(f"baseline {training.baseline} has {name} {getattr(card, name)}, this training {mine}")
    if training.trainer == "atomai":
        from stem2sim_unet.atomai_training import check_options

        check_options(training)


def _claim(training: Training, out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise BadInput(f"--out {out} is a file; choose a folder")
    config = out / CONFIG
    if config.exists():
        if config.read_text(encoding="utf-8") != _resolved(training):
            raise BadInput(f"{out} holds a training with other options ({CONFIG}); choose another --out")
    elif any(out.glob("member-*.safetensors")):
        raise BadInput(f"{out} holds an ensemble that was not trained here (it has no {CONFIG}); choose another --out")
    out.mkdir(parents=True, exist_ok=True)


def member_file(out: Path, number: int) -> Path:
    """Return where a member is kept."""
    return out / f"member-{number:02d}.safetensors"


def card_of(training: Training, **spent: int) -> Card:
    """Return the card of an ensemble before its calibration.

    Args:
        training: all options.
        spent: numbers to note beside them, such as the seconds that it took.
    """
    material = training.recipe.sheet_of
    return Card(
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
            "options": _by_name(training.model_dump(exclude_defaults=True)),
        },
        limits=(
            f"{material.name} only, one layer, seen along its normal",
            f"species {', '.join(training.recipe.species)} only: anything else is read as one of these",
            f"pixels of at most {training.recipe.pixel_size[1]} Å; doses from {training.recipe.dose[0]:g} per Å²",
        ),
    )


def _by_name(value: Any) -> Any:
    """Options without the folders that files lay in: a card goes to other machines, and to other people."""
    if isinstance(value, dict):
        kept = {key: _by_name(one) for key, one in value.items()}
        return kept | ({"material": Path(kept["material"]).name} if "material" in kept else {})
    if isinstance(value, tuple | list):
        return [_by_name(one) for one in value]
    return value.name if isinstance(value, Path) else value


def _own_patches(training: Training) -> tuple[Tensor, Tensor] | None:
    if not training.labelled:
        return None
    parts = [one.patches(training.recipe) for one in training.labelled]
    pixels, labels = (torch.from_numpy(np.concatenate([part[k] for part in parts])) for k in (0, 1))
    log.info("%d patches of 128 x 128 pixels from %d labelled frames", len(pixels), len(parts))
    return pixels[:, None], labels


def _train_members(training: Training, out: Path, own: tuple[Tensor, Tensor] | None) -> None:
    ends = training.ends
    with track("training: steps", training.starts * ends[-1]) as advance:
        for seeds in training.cohorts:
            files = {
                (seed, end): member_file(out, (seed - training.seed) * training.snapshots + k)
                for seed in seeds
                for k, end in enumerate(ends)
            }
            if all(file.exists() for file in files.values()):
                advance(len(seeds) * ends[-1])
                continue
            named = "-".join(map(str, sorted({seeds[0], seeds[-1]})))
            checkpoint = out / f"seed-{named}.checkpoint"
            last, since = 0, time.monotonic()
            for step, losses, networks in train_starts(training, seeds, checkpoint, own):
                done = f"{seeds[-1] - training.seed + 1} of {training.starts} starts"
                advance(len(seeds) * (step - last), note=f"{done}, loss {sum(losses) / len(losses):.4f}")
                last = step
                _check_losses(training, seeds, losses, step)
                if step in ends:
                    for seed, network in zip(seeds, networks(), strict=True):
                        keep_member(training, seed, step, network, files[seed, step])
                if step % NOTE_EVERY == 0 or step in ends:
                    now = time.monotonic()
                    for seed, loss in zip(seeds, losses, strict=True):
                        note_loss(out, seed, step, loss, (now - since) / len(seeds))
                    since = now
            checkpoint.unlink(missing_ok=True)


def _check_losses(training: Training, seeds: Sequence[int], losses: Sequence[float], step: int) -> None:
    for seed, loss in zip(seeds, losses, strict=True):
        if not math.isfinite(loss):
            raise StageFailed(
                f"seed {seed} came to no finite loss at step {step}; a learning_rate under "
                f"{training.learning_rate:g} would help"
            )


@lru_cache(maxsize=1)
def held_out(recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Return frames and labels that no training sees."""
    return generated(recipe, VALIDATION, VALIDATION_FRAMES)


def keep_member(training: Training, seed: int, step: int, network: torch.nn.Module, file: Path) -> None:
    """Write a network to its file if it has learnt enough.

    Raises:
        StageFailed: its atoms overlap too little with the labels of held-out frames.
    """
    shares = overlap(network, *held_out(training.recipe), len(training.recipe.classes))
    named = dict(zip(training.recipe.species, shares, strict=True))
    text = ", ".join(f"{species} {share:.3f}" for species, share in named.items())
    log.info("seed %d: overlap with the labels of held-out frames: %s", seed, text)
    least = min(named[column] for column in training.recipe.sheet_of.columns)
    if least < training.least_overlap:
        raise StageFailed(
            f"seed {seed} learnt too little: overlap {least:.2f}, under {training.least_overlap}; "
            "more steps or frames, or another seed, would help"
        )
    save_member(network, file, seed=str(seed), step=str(step), torch=torch.__version__)


def note_loss(out: Path, seed: int, step: int, loss: float, seconds: float) -> None:
    """Add a row to the table of losses, unless a run that was cut off has left it.

    Args:
        out: folder of the training.
        seed: of the start.
        step: that the loss belongs to.
        loss: of its batch.
        seconds: since the row before.
    """
    file = out / LOSSES
    text = file.read_text(encoding="utf-8") if file.exists() else "seed,step,loss,seconds\n"
    if f"\n{seed},{step}," not in text:
        write_text(file, f"{text}{seed},{step},{loss:.5f},{seconds:.1f}\n")


def seconds_of(out: Path) -> float:
    """Return how long the steps took that the table of losses tells of; what was lost when cut off does not count."""
    file = out / LOSSES
    if not file.exists():
        return 0.0
    with file.open(newline="", encoding="utf-8") as table:
        return sum(float(row["seconds"]) for row in csv.DictReader(table))


def seed_of(member: Path) -> str:
    """Return the seed that a member's file says it was trained with."""
    with safe_open(member, "np") as file:
        return str((file.metadata() or {}).get("seed", ""))
