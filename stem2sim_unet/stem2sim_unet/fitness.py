"""Which members of an ensemble fit frames that nobody has labelled."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stem2sim.errors import BadInput
from stem2sim.progress import track
from stem2sim_unet.canonical import CANONICAL_PIXEL_SIZE
from stem2sim_unet.examine import REACH
from stem2sim_unet.foreign import NO_LATTICE, look_at
from stem2sim_unet.locate import match
from stem2sim_unet.scale import regular_share, scaled
from stem2sim_unet.seen import Seen, see

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from stem2sim.image import Image
    from stem2sim_unet.ensemble import Ensemble

LEAST_KEPT = 2


@dataclass(frozen=True)
class Frame:
    """A frame, and the metric (2, 2) at which the ensemble looks at it."""

    image: Image
    metric: NDArray[np.float64]


@dataclass(frozen=True)
class Score:
    """How well a member fits frames whose atoms nobody has labelled."""

    regular: float
    """Share of a perfect sheet that it finds."""
    sure: float
    """How far its probabilities are from one half."""
    agreement: float
    """With what the members find together: F1 of atoms at the same place and of the same species."""

    @property
    def total(self) -> float:
        """Geometric mean: a member must do well in each."""
        return float((self.regular * self.sure * self.agreement) ** (1 / 3))

    def noted(self) -> dict[str, float]:
        """Return the numbers for the card."""
        parts = {"score": self.total, "regular": self.regular, "sure": self.sure, "agreement": self.agreement}
        return {name: round(value, 4) for name, value in parts.items()}


@dataclass(frozen=True)
class Member:
    """One network of an ensemble."""

    name: str
    """Of its file in the ensemble that it comes from."""
    file: Path
    weights: dict[str, NDArray[np.float32]]


def asking(ensemble: Ensemble, members: Sequence[Member]) -> Ensemble:
    """The ensemble with these members instead of its own."""
    asked = copy.copy(ensemble)
    asked.members = [member.weights for member in members]
    asked._look = None
    return asked


def usable_frames(
    ensemble: Ensemble, members: Sequence[Member], images: Sequence[Image]
) -> tuple[list[Frame], list[dict[str, Any]]]:
    """The frames that at least as many members can read as are always kept, and a note on each frame.

    Asking the ensemble as a whole would turn away the very frames on which some members fail.
    """
    card = ensemble.card
    assert card.usual is not None
    usable, noted = [], []
    for image in images:
        looked = scaled(ensemble, image, card.lattice_constant)
        metric = looked.seen.grid.metric
        scores = []
        for member in members:
            seen = see(asking(ensemble, [member]), image, metric)
            bond = card.bond_length / CANONICAL_PIXEL_SIZE
            scores.append(card.usual.score(look_at(seen.frame, seen.clean, bond, len(card.hosts))))
        foreign, reason = sorted(scores)[LEAST_KEPT - 1]
        if looked.lattice is None:
            foreign, reason = max(foreign, NO_LATTICE), f"no lattice stands out in it, and {reason}"
        if foreign <= 1:
            usable.append(Frame(image, metric))
        name = Path(image.source).name or image.fingerprint()[:12]
        noted.append({"frame": name, "foreign": round(foreign, 3), "used": foreign <= 1, "why": reason})
    if not usable:
        worst = noted[0]
        raise BadInput(
            f"all {len(images)} frames are foreign to the networks for {card.material}, the first with score "
            f"{worst['foreign']:.1f}: {worst['why']}; their scale or material may be another"
        )
    return usable, noted


def scored(ensemble: Ensemble, member: Member, usable: Sequence[Frame], together: Sequence[Seen]) -> Score:
    """How well one member fits, alone and against what all of them find together in each frame."""
    alone = asking(ensemble, [member])
    parts = []
    for frame, consensus in zip(usable, together, strict=True):
        seen = see(alone, frame.image, frame.metric)
        sure = float(np.abs(2 * seen.probability - 1).mean()) if len(seen.found) else 0.0
        mine, theirs = seen.clean, consensus.clean
        pairs = match(mine.positions, theirs.positions, REACH / CANONICAL_PIXEL_SIZE)
        alike = mine.shares[pairs[:, 0]].argmax(axis=1) == theirs.shares[pairs[:, 1]].argmax(axis=1)
        agreement = 2 * float(alike.sum()) / max(len(mine) + len(theirs), 1)
        parts.append((min(regular_share(seen, ensemble.card.bond_length), 1.0), sure, agreement))
    return Score(*(float(value) for value in np.mean(parts, axis=0)))


def selected(
    ensemble: Ensemble, members: Sequence[Member], usable: Sequence[Frame], keep: float
) -> tuple[list[Member], dict[str, dict[str, Any]]]:
    """The members that fit, and for each one its score and what was decided."""
    asked = asking(ensemble, members)
    together = [see(asked, frame.image, frame.metric) for frame in usable]
    scores = []
    with track("adapting: members", len(members)) as advance:
        for member in members:
            scores.append(scored(ensemble, member, usable, together))
            advance()
    ranked = sorted(range(len(members)), key=lambda k: -scores[k].total)
    best = scores[ranked[0]].total
    kept, choices = [], {}
    for k, (member, score) in enumerate(zip(members, scores, strict=True)):
        fits, among = score.total >= keep * best, k in ranked[:LEAST_KEPT]
        said = f"score {score.total:.3f}, best {best:.3f}, {keep:g} of it needed"
        if fits or among:
            kept.append(member)
        verdict = "kept" if fits else f"kept as one of the best {LEAST_KEPT}" if among else "dropped"
        choices[member.name] = {**score.noted(), "decision": f"{verdict}: {said}"}
    return kept, choices
