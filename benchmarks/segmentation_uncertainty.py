"""What the shipped ensemble's probabilities and error bars are worth, and which frames it refuses.

    python benchmarks/segmentation_uncertainty.py [DATA] [--frames 80] [--weights FOLDER]

Frames are generated, with seeds that neither training nor calibration used; with DATA (a folder with stem/), real ones
are tried too. Prints one line per law; exits 1 if one is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from segmentation_accuracy import rendered

from stem2sim.errors import BadInput
from stem2sim.image import Image
from stem2sim.imaging.forward import Scan
from stem2sim.testing import graphene_image
from stem2sim_unet import SHIPPED
from stem2sim_unet.ensemble import ensemble_of
from stem2sim_unet.evaluation import Evaluation, auroc, calibration_error
from stem2sim_unet.locate import match
from stem2sim_unet.recipe import Recipe
from stem2sim_unet.synthetic import contamination, smooth_field, training_frame
from stem2sim_unet.unet import Unet

FIRST_SEED = 900_000_000
missed = 0


def law(name: str, good: bool) -> None:
    """Print one result."""
    global missed
    missed += not good
    print(f"{'ok  ' if good else 'MISS'} {name}", flush=True)


KINDS: dict[str, dict[str, Any]] = {
    "probe to 1.3 Å, no contamination": {"fwhm": (0.85, 1.3), "contamination": 0.0},
    "probe to 1.6 Å, no contamination": {"contamination": 0.0},
    "probe to 1.6 Å, a third of frames contaminated": {},
}


def detections(folder: Path, frames: int, kind: str) -> None:
    """AUROC at each dose; calibration error and coverage over all of them."""
    ensemble = ensemble_of(folder)
    confidence = ensemble.card.confidence
    assert confidence is not None
    parts = []
    for k, dose in enumerate((60.0, 100.0, 300.0, 1000.0, 3000.0)):
        recipe = Recipe(dose=(dose, dose), empty=0.0, **KINDS[kind])
        seeds = range(FIRST_SEED + 1000 * k, FIRST_SEED + 1000 * k + frames)
        evaluation = Evaluation.of(ensemble, (training_frame(recipe, np.random.default_rng(seed)) for seed in seeds))
        scores = evaluation.scores(confidence)
        area = scores["AUROC of probability, true against false"]
        text = ", ".join(f"{name} {scores[name]:.4f}" for name in ("precision", "recall", "right species"))
        law(f"{kind}, {dose:g} e/Å²: AUROC {area:.4f} (>= 0.99); {text}", area >= 0.99)
        parts.append(scores)
    error = float(np.mean([one["detection calibration error"] for one in parts]))
    covered = float(np.mean([one["within one standard deviation"] for one in parts]))
    each = " ".join(f"{one['detection calibration error']:.3f}" for one in parts)
    law(f"{kind}: calibration error of detection {error:.4f} (<= 0.02; by dose {each})", error <= 0.02)
    each = " ".join(f"{one['within one standard deviation']:.3f}" for one in parts)
    law(f"{kind}: within one standard deviation {covered:.3f} (0.63 to 0.73; by dose {each})", 0.63 <= covered <= 0.73)


def papers_frame(segmenter: Unet, poscar: Path) -> None:
    """The frame of Ghosh et al. 2022, rendered again: every detection, however improbable, true or false."""
    looking = segmenter.model_copy(update={"least_probability": 0.0})
    within, errors = [], []
    for dose in (60, 100, 300, 1000, 3000):
        found, true, close = [], [], []
        for seed in range(3):
            image, there, _ = rendered(poscar, dose, seed)
            atoms = looking.segment(image).atoms
            pairs = match(atoms.positions, there, 0.5)
            hit = np.zeros(len(atoms), dtype=bool)
            hit[pairs[:, 0]] = True
            off = np.abs(atoms.positions[pairs[:, 0]] - there[pairs[:, 1]])
            close.append((off < atoms.position_std[pairs[:, 0], None]).mean())
            found.append(atoms.probability)
            true.append(hit)
        probability, hits = np.concatenate(found), np.concatenate(true)
        area, error = auroc(probability, hits), calibration_error(probability, hits)
        within.append(float(np.mean(close)))
        errors.append(error)
        text = f"{int((~hits).sum())} false of {len(hits)}, calibration error {error:.4f}, covered {within[-1]:.3f}"
        law(f"paper's frame, {dose} e/Å²: AUROC {area:.4f} (>= 0.99); {text}", area >= 0.99 and error <= 0.02)
    covered = float(np.mean(within))
    law(f"paper's frame: within one standard deviation {covered:.3f} (0.63 to 0.73)", 0.63 <= covered <= 0.73)


def refused(segmenter: Unet, pixels: np.ndarray, pixel_size: float) -> str:
    """Return why a frame is refused; '' if it is not."""
    try:
        segmenter.segment(Image(pixels=pixels, pixel_size=pixel_size))
    except BadInput as refusal:
        return str(refusal)
    return ""


def generated_frames(segmenter: Unet) -> None:
    """Noise, even frames and contamination are refused; graphene at any dose and size is not."""
    rng = np.random.default_rng(0)
    shape = (256, 256)
    refusals = {"noise": 0, "counting noise": 0, "blank": 0, "contamination": 0}
    for _ in range(10):
        flat = np.full(shape, rng.uniform(0.3, 3), dtype=np.float32) + 0.1 * smooth_field(shape, 60, rng)
        dirt = contamination(shape, 0.09, rng)
        while not (dirt > 1).any():
            dirt = contamination(shape, 0.09, rng)
        frames: dict[str, np.ndarray] = {
            "noise": rng.normal(size=shape),
            "counting noise": rng.poisson(rng.uniform(1, 10), size=shape),
            "blank": Scan(dose=float(rng.uniform(200, 4000))).expose(flat.astype(np.float32), 0.09, rng),
            "contamination": Scan(dose=1000).expose((dirt + 0.3).astype(np.float32), 0.09, rng),
        }
        for kind, pixels in frames.items():
            refusals[kind] += bool(refused(segmenter, pixels, float(rng.uniform(0.07, 0.12))))
    for kind, count in refusals.items():
        law(f"{kind}: {count} of 10 refused", count == 10)
    accepted = 0
    for k in range(20):
        width, size, dose = rng.uniform(14, 50), rng.uniform(0.06, 0.18), np.exp(rng.uniform(np.log(60), np.log(5000)))
        accepted += not refused(segmenter, graphene_image(width, size, dose, k).pixels, size)
    law(f"generated graphene: {accepted} of 20 accepted", accepted == 20)


def real_frames(segmenter: Unet, stem: Path) -> None:
    """Every real graphene frame is accepted; MoS2 is refused, whole or in parts, at any stated pixel size."""
    archive = np.load(stem / "library_refined.npz")
    entries = json.loads(str(archive["labels_json"]))
    why = []
    for entry in entries:
        pixels = archive[entry["image"]].astype(float)
        why.append(refused(segmenter, pixels, entry["field_of_view_pm"] / 100 / len(pixels)))
    why += [refused(segmenter, np.load(file), 0.0781) for file in sorted(stem.glob("graphene*.npy"))]
    law(f"real graphene: {sum(not w for w in why)} of {len(why)} accepted", not any(why))
    print(*(f"     {w}" for w in why if w), sep="\n")
    moly = np.load(stem / "mos2_v_doped.npy")
    parts = [moly, moly[:256, :256], moly[:256, 256:], moly[256:, :256], moly[256:, 256:], moly[128:384, 128:384]]
    why = [refused(segmenter, part, size) for part in parts for size in (0.1758, 0.14, 0.13)]
    law(f"real MoS2: {sum(bool(w) for w in why)} of {len(why)} refused", all(why))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--frames", type=int, default=80)
    parser.add_argument("--weights", type=Path)
    given = parser.parse_args()
    segmenter = Unet(weights=given.weights)
    poscar = given.data / "paper_frame" / "POSCAR"
    if poscar.is_file():
        papers_frame(segmenter, poscar)
    else:
        print(f"no paper_frame/POSCAR at {given.data}: skipped")
    for kind in KINDS:
        detections(given.weights or SHIPPED, given.frames, kind)
    generated_frames(segmenter)
    if (given.data / "stem").is_dir():
        real_frames(segmenter, given.data / "stem")
    else:
        print(f"no real frames at {given.data}: skipped")
    sys.exit(missed > 0)
