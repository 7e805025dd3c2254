"""Atoms by an ensemble of U-Nets."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import ndimage
from scipy.spatial import cKDTree

from stem2sim.errors import BadInput
from stem2sim.files import fingerprint
from stem2sim.segmentation import Ambiguity, AtomsTable, Segmentation
from stem2sim.stages import Check, Segmenter
from stem2sim_unet import SHIPPED
from stem2sim_unet.canonical import CANONICAL_PIXEL_SIZE, Grid
from stem2sim_unet.synthetic import LABEL_RADIUS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stem2sim.image import Image
    from stem2sim.lattice import Lattice
    from stem2sim_unet.card import Card
    from stem2sim_unet.locate import Detections
    from stem2sim_unet.seen import Seen

COARSEST = 0.6
"""[Å]; larger pixels cannot tell two bonded carbon atoms apart."""

SMALLEST_FIELD = 5.0
"""[Å]; a frame less wide than two rings of graphene holds no lattice."""

WORTH_FITTING = 0.8
"""Of the networks' own position error: a joint fit is made where counting noise alone would leave less than this. In
graphene that is from some 600 electrons per Å² at an atom; with fewer the networks' centres are the better ones."""

SHORT = 0.78
"""Of the material's bond length: a neighbour closer than this is suspect (1.1 Å in graphene)."""

SETTLED = 0.9
"""Probability of a reading (a species, or nothing) that leaves no second one worth telling."""

DOUBTS = 20
"""Most places listed as open to two readings."""

Floats = NDArray[np.float64]


class Unet(Segmenter):
    """Find atoms with an ensemble of U-Nets (AtomAI's architecture); the shipped one knows C, Si and Cr in graphene."""

    name: ClassVar[str] = "unet"

    weights: Path | None = Field(None, description="folder of another ensemble, as `stem2sim train` leaves it")
    compat: Literal["none", "atomai"] = Field(
        "none", description="atomai looks as AtomAI does, number for number; weights may then be its model file"
    )
    classes: tuple[str, ...] | None = Field(
        None, description="species of the classes in AtomAI's model file, background left out"
    )
    calibrate: bool = Field(
        True, description="look at the scale and stretch that the frame's own lattice calls for; false trusts the file"
    )
    lattice_constant: float | None = Field(
        None, gt=0, description="of the frame's hexagonal lattice; left out, that of the ensemble's material [Å]"
    )
    least_probability: float = Field(0.3, ge=0, le=1, description="detections less probable than this are left out")
    refine: Literal["auto", "always", "never"] = Field(
        "auto", description="fit all atoms jointly to the frame; auto does so where counting noise is low enough"
    )
    backend: Literal["auto", "openvino", "torch"] = Field("auto", description="what computes the networks")
    force: bool = Field(False, description="accept a frame that is foreign to the ensemble")

    def diagnose(self, elements: Sequence[str]) -> Iterator[Check]:
        """Yield whether PyTorch is there, and what would compute the networks."""
        del elements
        try:
            import torch
        except ImportError as problem:
            yield Check("unet", "missing", f"PyTorch cannot be imported ({problem})", "pip install stem2sim-unet")
            return
        gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no GPU"
        yield Check("unet", "ok", f"PyTorch {torch.__version__}, {gpu}")
        if find_spec("openvino") is None and not torch.cuda.is_available():
            yield Check("unet", "note", "without OpenVINO, slower on a CPU", 'pip install "stem2sim-unet[openvino]"')

    def methods(self) -> str:
        """Return it for a methods section."""
        own = self.weights.name if self.weights else "shipped"
        return (
            f"Atoms were found by an ensemble of U-Nets [ronneberger2015] with AtomAI's architecture [ziatdinov2022] "
            f"({self.distribution()}, the {own} ensemble), which gives each atom a species, a probability and a "
            f"position error; detections less probable than {self.least_probability:g} were left out."
        )

    def cited(self) -> tuple[str, ...]:
        """Return the network, and AtomAI, whose it is."""
        return ("ziatdinov2022", "ronneberger2015")

    def segment(self, image: Image) -> Segmentation:
        """Return atoms with calibrated probabilities, and the ensemble's mean and spread for every pixel.

        Raises:
            BadInput: no atoms found, a frame that is foreign to the ensemble, or an ensemble that does not read.
        """
        if self.compat == "atomai":
            from stem2sim_unet.atomai_look import segment_as_atomai

            return segment_as_atomai(image, self.weights or SHIPPED, self.classes)
        from stem2sim_unet.ensemble import ensemble_of
        from stem2sim_unet.foreign import NO_LATTICE, look_at
        from stem2sim_unet.scale import Scaled, scaled
        from stem2sim_unet.seen import see

        ensemble = ensemble_of(self.weights or SHIPPED, self.backend)
        card = ensemble.card
        if card.confidence is None or card.usual is None:
            raise BadInput(f"the ensemble in {ensemble.folder} was not calibrated; `stem2sim train` does so at its end")
        _check_scale(image, card)
        if self.calibrate:
            looked = scaled(ensemble, image, self.lattice_constant or card.lattice_constant)
        else:
            looked = Scaled(see(ensemble, image, image.pixel_size * np.eye(2)), None, ())
        seen, lattice, warnings = looked.seen, looked.lattice, [*looked.warnings]
        bond = card.bond_length / CANONICAL_PIXEL_SIZE
        foreign, reason = card.usual.score(look_at(seen.frame, seen.clean, bond, len(card.hosts)))
        if self.calibrate and lattice is None:
            foreign, reason = max(foreign, NO_LATTICE), f"no lattice stands out in it, and {reason}"
        if foreign > 1:
            what = f"the frame is foreign to the networks for {card.material} (score {foreign:.1f}): {reason}"
            if not self.force:
                nothing = "" if (seen.probability >= 0.5).any() else "no atoms found; "
                raise BadInput(f"{nothing}{what}; --force segments it all the same")
            warnings.append(f"{what}; do not trust what they found")
        if not (seen.probability >= 0.5).any():
            raise BadInput(
                f"no atoms found at {np.sqrt(np.linalg.det(seen.grid.metric)):.4f} Å/pixel; check image.pixel_size, "
                "and that the frame shows a lattice"
            )
        return self._segmentation(image, card, seen, lattice, foreign, warnings)

    def _fits(self, image: Image, seen: Seen, std: Floats) -> bool:
        from stem2sim_unet.refine import expected_std

        if self.refine != "auto":
            return self.refine == "always"
        clean = seen.clean.positions
        return len(clean) > 0 and expected_std(image.pixels, seen.grid, clean) < WORTH_FITTING * float(np.median(std))

    def input_fingerprint(self) -> str:
        """Return a hash of the weights: another ensemble is another segmenter."""
        folder = self.weights or SHIPPED
        if self.compat == "atomai" and folder.is_file():
            return sha256(folder.read_bytes()).hexdigest()
        if not folder.is_dir():
            raise BadInput(f"no folder with an ensemble at {folder}")
        files = sorted((*folder.glob("*.safetensors"), *folder.glob("*.json")))
        return fingerprint(*(sha256(file.read_bytes()).hexdigest() for file in files))

    def _segmentation(
        self, image: Image, card: Card, seen: Seen, lattice: Lattice | None, foreign: float, warnings: list[str]
    ) -> Segmentation:
        assert card.confidence is not None
        kept = seen.probability >= self.least_probability
        found, probability = seen.found.chosen(kept), seen.probability[kept]
        std = card.confidence.position_std(found, seen.noise)
        fitted = np.zeros(len(found), dtype=bool)
        if self._fits(image, seen, std):
            positions, std, fitted = _fitted(seen, found, probability >= 0.5, std)
            found = replace(found, positions=positions)
        # the frame's border cuts the disc of an atom: its centre is off by what may lie outside
        pixels = seen.grid.to_image(found.positions)
        last = np.array(image.shape[::-1]) - 1
        scale = float(np.sqrt(np.linalg.det(seen.grid.metric)))
        margin = np.minimum(pixels, last - pixels).min(axis=1) * scale
        std = np.hypot(std, np.clip(LABEL_RADIUS - margin, 0, None))
        shares = card.confidence.shares(found)
        return Segmentation(
            atoms=AtomsTable(
                x=pixels[:, 0] * image.pixel_size,
                y=pixels[:, 1] * image.pixel_size,
                species=np.array(card.species)[shares.argmax(axis=1)],
                probability=probability,
                position_std=std * (image.pixel_size / scale),
                entropy=-(shares * np.log(np.maximum(shares, 1e-12))).sum(axis=1),
                flags=_flags(found, seen.covered[kept], margin, fitted, card.bond_length),
                shares={species: shares[:, k] for k, species in enumerate(card.species)},
            ),
            class_names=card.classes,
            mean=_on_image(seen.prediction.mean, image, seen.grid),
            spread=_on_image(seen.prediction.spread, image, seen.grid),
            information=_on_image(seen.prediction.information[None], image, seen.grid)[0],
            doubts=_doubts(seen, image, card),
            pixel_size=image.pixel_size,
            lattice=lattice,
            out_of_distribution=foreign,
            warnings=tuple(warnings),
        )


def _check_scale(image: Image, card: Card) -> None:
    width, height = image.field_of_view
    if image.pixel_size > COARSEST:
        raise BadInput(
            f"pixels of {image.pixel_size:g} Å cannot tell atoms {card.bond_length:.2f} Å apart; at most {COARSEST} Å "
            "would do (image.pixel_size is in Å, not in pm or nm)"
        )
    if min(width, height) < SMALLEST_FIELD:
        raise BadInput(
            f"the frame is only {width:.2g} x {height:.2g} Å wide at {image.pixel_size:g} Å/pixel, under "
            f"{SMALLEST_FIELD} Å (image.pixel_size is in Å, not in nm)"
        )


def _fitted(
    seen: Seen, found: Detections, sure: NDArray[np.bool_], std: Floats
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Positions weighted between the networks' and those of a joint fit, by their variances; what was fitted.

    The two share the frame's noise, so the better of the two standard deviations is kept, not a smaller one.
    """
    from stem2sim_unet.refine import fit

    positions, std = found.positions.copy(), std.copy()
    fitted = fit(seen.frame, positions[sure])
    good = np.isfinite(fitted.std)
    at = np.flatnonzero(sure)[good]
    ours, theirs = 1 / std[at] ** 2, 1 / fitted.std[good] ** 2
    positions[at] = (positions[at] * ours[:, None] + fitted.positions[good] * theirs[:, None]) / (ours + theirs)[
        :, None
    ]
    std[at] = np.minimum(std[at], fitted.std[good])
    done = np.zeros(len(found), dtype=bool)
    done[at] = True
    return positions, std, done


def _flags(
    found: Detections, covered: NDArray[np.bool_], margin: Floats, fitted: NDArray[np.bool_], bond_length: float
) -> NDArray[np.str_]:
    """What to mind about each atom: edge, contamination, short-bond; and whether its position was fitted."""
    close = np.zeros(len(found), dtype=bool)
    if len(found) > 1:
        nearest = cKDTree(found.positions).query(found.positions, k=2)[0][:, 1] * CANONICAL_PIXEL_SIZE
        close = nearest < SHORT * bond_length
    named = (("edge", margin < LABEL_RADIUS), ("contamination", covered), ("short-bond", close), ("fitted", fitted))
    return np.array([";".join(n for n, is_so in named if is_so[k]) for k in range(len(found))], dtype=np.str_)


def _doubts(seen: Seen, image: Image, card: Card) -> tuple[Ambiguity, ...]:
    """Places off the border where the likeliest reading is not likely enough, with the two likeliest."""
    assert card.confidence is not None
    readings = np.column_stack([card.confidence.shares(seen.found) * seen.probability[:, None], 1 - seen.probability])
    pixels = seen.grid.to_image(seen.found.positions)
    margin = np.minimum(pixels, np.array(image.shape[::-1]) - 1 - pixels).min(axis=1) * image.pixel_size
    best = readings.max(axis=1)
    doubtful = np.flatnonzero((best < SETTLED) & (margin > LABEL_RADIUS))
    names = [*card.species, "nothing"]
    doubts = []
    for k in doubtful[np.argsort(best[doubtful])][:DOUBTS]:
        first, second = np.argsort(-readings[k])[:2]
        x, y = pixels[k] * image.pixel_size
        likeliest = ((names[first], float(readings[k, first])), (names[second], float(readings[k, second])))
        doubts.append(Ambiguity(x=x, y=y, information=float(seen.found.information[k]), readings=likeliest))
    return tuple(doubts)


def _on_image(maps: NDArray[np.float32], image: Image, grid: Grid) -> NDArray[np.float32]:
    """Resample (maps, rows, columns) from the canonical grid to the image's own pixels."""
    # image (row, column) -> canonical (row, column)
    matrix = (grid.metric / CANONICAL_PIXEL_SIZE)[::-1, ::-1]
    offset = (-grid.origin / CANONICAL_PIXEL_SIZE)[::-1]
    if max(abs(matrix[0, 1]), abs(matrix[1, 0])) < 1e-9:  # rows and columns apart: several times faster
        for axis in (0, 1):
            maps = _stretched(maps, axis + 1, offset[axis] + matrix[axis, axis] * np.arange(image.shape[axis]))
        return maps

    def warped(one: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(ndimage.affine_transform(one, matrix, offset, image.shape, order=1, mode="nearest"))

    with ThreadPoolExecutor() as threads:
        return np.stack([*threads.map(warped, maps)])


def _stretched(maps: NDArray[np.float32], axis: int, at: Floats) -> NDArray[np.float32]:
    """Interpolate linearly along an axis; beyond its ends, the last value goes on."""
    last = maps.shape[axis] - 1
    at = np.clip(at, 0, last)
    low = np.minimum(at.astype(int), max(last - 1, 0))
    shape = [-1 if k == axis else 1 for k in range(maps.ndim)]
    share = (at - low).astype(np.float32).reshape(shape)
    below, above = np.take(maps, low, axis), np.take(maps, np.minimum(low + 1, last), axis)
    return np.asarray(below + share * (above - below))
