"""One 896 x 896 frame through the shipped 20 members: ours against AtomAI's EnsemblePredictor and Locator, on a CPU.

    python benchmarks/segmentation_speed.py [--repeats 3]

The frame is generated. Each side runs in a process of its own, turn by turn, and the fastest of its repeats counts;
models are loaded, and graphs compiled, before the clock starts. Two questions:

- equal pixels: the same 896 x 896 pixels at 0.18 Å through the same networks, both giving mean, spread and atoms;
- end to end: a scan of 896 x 896 pixels at 0.0996 Å. AtomAI looks at its pixels; ours finds the lattice, resamples to
  0.18 Å/pixel, looks, locates and maps everything back.

AtomAI scales every frame to 0..1, our networks expect units of the lattice's contrast: for the comparison the first
layer of the exported weights absorbs that scaling, so both see the same intensities (but for the outermost pixels).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from stem2sim.image import Image
from stem2sim.imaging.forward import Probe, Scan
from stem2sim.testing import graphene_sheet
from stem2sim_unet import SHIPPED

SIZE = 896
COARSE, FINE = 0.18, 0.0996
DOSE = 300.0
RESULT = "\nmeasured: "


def made(pixel_size: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a frame of graphene with 22 Si, its atoms' x, y [Å] and atomic numbers."""
    rng = np.random.default_rng(7)
    sheet = graphene_sheet(SIZE * pixel_size + 8, 13)
    xy = sheet.positions[:, :2] - 4
    numbers = np.full(len(xy), 6)
    inside = ((xy > 3) & (xy < SIZE * pixel_size - 3)).all(axis=1)
    numbers[rng.choice(np.flatnonzero(inside), 22, replace=False)] = 14
    clean = Probe(fwhm=1.2).render(xy, numbers, pixel_size, (SIZE, SIZE))
    return Scan(dose=DOSE).expose(clean, pixel_size, rng), xy, numbers


def f1(detected: np.ndarray, known: np.ndarray, width: float) -> float:
    """Return F1 at 0.5 Å, without a band of 1.5 Å along the border."""
    from stem2sim_unet.locate import match

    inner, truth = (xy[((xy > 1.5) & (xy < width - 1.5)).all(axis=1)] for xy in (detected, known))
    return 2 * len(match(inner, truth, 0.5)) / max(1, len(inner) + len(truth))


def export(folder: Path, frame: np.ndarray) -> Path:
    """Write the shipped ensemble as AtomAI's file, with the scaling of this frame in its first layer."""
    import torch

    from stem2sim_unet.atomai_files import AtomaiModel, write_atomai
    from stem2sim_unet.ensemble import Ensemble

    ensemble = Ensemble(SHIPPED)
    low, span = float(frame.min()), float(np.ptp(frame))
    members = []
    for weights in ensemble.members:
        state = {name: torch.from_numpy(np.array(value)) for name, value in weights.items()}
        first = state["c1.block.0.weight"]
        state["c1.block.0.bias"] = state["c1.block.0.bias"] + low * first.sum(dim=(1, 2, 3))
        state["c1.block.0.weight"] = first * span
        members.append(state)
    path = folder / "ensemble.tar"
    write_atomai(path, AtomaiModel(len(ensemble.card.classes), tuple(members)))
    return path


def canonical() -> np.ndarray:
    """Return the frame of equal pixels as the networks see it."""
    from stem2sim_unet.canonical_grid import normalise

    return normalise(made(COARSE)[0])[0]


def ours(kind: str, repeats: int, folder: Path) -> dict[str, Any]:
    """Time our side."""
    from stem2sim_unet.ensemble import ensemble_of
    from stem2sim_unet.locate import locate
    from stem2sim_unet.unet import Unet

    ensemble = ensemble_of(SHIPPED)
    times = []
    if kind == "equal":
        frame = canonical()
        ensemble.predict(frame[:64, :64])
        for _ in range(repeats):
            start = time.perf_counter()
            prediction = ensemble.predict(frame)
            found = locate(prediction, 0.9)
            times.append(time.perf_counter() - start)
        np.savez(folder / "ours.npz", mean=prediction.mean, variance=prediction.spread**2, xy=found.positions * COARSE)
        return {"times": times}
    pixels, xy, _ = made(FINE)
    image = Image(pixels=pixels, pixel_size=FINE)
    segmenter = Unet()
    ensemble.predict(canonical()[:64, :64])
    for _ in range(repeats):
        start = time.perf_counter()
        result = segmenter.segment(image)
        times.append(time.perf_counter() - start)
    sure = result.atoms.probability >= 0.5
    return {"times": times, "F1": f1(result.atoms.positions[sure], xy, SIZE * FINE), "backend": ensemble.backend}


def atomai(kind: str, repeats: int, folder: Path) -> dict[str, Any]:
    """Time AtomAI's side."""
    from atomai.models import load_ensemble
    from atomai.predictors import EnsemblePredictor, Locator

    pixel_size = COARSE if kind == "equal" else FINE
    frame, xy = (canonical(), made(COARSE)[1]) if kind == "equal" else made(FINE)[:2]
    network, members = load_ensemble(str(export(folder, frame if kind == "equal" else _scaled(frame))))
    times = []
    for _ in range(repeats):
        predictor = EnsemblePredictor(network, members, nb_classes=4)
        start = time.perf_counter()
        mean, variance = predictor.predict(frame)
        found = Locator(threshold=0.5).run(mean)[0]
        times.append(time.perf_counter() - start)
    at = found[:, [1, 0]] * pixel_size
    if kind == "equal":
        np.savez(
            folder / "atomai.npz", mean=np.moveaxis(mean[0], -1, 0), variance=np.moveaxis(variance[0], -1, 0), xy=at
        )
    return {"times": times, "F1": f1(at, xy, SIZE * pixel_size)}


def _scaled(frame: np.ndarray) -> np.ndarray:
    from stem2sim_unet.canonical_grid import normalise

    return normalise(frame)[0]


def child(side: str, kind: str, repeats: int, folder: Path) -> dict[str, Any]:
    """Run one side in a process of its own; return what it measured, with its peak memory [MB]."""
    command = [
        sys.executable,
        __file__,
        "--side",
        side,
        "--kind",
        kind,
        "--repeats",
        str(repeats),
        "--folder",
        str(folder),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    # AtomAI draws its progress on the same output
    measured: dict[str, Any] = json.loads(done.stdout[done.stdout.rindex(RESULT) + len(RESULT) :])
    return measured


def compare(repeats: int) -> bool:
    """Run both sides turn by turn, print the ratios, and return whether they are what we claim."""
    good = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind, required in (("equal", 6.0), ("end", 20.0)):
            fastest: dict[str, list[float]] = {"ours": [], "atomai": []}
            memory: dict[str, float] = {}
            scores: dict[str, float] = {}
            for _ in range(repeats):
                for side, times in fastest.items():
                    measured = child(side, kind, 1 if side == "atomai" else 3, folder)
                    times += measured["times"]
                    memory[side] = max(memory.get(side, 0), measured["memory"])
                    scores[side] = measured.get("F1", 0.0)
            us, them = min(fastest["ours"]), min(fastest["atomai"])
            title = "equal pixels" if kind == "equal" else "end to end"
            print(f"{title}: ours {us:.2f} s, AtomAI {them:.2f} s, ratio {them / us:.1f} (required: {required:g})")
            print(f"  peak memory: ours {memory['ours']:.0f} MB, AtomAI {memory['atomai']:.0f} MB")
            good &= them / us >= required and memory["ours"] < memory["atomai"]
            if kind == "equal":
                one, other = (np.load(folder / f"{side}.npz") for side in ("ours", "atomai"))
                inner = (slice(None), slice(16, -16), slice(16, -16))
                mean = np.abs(one["mean"] - other["mean"])[inner]
                xy = made(COARSE)[1]
                pair = [f1(part["xy"], xy, SIZE * COARSE) for part in (one, other)]
                print(f"  mean probability differs by {mean.mean():.1e} on average, at most {mean.max():.3f}")
                print(f"  F1 against the truth: ours {pair[0]:.4f}, AtomAI {pair[1]:.4f}")
                good &= bool(mean.mean() < 1e-3) and pair[0] >= pair[1] - 1e-3
            else:
                print(f"  F1 against the truth: ours {scores['ours']:.4f}, AtomAI {scores['atomai']:.4f}")
                good &= scores["ours"] >= scores["atomai"]
    return good


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--side", choices=["ours", "atomai"], help=argparse.SUPPRESS)
    parser.add_argument("--kind", choices=["equal", "end"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        outcome = (ours if given.side == "ours" else atomai)(given.kind, given.repeats, given.folder)
        outcome["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{RESULT}{json.dumps(outcome)}")
    else:
        sys.exit(not compare(given.repeats))
