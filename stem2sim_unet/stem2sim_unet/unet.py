"""Atoms by an ensemble of U-Nets."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from stem2sim.errors import BadInput
from stem2sim.files import fingerprint
from stem2sim.stages import Segmenter
from stem2sim_unet import SHIPPED
from stem2sim_unet.canonical_grid import CANONICAL_PIXEL_SIZE
from stem2sim_unet.runtimes import checks, require

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stem2sim.image import Image
    from stem2sim.lattice import Lattice
    from stem2sim.segmentation import Segmentation
    from stem2sim.stages import Check
    from stem2sim_unet.inference import Inference
    from stem2sim_unet.model_card import ModelCard

COARSEST = 0.6
"""[Å]; larger pixels cannot tell two bonded carbon atoms apart."""

SMALLEST_FIELD = 5.0
"""[Å]; a frame less wide than two rings of graphene holds no lattice."""

WORTH_FITTING = 0.8
"""Of the networks' own position error: a joint fit is made where counting noise alone would leave less than this. In
graphene that is from some 600 electrons per Å² at an atom; with fewer the networks' centres are the better ones."""


class Unet(Segmenter):
    """Locate atoms with an ensemble of U-Nets; the bundled ensemble recognises C, Si and Cr in graphene."""

    name: ClassVar[str] = "unet"

    weights: Path | None = Field(
        None, description="folder of an ensemble from `stem2sim train`; default: the bundled ensemble"
    )
    compat: Literal["none", "atomai"] = Field(
        "none", description="atomai: reproduce AtomAI results exactly; weights may then be an AtomAI model file"
    )
    classes: tuple[str, ...] | None = Field(
        None, description="species of the classes in an AtomAI model file, excluding the background"
    )
    calibrate: bool = Field(
        True, description="rescale to the lattice in the image before segmentation; false: use the given pixel size"
    )
    lattice_constant: float | None = Field(
        None,
        gt=0,
        description="lattice constant of the hexagonal lattice in the image; default: that of the trained material [Å]",
    )
    least_probability: float = Field(
        0.3, ge=0, le=1, description="discard detections with a probability below this value"
    )
    refine: Literal["auto", "always", "never"] = Field(
        "auto", description="fit all atom positions jointly to the image; auto: if shot noise is low enough"
    )
    backend: Literal["auto", "openvino", "torch"] = Field(
        "auto", description="what runs the networks; auto: torch on a GPU, else openvino, else torch"
    )
    precision: Literal["auto", "single"] = Field(
        "auto",
        description="arithmetic of the networks; auto: 8 bits or bfloat16 where the processor supports it; "
        "single: 32 bits, the same result on every processor and backend",
    )
    force: bool = Field(False, description="segment an image even if it is out of distribution")

    def diagnose(self, elements: Sequence[str]) -> Iterator[Check]:
        """Yield what runs the networks, and what is not installed."""
        del elements
        yield from checks(self.backend, self.compat)

    def methods(self) -> str:
        """Return it for a methods section."""
        ensemble = f"ensemble {self.weights.name}" if self.weights else "bundled ensemble"
        return (
            f"Atoms were located with an ensemble of U-Nets [ronneberger2015] with the AtomAI architecture "
            f"[ziatdinov2022] ({self.distribution()}, {ensemble}). The ensemble assigned each atom a species, a "
            f"probability and a position uncertainty; detections with a probability below {self.least_probability:g} "
            "were discarded."
        )

    def cited(self) -> tuple[str, ...]:
        """Return the network, and AtomAI, whose architecture it is."""
        return ("ziatdinov2022", "ronneberger2015")

    def segment(self, image: Image) -> Segmentation:
        """Return atoms with calibrated probabilities, and the ensemble's mean and spread for every pixel.

        Raises:
            BadInput: no atoms found, a frame outside the training data, or an ensemble that cannot be read.
        """
        if self.compat == "atomai":
            require('compat = "atomai"', "torch")
            from stem2sim_unet.atomai_inference import segment_as_atomai

            return segment_as_atomai(image, self.weights or SHIPPED, self.classes)
        from stem2sim_unet.ensemble import ensemble_of
        from stem2sim_unet.inference import infer
        from stem2sim_unet.scale import ScaledInference, infer_at_lattice_scale
        from stem2sim_unet.segmentation_result import segmentation

        ensemble = ensemble_of(self.weights or SHIPPED, self.backend, self.precision)
        card = ensemble.card
        if card.confidence is None or card.usual is None:
            raise BadInput(f"the ensemble in {ensemble.folder} is not calibrated; `stem2sim train` does so at its end")
        _check_scale(image, card)
        if self.calibrate:
            scaled = infer_at_lattice_scale(ensemble, image, self.lattice_constant or card.lattice_constant)
        else:
            scaled = ScaledInference(infer(ensemble, image, image.pixel_size * np.eye(2)), None, ())
        inference, lattice = scaled.inference, scaled.lattice
        score, outside = self._check_distribution(inference, lattice, card)
        if not (inference.probability >= 0.5).any():
            raise BadInput(
                f"no atoms found at {np.sqrt(np.linalg.det(inference.grid.metric)):.4f} Å/pixel; check "
                "image.pixel_size, and that the image shows a lattice"
            )
        refine = self._should_refine(image, inference, card)
        result = segmentation(inference, image, card, self.least_probability, refine)
        warnings = (*scaled.warnings, *outside)
        return result.model_copy(update={"lattice": lattice, "out_of_distribution": score, "warnings": warnings})

    def input_fingerprint(self) -> str:
        """Return a hash of the weights: another ensemble is another segmenter."""
        folder = self.weights or SHIPPED
        if self.compat == "atomai" and folder.is_file():
            return sha256(folder.read_bytes()).hexdigest()
        if not folder.is_dir():
            raise BadInput(f"no folder with an ensemble at {folder}")
        files = sorted((*folder.glob("*.safetensors"), *folder.glob("*.json")))
        return fingerprint(*(sha256(file.read_bytes()).hexdigest() for file in files))

    def _check_distribution(
        self, inference: Inference, lattice: Lattice | None, card: ModelCard
    ) -> tuple[float, tuple[str, ...]]:
        """Return the out-of-distribution score of a frame, and a warning where the frame is accepted by force."""
        from stem2sim_unet.out_of_distribution import NO_LATTICE, measure_frame

        assert card.usual is not None
        bond = card.bond_length / CANONICAL_PIXEL_SIZE
        score, reason = card.usual.score(measure_frame(inference.frame, inference.clean, bond, len(card.hosts)))
        if self.calibrate and lattice is None:
            score, reason = max(score, NO_LATTICE), f"it shows no lattice, and {reason}"
        if score <= 1:
            return score, ()
        problem = (
            f"the image is outside the training data of the networks for {card.material} "
            f"(out-of-distribution score {score:.1f}): {reason}"
        )
        if not self.force:
            nothing = "" if (inference.probability >= 0.5).any() else "no atoms found; "
            raise BadInput(f"{nothing}{problem}; --force segments it anyway")
        return score, (f"{problem}; the atoms found are not reliable",)

    def _should_refine(self, image: Image, inference: Inference, card: ModelCard) -> bool:
        from stem2sim_unet.refine import expected_std

        if self.refine != "auto":
            return self.refine == "always"
        assert card.confidence is not None
        clean = inference.clean.positions
        if len(clean) == 0:
            return False
        kept = inference.detections.chosen(inference.probability >= self.least_probability)
        usual = float(np.median(card.confidence.position_std(kept, inference.noise)))
        return expected_std(image.pixels, inference.grid, clean) < WORTH_FITTING * usual


def _check_scale(image: Image, card: ModelCard) -> None:
    width, height = image.field_of_view
    if image.pixel_size > COARSEST:
        raise BadInput(
            f"pixels of {image.pixel_size:g} Å do not resolve atoms {card.bond_length:.2f} Å apart; at most {COARSEST} "
            "Å is accepted (image.pixel_size is in Å, not in pm or nm)"
        )
    if min(width, height) < SMALLEST_FIELD:
        raise BadInput(
            f"the image is only {width:.2g} × {height:.2g} Å wide at {image.pixel_size:g} Å/pixel, under "
            f"{SMALLEST_FIELD} Å (image.pixel_size is in Å, not in nm)"
        )
