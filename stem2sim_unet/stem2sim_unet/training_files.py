"""The files of an ensemble in the making: its members, the table of losses, and whose the folder is."""

from __future__ import annotations

import csv
import os
from typing import TYPE_CHECKING

from safetensors.torch import save_file

from stem2sim.errors import BadInput
from stem2sim.files import write_text
from stem2sim_unet.model_card import CARD, ModelCard

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

LOSSES = "losses.csv"


def claim_folder(out: Path, config: str, options: str, work: str) -> None:
    """Check that a folder is free for a training or an adaptation, or holds this very one, which then resumes.

    Unlike a simulation (`stem2sim.engines.checkpoints.Claim`), a finished ensemble is never replaced.

    Args:
        out: the folder.
        config: name of the file that keeps the options there.
        options: all of them, as text.
        work: "training" or "adaptation".

    Raises:
        BadInput: not a folder, or one that holds other work.
    """
    if out.exists() and not out.is_dir():
        raise BadInput(f"--out {out} is a file; choose a folder")
    file = out / config
    if file.exists():
        if file.read_text(encoding="utf-8") != options:
            raise BadInput(f"{out} holds another {work}, with other options or data ({config}); choose another --out")
    elif any(out.glob("member-*.safetensors")):
        raise BadInput(f"{out} holds another ensemble (it has no {config}); choose another --out")


def finished_card(out: Path) -> ModelCard | None:
    """Return the model card of a finished ensemble; None where there is none, or it is not calibrated yet."""
    card = ModelCard.read(out) if (out / CARD).exists() else None
    return card if card is not None and card.confidence is not None else None


def member_file(out: Path, number: int) -> Path:
    """Return the file of a member."""
    return out / f"member-{number:02d}.safetensors"


def save_member(network: nn.Module, path: Path, **facts: str) -> None:
    """Write the weights as float16 safetensors, atomically."""
    state = {k: v.half().cpu().contiguous() for k, v in network.state_dict().items() if v.is_floating_point()}
    part = path.with_suffix(".part")
    save_file(state, part, metadata=facts)
    os.replace(part, path)


def record_loss(out: Path, seed: int, step: int, loss: float, seconds: float) -> None:
    """Add a row to the table of losses, unless an interrupted run has written it already.

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


def training_seconds(out: Path) -> float:
    """Return how long the steps in the table of losses took; work lost in interruptions does not count."""
    file = out / LOSSES
    if not file.exists():
        return 0.0
    with file.open(newline="", encoding="utf-8") as table:
        return sum(float(row["seconds"]) for row in csv.DictReader(table))
