"""Which members of an ensemble are suited to frames without labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stem2sim.errors import BadInput
from stem2sim.progress import track
from stem2sim_unet.canonical_grid import CANONICAL_PIXEL_SIZE
from stem2sim_unet.evaluation import REACH
from stem2sim_unet.inference import Inference, infer
from stem2sim_unet.locate import match
from stem2sim_unet.out_of_distribution import NO_LATTICE, measure_frame
from stem2sim_unet.scale import infer_at_lattice_scale, regular_share

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from stem2sim.image import Image
    from stem2sim_unet.ensemble import Ensemble

LEAST_KEPT = 2


@dataclass(frozen=True)
class UsableFrame:
    """A frame, and the metric (2, 2) at which the ensemble segments it."""

    image: Image
    metric: NDArray[np.float64]


@dataclass(frozen=True)
class MemberScore:
    """How well a member is suited to frames whose atoms nobody has labelled."""

    regular: float
    """Share of a perfect sheet that it finds."""
    sure: float
    """How far its probabilities are from one half."""
    agreement: float
    """With the consensus of the members: F1 of atoms at the same place and of the same species."""

    @property
    def total(self) -> float:
        """Geometric mean: a member must do well in each."""
        return float((self.regular * self.sure * self.agreement) ** (1 / 3))

    def summary(self) -> dict[str, float]:
        """Return the numbers for the model card."""
        parts = {"score": self.total, "regular": self.regular, "sure": self.sure, "agreement": self.agreement}
        return {name: round(value, 4) for name, value in parts.items()}


@dataclass(frozen=True)
class Member:
    """One network of an ensemble."""

    name: str
    """Of its file in the ensemble that it comes from."""
    file: Path
    weights: Mapping[str, NDArray[np.float32]]


def consensus_of(ensemble: Ensemble, members: Sequence[Member], frames: Sequence[UsableFrame]) -> list[Inference]:
    """Return what these members find together in each frame."""
    chosen = ensemble.with_members([member.weights for member in members])
    return [infer(chosen, frame.image, frame.metric) for frame in frames]


def usable_frames(
    ensemble: Ensemble, members: Sequence[Member], images: Sequence[Image]
) -> tuple[list[UsableFrame], list[dict[str, Any]]]:
    """Return the frames that lie within the training data for enough members, and a record of each frame.

    Enough are as many as are always kept: the whole ensemble would refuse the very frames on which some members fail.

    Raises:
        BadInput: there are none.
    """
    card = ensemble.card
    assert card.usual is not None
    usable, records = [], []
    for image in images:
        scaled = infer_at_lattice_scale(ensemble, image, card.lattice_constant)
        metric = scaled.inference.grid.metric
        scores = []
        for member in members:
            inference = infer(ensemble.with_members([member.weights]), image, metric)
            bond = card.bond_length / CANONICAL_PIXEL_SIZE
            scores.append(card.usual.score(measure_frame(inference.frame, inference.clean, bond, len(card.hosts))))
        score, reason = sorted(scores)[LEAST_KEPT - 1]
        if scaled.lattice is None:
            score, reason = max(score, NO_LATTICE), f"it shows no lattice, and {reason}"
        if score <= 1:
            usable.append(UsableFrame(image, metric))
        name = Path(image.source).name or image.fingerprint()[:12]
        records.append({"frame": name, "out_of_distribution": round(score, 3), "used": score <= 1, "why": reason})
    if not usable:
        first = records[0]
        raise BadInput(
            f"all {len(images)} images are outside the training data of the networks for {card.material}; the first "
            f"has an out-of-distribution score of {first['out_of_distribution']:.1f}: {first['why']}; check scale and "
            "material"
        )
    return usable, records


def score_member(
    ensemble: Ensemble, member: Member, frames: Sequence[UsableFrame], consensus: Sequence[Inference]
) -> MemberScore:
    """Return how well one member is suited, alone and against the consensus of the members in each frame."""
    alone = ensemble.with_members([member.weights])
    parts = []
    for frame, common in zip(frames, consensus, strict=True):
        inference = infer(alone, frame.image, frame.metric)
        sure = float(np.abs(2 * inference.probability - 1).mean()) if len(inference.detections) else 0.0
        mine, theirs = inference.clean, common.clean
        pairs = match(mine.positions, theirs.positions, REACH / CANONICAL_PIXEL_SIZE)
        alike = mine.shares[pairs[:, 0]].argmax(axis=1) == theirs.shares[pairs[:, 1]].argmax(axis=1)
        agreement = 2 * float(alike.sum()) / max(len(mine) + len(theirs), 1)
        parts.append((min(regular_share(inference, ensemble.card.bond_length), 1.0), sure, agreement))
    return MemberScore(*(float(value) for value in np.mean(parts, axis=0)))


def select_members(
    ensemble: Ensemble, members: Sequence[Member], frames: Sequence[UsableFrame], keep: float
) -> tuple[list[Member], dict[str, dict[str, Any]]]:
    """Return the members that are suited, and for each one its score and the decision.

    Args:
        ensemble: that they belong to.
        members: to choose from.
        frames: without labels.
        keep: least share of the best member's score.
    """
    consensus = consensus_of(ensemble, members, frames)
    scores = []
    with track("adapting: members", len(members)) as advance:
        for member in members:
            scores.append(score_member(ensemble, member, frames, consensus))
            advance()
    ranked = sorted(range(len(members)), key=lambda k: -scores[k].total)
    best = scores[ranked[0]].total
    kept, decisions = [], {}
    for k, (member, score) in enumerate(zip(members, scores, strict=True)):
        fits, among_best = score.total >= keep * best, k in ranked[:LEAST_KEPT]
        if fits or among_best:
            kept.append(member)
        decision = "kept" if fits else f"kept as one of the best {LEAST_KEPT}" if among_best else "discarded"
        reason = f"score {score.total:.3f}; at least {keep:g} of the best score, {best:.3f}, is needed"
        decisions[member.name] = {**score.summary(), "decision": f"{decision}: {reason}"}
    return kept, decisions
