"""Fitting an ensemble to frames of a new kind, without labels: select the members that fit, then teach them.

In the manner of ELIT (Ghosh et al. 2021, npj Comput. Mater. 7, 100). What no member sees, no round can teach: labels
come from what the selected members agree about, so the frames must be close enough for some of them to read.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.numpy import load_file
from scipy import ndimage

from stem2sim import __version__
from stem2sim.errors import BadInput
from stem2sim.files import fingerprint, write_atomically, write_text
from stem2sim.progress import track
from stem2sim_unet.canonical import CANONICAL_PIXEL_SIZE
from stem2sim_unet.card import CARD, Card
from stem2sim_unet.cohort import descend
from stem2sim_unet.ensemble import Ensemble
from stem2sim_unet.examine import completed
from stem2sim_unet.fitness import LEAST_KEPT, Frame, Member, asking, scored, selected, usable_frames
from stem2sim_unet.labelled import IGNORED, covered, cut
from stem2sim_unet.locate import REACH
from stem2sim_unet.material import brightness
from stem2sim_unet.seen import Seen, see
from stem2sim_unet.synthetic import draw_labels
from stem2sim_unet.torch_backend import network_of
from stem2sim_unet.train import held_out, member_file
from stem2sim_unet.training import OF_A_CYCLE, batch_of, class_weights, generated, overlap, save_member

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from stem2sim.image import Image
    from stem2sim_unet.recipe import Recipe

ADAPTATION = "adaptation.json"
FIRST_SEED = 2_000_000_000
"""Of the generated frames that are mixed in: no training and no calibration has them."""

SURE, SURELY_NOT = 0.8, 0.05
"""Probability from which a detection is a label, and below which there is nothing; between them nobody knows."""

DISAGREED = 0.1
"""Mutual information [nat], smoothed over 0.25 Å, above which pixels are not learnt from."""

FORGOTTEN = 0.02
"""A member that is taught may lose this much overlap with the labels of held-out generated frames."""

BATCH, LEARNING_RATE = 12, 3e-4

log = logging.getLogger("stem2sim")


def adapt(
    folder: Path,
    images: Sequence[Image],
    recipe: Recipe,
    out: Path,
    rounds: int = 1,
    keep: float = 0.8,
    steps: int = 150,
    frames: int = 400,
    seed: int = 1,
    calibration_frames: int = 160,
) -> Card:
    """Select the members that fit new frames, fine-tune them, calibrate what is left, and say why in the card.

    Args:
        folder: of the ensemble.
        images: frames of the new kind.
        recipe: that the ensemble was trained on; its frames are mixed in so that nothing is forgotten.
        out: folder for the new ensemble; a run that was cut off continues there.
        rounds: times to select and fine-tune.
        keep: members under this share of the best one's score are dropped; two are always kept.
        steps: of fine-tuning; 0 selects only.
        frames: generated frames to mix in.
        seed: of every choice.
        calibration_frames: held-out frames for the fit, and again for the scores.

    Raises:
        BadInput: fewer than two members, an ensemble without calibration or for another recipe, no frame, frames that
            are all foreign, a folder that holds something else.
    """
    bounds = {
        "rounds": (rounds, 1, 99),
        "keep": (keep, 0, 1),
        "steps": (steps, 0, math.inf),
        "seed": (seed, 0, math.inf),
    }
    for name, (value, least, most) in {**bounds, "frames": (frames, 1, OF_A_CYCLE)}.items():
        if not least <= value <= most:
            raise BadInput(f"{name} must lie between {least} and {most}, got {value:g}")
    ensemble = Ensemble(folder, "torch")
    _check(ensemble, images, recipe)
    options = {"rounds": rounds, "keep": keep, "steps": steps, "frames": frames, "seed": seed}
    files = sorted(folder.glob("member-*.safetensors"))
    given = (sha256(file.read_bytes()).hexdigest() for file in (*files, folder / CARD))
    same = fingerprint(*given, *(image.fingerprint() for image in images), recipe.model_dump_json())
    resolved = json.dumps({**options, "calibration_frames": calibration_frames, "given": same}, indent=1) + "\n"
    if (done := _claimed(out, folder, resolved)) is not None:
        return done
    members = [Member(*one) for one in zip((file.stem for file in files), files, ensemble.members, strict=True)]
    usable, noted = usable_frames(ensemble, members, images)
    told: list[dict[str, Any]] = []
    for number in range(1, rounds + 1):
        kept, choices = selected(ensemble, members, usable, keep)
        if steps:
            school = _School(ensemble, recipe, steps, frames, seed * 100 + number, out)
            kept = school.taught(kept, choices, usable)
        members = kept
        told.append(choices)
        log.info("round %d: %s", number, "; ".join(f"{name} {one['decision']}" for name, one in choices.items()))
    _put(members, out)
    adapted = {"by": f"stem2sim-unet {__version__}", "options": options, "frames": noted, "rounds": told}
    earlier = {"before": ensemble.card.trained["adapted"]} if "adapted" in ensemble.card.trained else {}
    trained = {**ensemble.card.trained, "members": len(members), "adapted": adapted | earlier}
    card = ensemble.card.model_copy(update={"trained": trained, "confidence": None, "usual": None, "scores": {}})
    card.write(out)
    card = completed(out, recipe, calibration_frames)
    for file in out.glob("taught-*.safetensors"):
        file.unlink()
    return card


def _check(ensemble: Ensemble, images: Sequence[Image], recipe: Recipe) -> None:
    card = ensemble.card
    if len(ensemble) < LEAST_KEPT:
        raise BadInput(f"adapting needs at least {LEAST_KEPT} members to choose from, {ensemble.folder} has one")
    if card.confidence is None or card.usual is None:
        raise BadInput(f"the ensemble in {ensemble.folder} was not calibrated; `stem2sim train` does so at its end")
    if card.classes != recipe.classes:
        raise BadInput(f"the recipe has classes {', '.join(recipe.classes)}, the ensemble {', '.join(card.classes)}")
    if not images:
        raise BadInput("adapting needs at least one frame")


def _claimed(out: Path, folder: Path, resolved: str) -> Card | None:
    """Make the folder this adaptation's own; return its card where all is done."""
    if out.exists() and not out.is_dir():
        raise BadInput(f"--out {out} is a file; choose a folder")
    if out.resolve() == folder.resolve():
        raise BadInput(f"--out {out} is the ensemble to adapt; choose another folder")
    config = out / ADAPTATION
    if config.exists():
        if config.read_text(encoding="utf-8") != resolved:
            raise BadInput(f"{out} holds an adaptation with other options or frames; choose another --out")
        card = Card.read(out) if (out / CARD).exists() else None
        return card if card is not None and card.confidence is not None else None
    if out.is_dir() and any(out.glob("member-*.safetensors")):
        raise BadInput(f"{out} holds another ensemble; choose another --out")
    write_text(config, resolved)
    return None


@dataclass(frozen=True)
class _School:
    """One round of fine-tuning on what the selected members agree about."""

    ensemble: Ensemble
    recipe: Recipe
    steps: int
    frames: int
    seed: int
    out: Path

    def taught(
        self, members: list[Member], choices: dict[str, dict[str, Any]], usable: Sequence[Frame]
    ) -> list[Member]:
        """Return the members, each replaced by its fine-tuned self where that is better; note why in `choices`."""
        asked = asking(self.ensemble, members)
        together = [see(asked, frame.image, frame.metric) for frame in usable]
        lesson = self._lesson(usable, together)
        if lesson is None:
            for member in members:
                choices[member.name]["decision"] += "; not fine-tuned: nothing in the frames is sure enough"
            return members
        mixed = generated(self.recipe, FIRST_SEED + self.seed * OF_A_CYCLE, self.frames)
        now = []
        with track("adapting: fine-tuning steps", len(members) * self.steps) as advance:
            for k, member in enumerate(members):
                file = self.out / f"taught-{self.seed}-{member.name}.safetensors"
                if not file.exists():
                    self._teach(member, lesson, mixed, self.seed * 1000 + k, file, advance)
                pupil = replace(member, file=file, weights=_float32(file))
                better, note = self._compared(member, pupil, usable, together)
                choices[member.name]["fine-tuned"] = note
                choices[member.name]["decision"] += f"; {note['decision']}"
                now.append(pupil if better else member)
        return now

    def _lesson(self, usable: Sequence[Frame], together: Sequence[Seen]) -> tuple[Tensor, Tensor] | None:
        """Patches of the new frames, and labels from what the members agree about."""
        parts = []
        for frame, seen in zip(usable, together, strict=True):
            labels = self._labels(seen, frame.image.shape)
            if (labels < len(self.recipe.species)).any():
                parts.append(cut(seen.frame, labels))
        if not parts:
            return None
        pixels, labels = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
        said = (labels != IGNORED).any(axis=(1, 2))
        return torch.from_numpy(pixels[said])[:, None], torch.from_numpy(labels[said])

    def _labels(self, seen: Seen, shape: tuple[int, int]) -> NDArray[np.uint8]:
        confidence = self.ensemble.card.confidence
        assert confidence is not None
        shares = confidence.shares(seen.found)
        sure = (seen.probability >= SURE) & (shares.max(axis=1, initial=0) >= SURE) & ~seen.covered
        order = np.argsort([brightness(name, 1.7) for name in self.recipe.species])
        labels = draw_labels(seen.found.positions[sure], shares[sure].argmax(axis=1), seen.frame.shape, order)
        unknown = seen.dirty | ~covered(seen.grid, shape)
        unknown |= ndimage.gaussian_filter(seen.prediction.information, 0.25 / CANONICAL_PIXEL_SIZE) > DISAGREED
        doubtful = seen.found.positions[~sure & (seen.probability > SURELY_NOT)]
        if len(doubtful):
            last = np.array(seen.frame.shape[::-1]) - 1
            column, row = np.clip(np.rint(doubtful), 0, last).astype(int).T
            away = np.ones(seen.frame.shape, dtype=bool)
            away[row, column] = False
            unknown |= ndimage.distance_transform_edt(away) <= REACH / CANONICAL_PIXEL_SIZE
        labels[unknown] = IGNORED
        return labels

    def _teach(
        self,
        member: Member,
        lesson: tuple[Tensor, Tensor],
        mixed: tuple[Tensor, Tensor],
        seed: int,
        file: Path,
        advance: Any,
    ) -> None:
        """Half of each batch from the new frames, half generated: what the member knew is asked for again and again."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        network = network_of(member.weights, self.ensemble.card).to(device)
        optimiser = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE)
        weights = class_weights(self.recipe).to(device)
        choice = torch.Generator().manual_seed(seed)
        for step in range(self.steps):
            for group in optimiser.param_groups:
                group["lr"] = LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * step / self.steps))
            halves = [batch_of(*part, BATCH // 2, choice) for part in (lesson, mixed)]
            x, y = (torch.cat([half[k] for half in halves]).to(device) for k in (0, 1))
            loss = descend(network, optimiser, x, y, weights)
            advance(note=f"{member.name}, loss {loss:.4f}")
        save_member(network, file, parent=member.name, steps=str(self.steps), torch=torch.__version__)

    def _compared(
        self, parent: Member, pupil: Member, usable: Sequence[Frame], together: Sequence[Seen]
    ) -> tuple[bool, dict[str, Any]]:
        scores = [scored(self.ensemble, one, usable, together) for one in (parent, pupil)]
        before, after = (one.total for one in scores)
        knew, knows = (self._overlap(one) for one in (parent, pupil))
        said = f"score {before:.4f} to {after:.4f}, overlap {knew:.3f} to {knows:.3f}"
        better = after > before and knows >= knew - FORGOTTEN
        why = "taken" if better else "not taken, no better" if after <= before else "not taken, forgets"
        note = {
            "before": scores[0].noted(),
            "after": scores[1].noted(),
            "overlap": [round(knew, 4), round(knows, 4)],
            "decision": f"fine-tuned weights {why}: {said}",
        }
        return better, note

    def _overlap(self, member: Member) -> float:
        """With the labels of held-out generated frames, the mean over the classes that occur there."""
        pixels, labels = held_out(self.recipe)
        shares = overlap(network_of(member.weights, self.ensemble.card), pixels, labels, len(self.recipe.classes))
        there = [share for k, share in enumerate(shares) if (labels == k).any()]
        return float(np.mean(there))


def _float32(file: Path) -> dict[str, NDArray[np.float32]]:
    return {name: np.asarray(value, dtype=np.float32) for name, value in load_file(file).items()}


def _put(members: Sequence[Member], out: Path) -> None:
    for stale in out.glob("member-*.safetensors"):  # of a run that was cut off here
        stale.unlink()
    for k, member in enumerate(members):
        with write_atomically(member_file(out, k)) as part:
            shutil.copyfile(member.file, part)
