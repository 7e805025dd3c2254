"""Adapting an ensemble to frames of a new kind, without labels: select the members that suit them, and fine-tune those.

In the manner of ELIT (Ghosh et al. 2021, npj Comput. Mater. 7, 100). What no member finds, no round can teach: labels
are what the selected members agree about, so some of them must find most of the atoms from the start.
"""

from __future__ import annotations

import json
import logging
import shutil
from hashlib import sha256
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from stem2sim import __version__
from stem2sim.errors import BadInput
from stem2sim.files import fingerprint, write_atomically, write_text
from stem2sim_unet.calibration import calibrate_folder
from stem2sim_unet.ensemble import Ensemble
from stem2sim_unet.fine_tuning import FineTuning
from stem2sim_unet.member_selection import LEAST_KEPT, Member, select_members, usable_frames
from stem2sim_unet.model_card import CARD, ModelCard
from stem2sim_unet.training import OF_A_CYCLE
from stem2sim_unet.training_files import claim_folder, finished_card, member_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from stem2sim.image import Image
    from stem2sim_unet.recipe import Recipe

ADAPTATION = "adaptation.json"

log = logging.getLogger("stem2sim")


class Adaptation(BaseModel):
    """How an ensemble is adapted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str] = "adaptation"

    rounds: int = Field(1, ge=1, le=99, description="number of rounds of selection and fine-tuning")
    keep: float = Field(
        0.8, ge=0, le=1, description="minimum fraction of the best member's score; two members are always kept"
    )
    steps: int = Field(150, ge=0, description="fine-tuning steps per member; 0: selection only")
    frames: int = Field(400, ge=1, le=OF_A_CYCLE, description="number of synthetic images to mix in")
    seed: int = Field(1, ge=0, description="random seed")
    calibration_frames: int = Field(160, description="held-out images for the calibration, and as many for its scores")

    def adapt(self, folder: Path, images: Sequence[Image], recipe: Recipe, out: Path) -> ModelCard:
        """Select the members that suit new frames, fine-tune and calibrate them, and record why in the model card.

        Args:
            folder: of the ensemble.
            images: frames of the new kind.
            recipe: that the ensemble was trained on; its frames are mixed in so that nothing is forgotten.
            out: folder for the new ensemble; an interrupted run resumes there.

        Raises:
            BadInput: fewer than two members, an ensemble without calibration or for another recipe, no frame, frames
                that are all outside the training data, a folder that holds something else.
        """
        ensemble = Ensemble(folder, "torch")
        _check(ensemble, images, recipe)
        files = sorted(folder.glob("member-*.safetensors"))
        hashes = (sha256(file.read_bytes()).hexdigest() for file in (*files, folder / CARD))
        given = fingerprint(*hashes, *(image.fingerprint() for image in images), recipe.model_dump_json())
        if (finished := self._claim(out, folder, given)) is not None:
            return finished
        members = [Member(*parts) for parts in zip((file.stem for file in files), files, ensemble.members, strict=True)]
        usable, records = usable_frames(ensemble, members, images)
        rounds: list[dict[str, Any]] = []
        for number in range(1, self.rounds + 1):
            members, decisions = select_members(ensemble, members, usable, self.keep)
            if self.steps:
                tuning = FineTuning(ensemble, recipe, self.steps, self.frames, self.seed * 100 + number, out)
                members = tuning.tuned(members, decisions, usable)
            rounds.append(decisions)
            summary = "; ".join(f"{name} {entry['decision']}" for name, entry in decisions.items())
            log.info("round %d: %s", number, summary)
        _write_members(members, out)
        options = self.model_dump(exclude={"calibration_frames"})
        adapted = {"by": f"stem2sim-unet {__version__}", "options": options, "frames": records, "rounds": rounds}
        earlier = {"before": ensemble.card.trained["adapted"]} if "adapted" in ensemble.card.trained else {}
        trained = {**ensemble.card.trained, "members": len(members), "adapted": adapted | earlier}
        card = ensemble.card.model_copy(update={"trained": trained, "confidence": None, "usual": None, "scores": {}})
        card.write(out)
        card = calibrate_folder(out, recipe, self.calibration_frames)
        for file in out.glob("taught-*.safetensors"):
            file.unlink()
        return card

    def _claim(self, out: Path, folder: Path, given: str) -> ModelCard | None:
        """Make the folder this adaptation's own; return its model card where all is done."""
        if out.resolve() == folder.resolve():
            raise BadInput(f"--out {out} is the ensemble to adapt; choose another folder")
        options = json.dumps({**self.model_dump(), "given": given}, indent=1) + "\n"
        claim_folder(out, ADAPTATION, options, "adaptation")
        if (out / ADAPTATION).exists():
            return finished_card(out)
        write_text(out / ADAPTATION, options)
        return None


def _check(ensemble: Ensemble, images: Sequence[Image], recipe: Recipe) -> None:
    card = ensemble.card
    if len(ensemble) < LEAST_KEPT:
        raise BadInput(f"adapting needs at least {LEAST_KEPT} members to choose from, {ensemble.folder} has one")
    if card.confidence is None or card.usual is None:
        raise BadInput(f"the ensemble in {ensemble.folder} is not calibrated; `stem2sim train` does so at its end")
    if card.classes != recipe.classes:
        raise BadInput(f"the recipe has classes {', '.join(recipe.classes)}, the ensemble {', '.join(card.classes)}")
    if not images:
        raise BadInput("adapting requires at least one image")


def _write_members(members: Sequence[Member], out: Path) -> None:
    for stale in out.glob("member-*.safetensors"):  # of a run that was interrupted here
        stale.unlink()
    for k, member in enumerate(members):
        with write_atomically(member_file(out, k)) as part:
            shutil.copyfile(member.file, part)
