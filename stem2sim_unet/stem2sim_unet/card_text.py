"""A model card in words and tables, as `stem2sim unet card` prints it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stem2sim_unet.model_card import BEYOND_TRAINING
from stem2sim_unet.out_of_distribution import MARGIN

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stem2sim_unet.model_card import ModelCard


def card_text(card: ModelCard, folder: Path) -> str:
    """Return what the ensemble in a folder is, how it was trained, how accurate it is, and what it is not for."""
    rows = [*_facts(card, folder), *(("" if k else "limits", limit) for k, limit in enumerate(card.limits))]
    width = max(len(name) for name, _ in rows) + 2
    lines = [f"{name:{width}}{value}" for name, value in rows]
    return "\n".join([*lines, *_scores(card.scores)])


def _facts(card: ModelCard, folder: Path) -> Iterator[tuple[str, str]]:
    yield "ensemble", str(folder)
    size = f"lattice constant {card.lattice_constant:g} Å, bond length {card.bond_length:g} Å"
    yield "material", f"{card.material or 'not stated'} ({size})"
    yield "classes", ", ".join(card.classes)
    members = len(list(folder.glob("member-*.safetensors")))
    layers = "-".join(map(str, card.depths))
    yield "members", f"{members} U-Nets with {card.filters} filters and layers {layers}"
    yield "pixel size", f"{card.canonical_pixel_size:g} Å; images are resampled to it"
    yield "trained", ", ".join(_training(card))
    if isinstance(adapted := card.trained.get("adapted"), dict):
        yield "adapted", f"by {adapted.get('by', 'unknown')}"
    if card.confidence is None or card.usual is None:
        yield "calibrated", 'no; it can be used with compat = "atomai" only'
        return
    yield "calibrated", f"on held-out images; position uncertainty of at least {card.confidence.floor:.3f} Å"
    limits = card.usual.model_dump(exclude={"expected_alternation"})
    listed = ", ".join(f"{name} {value:.2g}" for name, value in limits.items())
    yield "rejects", f"images that exceed {MARGIN:g} times one of these: {listed}"


def _training(card: ModelCard) -> Iterator[str]:
    known = card.trained
    yield f"by {known.get('by', 'unknown')}"
    if isinstance(seeds := known.get("seeds"), list):
        yield f"{len(seeds)} training runs"
    for name, unit in (("steps", "steps each"), ("frames", "synthetic images"), ("patches", "labelled patches")):
        if known.get(name):
            yield f"{known[name]} {unit}"
    if isinstance(seconds := known.get("seconds"), int | float):
        yield f"{seconds / 3600:.1f} h"


def _scores(scores: dict[str, float]) -> Iterator[str]:
    """Yield the table of scores: on images like those of training, and on images beyond its ranges."""
    usual = {name: value for name, value in scores.items() if not name.startswith(BEYOND_TRAINING)}
    if not usual:
        return
    width = max(map(len, usual)) + 2
    yield "\naccuracy on images used for neither training nor calibration"
    yield f"{'':{width}}{'within the training ranges':>28}{'beyond':>10}"
    for name, value in usual.items():
        beyond = scores.get(BEYOND_TRAINING + name)
        yield f"{name:{width}}{value:>28g}{'' if beyond is None else format(beyond, '>10g')}"
