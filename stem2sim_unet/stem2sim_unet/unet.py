"""Atoms by an ensemble of U-Nets."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field
from scipy import ndimage

from stem2sim.errors import BadInput
from stem2sim.files import fingerprint
from stem2sim.lattice import GRAPHENE, Lattice, find_lattice
from stem2sim.segmentation import AtomsTable, Segmentation
from stem2sim.stages import Segmenter
from stem2sim.structure import CLOSEST
from stem2sim_unet import SHIPPED
from stem2sim_unet.canonical import CANONICAL_PIXEL_SIZE, normalise, resample, to_frame
from stem2sim_unet.synthetic import CLASSES, LABEL_RADIUS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stem2sim.image import Image

COARSEST = 0.6
"""[Å]; larger pixels cannot tell two bonded carbon atoms apart."""

SMALLEST_FIELD = 5.0
"""[Å]; a frame less wide than two rings of graphene holds no lattice."""


class Unet(Segmenter):
    """Find C and Si in graphene-like frames with an ensemble of U-Nets (AtomAI's architecture, shipped weights)."""

    name: ClassVar[str] = "unet"

    calibrate: bool = Field(
        True, description="look at the scale that the frame's own lattice calls for; false trusts the stated pixel size"
    )
    lattice_constant: float = Field(GRAPHENE, gt=0, description="of the material's hexagonal lattice [Å]")
    least_probability: float = Field(0.3, ge=0, le=1, description="detections less probable than this are left out")

    def segment(self, image: Image) -> Segmentation:
        """Return atoms with calibrated probabilities, and the ensemble's mean and spread for every pixel.

        Raises:
            BadInput: no atoms found.
        """
        from stem2sim_unet.ensemble import disagreement, shipped
        from stem2sim_unet.locate import locate

        ensemble = shipped()
        assert ensemble.confidence is not None  # ships with the weights
        width, height = image.field_of_view
        if image.pixel_size > COARSEST:
            raise BadInput(
                f"pixels of {image.pixel_size:g} Å cannot tell atoms 1.42 Å apart; at most {COARSEST} Å would do "
                "(image.pixel_size is in Å, not in pm or nm)"
            )
        if min(width, height) < SMALLEST_FIELD:
            raise BadInput(
                f"the frame is only {width:.2g} x {height:.2g} Å wide at {image.pixel_size:g} Å/pixel, under "
                f"{SMALLEST_FIELD} Å (image.pixel_size is in Å, not in nm)"
            )
        lattice, warnings = self._lattice(image)
        scale = lattice.pixel_size if lattice else image.pixel_size
        canonical = resample(image.pixels, scale)
        frame, noise = normalise(canonical)
        members = ensemble.predict(frame)
        separation = CLOSEST * max(1.0, scale / image.pixel_size)
        found = locate(members, separation * 1.001)
        probability = ensemble.confidence.probability(found.foreground)
        kept = probability >= self.least_probability
        if not kept.any():
            raise BadInput(
                f"no atoms found at {scale:.4f} Å/pixel; check image.pixel_size, and that the frame shows a lattice"
            )
        share = found.species[kept]
        pixels = to_frame(found.positions[kept], scale)
        with np.errstate(divide="ignore", invalid="ignore"):
            entropy = -np.nansum(np.where(share > 0, share * np.log(share), 0.0), axis=1)
        spread = ensemble.confidence.position_std(found.spread[kept], noise)
        # the frame's border cuts the disc of an atom: its centre is off by what may lie outside
        last = np.array(frame.shape[::-1]) - 1
        inside = np.minimum(found.positions[kept], last - found.positions[kept]).min(axis=1) * CANONICAL_PIXEL_SIZE
        spread = np.hypot(spread, np.clip(LABEL_RADIUS - inside, 0, None)) * (image.pixel_size / scale)
        foreign = disagreement(members) / ensemble.confidence.usual_spread
        if foreign > 1:
            warnings.append(
                f"the networks disagree {foreign:.1f} times as much as on any usual frame: do not trust what they found"
            )
        return Segmentation(
            atoms=AtomsTable(
                x=pixels[:, 0] * image.pixel_size,
                y=pixels[:, 1] * image.pixel_size,
                species=np.array(CLASSES)[share.argmax(axis=1)],
                probability=probability[kept],
                position_std=spread,
                entropy=entropy,
            ),
            class_names=CLASSES,
            mean=_on_image(members.mean(axis=0), image, scale),
            spread=_on_image(members.std(axis=0), image, scale),
            pixel_size=image.pixel_size,
            lattice=lattice,
            out_of_distribution=foreign,
            warnings=tuple(warnings),
        )

    def input_fingerprint(self) -> str:
        """Return a hash of the weights: another ensemble is another segmenter."""
        return fingerprint(*(sha256(file.read_bytes()).hexdigest() for file in sorted(SHIPPED.iterdir())))

    def _lattice(self, image: Image) -> tuple[Lattice | None, list[str]]:
        if not self.calibrate:
            return None, []
        lattice = find_lattice(image.pixels, image.pixel_size, self.lattice_constant)
        if lattice is None:
            return None, [
                f"no lattice of {self.lattice_constant} Å stands out in the frame; "
                f"the pixel size of {image.pixel_size:.4f} Å is taken on trust"
            ]
        complaint = lattice.complaint(image.pixel_size)
        if not complaint:
            return lattice, []
        return lattice, [f"{complaint}; the networks look at the lattice's scale, positions keep the given one"]


def _on_image(maps: NDArray[np.float32], image: Image, scale: float) -> NDArray[np.float32]:
    """Resample (classes, rows, columns) maps from the canonical grid to the image's own pixels."""
    grid = [(np.arange(n) + 0.5) * (scale / CANONICAL_PIXEL_SIZE) - 0.5 for n in image.shape]
    rows, columns = np.meshgrid(*grid, indexing="ij")
    return np.stack([ndimage.map_coordinates(m, (rows, columns), order=1, mode="nearest") for m in maps])
