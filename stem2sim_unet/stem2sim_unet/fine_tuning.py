"""Fine-tuning members on frames without labels: the labels are what the members agree about."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.numpy import load_file
from scipy import ndimage

from stem2sim.progress import track
from stem2sim_unet.canonical_grid import CANONICAL_PIXEL_SIZE
from stem2sim_unet.labelled import IGNORED, covered, cut
from stem2sim_unet.locate import REACH
from stem2sim_unet.material import brightness
from stem2sim_unet.member_selection import Member, consensus_of, score_member
from stem2sim_unet.synthetic import draw_labels
from stem2sim_unet.torch_backend import network_of
from stem2sim_unet.trainer import descend
from stem2sim_unet.training import OF_A_CYCLE
from stem2sim_unet.training_files import save_member
from stem2sim_unet.training_loop import batch_of, class_weights, generated
from stem2sim_unet.validation import held_out, overlap

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from stem2sim_unet.ensemble import Ensemble
    from stem2sim_unet.inference import Inference
    from stem2sim_unet.member_selection import UsableFrame
    from stem2sim_unet.recipe import Recipe

FIRST_SEED = 2_000_000_000
"""Of the generated frames that are mixed in: no training and no calibration uses them."""

SURE, SURELY_NOT = 0.8, 0.05
"""Probability from which on a detection is a label, and below which there is background; in between, no label."""

DISAGREED = 0.1
"""Mutual information [nat], smoothed over 0.25 Å, above which pixels are ignored."""

FORGOTTEN = 0.02
"""Overlap (IoU) with the labels of held-out generated frames that a fine-tuned member may lose."""

BATCH, LEARNING_RATE = 12, 3e-4


@dataclass(frozen=True)
class FineTuning:
    """One round of fine-tuning."""

    ensemble: Ensemble
    recipe: Recipe
    """Of the ensemble's training; its frames are mixed in, so that nothing is forgotten."""
    steps: int
    frames: int
    """Generated frames to mix in."""
    seed: int
    out: Path
    """Folder for the fine-tuned weights, which an interrupted run finds there again."""

    def tuned(
        self, members: list[Member], decisions: dict[str, dict[str, Any]], frames: Sequence[UsableFrame]
    ) -> list[Member]:
        """Return the members, each with fine-tuned weights where those are better; `decisions` records why."""
        consensus = consensus_of(self.ensemble, members, frames)
        patches = self._patches(frames, consensus)
        if patches is None:
            for member in members:
                decisions[member.name]["decision"] += "; not fine-tuned: no atom in the frames is certain enough"
            return members
        mixed = generated(self.recipe, FIRST_SEED + self.seed * OF_A_CYCLE, self.frames)
        chosen = []
        with track("adapting: fine-tuning steps", len(members) * self.steps) as advance:
            for k, member in enumerate(members):
                file = self.out / f"taught-{self.seed}-{member.name}.safetensors"
                if not file.exists():
                    network = self._trained(member, (patches, mixed), self.seed * 1000 + k, advance)
                    save_member(network, file, parent=member.name, steps=str(self.steps), torch=torch.__version__)
                candidate = replace(member, file=file, weights=_float32(file))
                better, record = self._compare(member, candidate, frames, consensus)
                decisions[member.name]["fine-tuned"] = record
                decisions[member.name]["decision"] += f"; {record['decision']}"
                chosen.append(candidate if better else member)
        return chosen

    def _patches(self, frames: Sequence[UsableFrame], consensus: Sequence[Inference]) -> tuple[Tensor, Tensor] | None:
        """Patches of the new frames and their labels; None where there is nothing to learn from."""
        parts = []
        for frame, common in zip(frames, consensus, strict=True):
            labels = self._labels(common, frame.image.shape)
            if (labels < len(self.recipe.species)).any():
                parts.append(cut(common.frame, labels))
        if not parts:
            return None
        pixels, labels = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
        labelled = (labels != IGNORED).any(axis=(1, 2))
        return torch.from_numpy(pixels[labelled])[:, None], torch.from_numpy(labels[labelled])

    def _labels(self, common: Inference, shape: tuple[int, int]) -> NDArray[np.uint8]:
        """(rows, columns) on the canonical grid: classes where the members agree, and ignored pixels elsewhere."""
        confidence = self.ensemble.card.confidence
        assert confidence is not None
        shares = confidence.shares(common.detections)
        sure = (common.probability >= SURE) & (shares.max(axis=1, initial=0) >= SURE) & ~common.is_contaminated
        order = np.argsort([brightness(name, 1.7) for name in self.recipe.species])
        labels = draw_labels(common.detections.positions[sure], shares[sure].argmax(axis=1), common.frame.shape, order)
        unknown = common.contamination | ~covered(common.grid, shape)
        smooth = ndimage.gaussian_filter(common.prediction.information, 0.25 / CANONICAL_PIXEL_SIZE)
        unknown |= smooth > DISAGREED
        doubtful = common.detections.positions[~sure & (common.probability > SURELY_NOT)]
        if len(doubtful):
            last = np.array(common.frame.shape[::-1]) - 1
            column, row = np.clip(np.rint(doubtful), 0, last).astype(int).T
            away = np.ones(common.frame.shape, dtype=bool)
            away[row, column] = False
            unknown |= ndimage.distance_transform_edt(away) <= REACH / CANONICAL_PIXEL_SIZE
        labels[unknown] = IGNORED
        return labels

    def _trained(
        self, member: Member, sources: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]], seed: int, advance: Any
    ) -> torch.nn.Module:
        """Train on batches half of new frames, half of generated ones, which keep what the member has learnt."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        network = network_of(member.weights, self.ensemble.card).to(device)
        optimiser = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE)
        weights = class_weights(self.recipe).to(device)
        choice = torch.Generator().manual_seed(seed)
        for step in range(self.steps):
            for group in optimiser.param_groups:
                group["lr"] = LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * step / self.steps))
            halves = [batch_of(*source, BATCH // 2, choice) for source in sources]
            x, y = (torch.cat([half[k] for half in halves]).to(device) for k in (0, 1))
            loss = descend(network, optimiser, x, y, weights)
            advance(note=f"{member.name}, loss {loss:.4f}")
        return network

    def _compare(
        self, member: Member, candidate: Member, frames: Sequence[UsableFrame], consensus: Sequence[Inference]
    ) -> tuple[bool, dict[str, Any]]:
        """Whether the fine-tuned weights are better, and the record of it."""
        scores = [score_member(self.ensemble, version, frames, consensus) for version in (member, candidate)]
        before, after = (score.total for score in scores)
        overlaps = [self._overlap(version) for version in (member, candidate)]
        better = after > before and overlaps[1] >= overlaps[0] - FORGOTTEN
        decision = "taken" if better else "not taken, no better" if after <= before else "not taken, forgets"
        numbers = f"score {before:.4f} to {after:.4f}, overlap {overlaps[0]:.3f} to {overlaps[1]:.3f}"
        return better, {
            "before": scores[0].summary(),
            "after": scores[1].summary(),
            "overlap": [round(value, 4) for value in overlaps],
            "decision": f"fine-tuned weights {decision}: {numbers}",
        }

    def _overlap(self, member: Member) -> float:
        """With the labels of held-out generated frames, the mean over the classes that occur there."""
        pixels, labels = held_out(self.recipe)
        shares = overlap(network_of(member.weights, self.ensemble.card), pixels, labels, len(self.recipe.classes))
        return float(np.mean([share for k, share in enumerate(shares) if (labels == k).any()]))


def _float32(file: Path) -> dict[str, NDArray[np.float32]]:
    return {name: np.asarray(value, dtype=np.float32) for name, value in load_file(file).items()}
