"""Train the shipped ensemble on synthetic frames: `python -m stem2sim_unet.train --out FOLDER`.

Members start from their own random weights and see their own frames. A member that is done is a file, and a member
under way is a checkpoint, so the command continues where it was cut off.
"""

from __future__ import annotations

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from rich.progress import Progress
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from stem2sim.files import write_text
from stem2sim.structure import CLOSEST
from stem2sim_unet.canonical import CANONICAL_PIXEL_SIZE
from stem2sim_unet.ensemble import RECORD, Confidence, Ensemble, Floats, disagreement
from stem2sim_unet.locate import locate, match
from stem2sim_unet.network import BLOCK_DEPTHS, FILTERS
from stem2sim_unet.synthetic import CLASSES, NUMBERS, training_frame

if TYPE_CHECKING:
    from numpy.typing import NDArray

CLASS_WEIGHTS = (1.0, 2.5, 0.8)
BATCH = 12
LEARNING_RATE = 3e-3
CHECKPOINT_EVERY = 200
MINIMUM_IOU = (0.55, 0.45)
"""A member below this overlap with the labels of held-out frames (C, Si) is refused; one in five runs can collapse."""
MOST_REFUSED = 3


def _frame(seed: int) -> tuple[np.ndarray, np.ndarray]:
    made = training_frame(np.random.default_rng(seed))
    return made.pixels.astype(np.float16), made.labels


def make_pool(first_seed: int, count: int) -> tuple[Tensor, Tensor]:
    """Return frames (count, 1, rows, columns) and labels (count, rows, columns) for the seeds from `first_seed`."""
    with ProcessPoolExecutor() as workers:
        made = list(workers.map(_frame, range(first_seed, first_seed + count), chunksize=25))
    return (
        torch.from_numpy(np.stack([m[0] for m in made])).float()[:, None],
        torch.from_numpy(np.stack([m[1] for m in made])).long(),
    )


def overlap(network: torch.nn.Module, frames: Tensor, labels: Tensor) -> list[float]:
    """Return intersection over union of each foreground class on labelled frames."""
    network.eval()
    with torch.inference_mode():
        found = torch.cat([network(part).argmax(1) for part in frames.split(BATCH)])
    return [
        float(((found == k) & (labels == k)).sum() / ((found == k) | (labels == k)).sum().clamp(min=1))
        for k in range(len(CLASSES) - 1)
    ]


def train_member(seed: int, frames: int, steps: int, checkpoint: Path, progress: Progress) -> torch.nn.Module:
    """Train one network from random weights, continuing from `checkpoint` when it is there."""
    from atomai.nets import Unet  # seconds to import, and needed to train only

    torch.manual_seed(seed)
    network: torch.nn.Module = Unet(len(CLASSES), FILTERS, layers=list(BLOCK_DEPTHS))
    network = network.to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps, pct_start=0.05)
    weights = torch.tensor(CLASS_WEIGHTS)
    first = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        first = state["step"]
    task = progress.add_task(f"member {seed}: making {frames} frames", total=steps, completed=first)
    pixels, labels = make_pool(seed * 1_000_000, frames)
    network.train()
    for step in range(first, steps):
        choice = torch.Generator().manual_seed(seed * 1_000_003 + step)
        picked = torch.randint(len(pixels), (BATCH,), generator=choice)
        turns, flip = (int(torch.randint(n, (1,), generator=choice)) for n in (4, 2))
        x, y = torch.rot90(pixels[picked], turns, (2, 3)), torch.rot90(labels[picked], turns, (1, 2))
        if flip:
            x, y = x.flip(3), y.flip(2)
        with torch.autocast("cpu", torch.bfloat16):
            scores = network(x.contiguous(memory_format=torch.channels_last))
        loss = functional.cross_entropy(scores.float(), y, weight=weights)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        progress.update(task, completed=step + 1, description=f"member {seed}: loss {loss.item():.4f}")
        if (step + 1) % CHECKPOINT_EVERY == 0 and step + 1 < steps:
            state = {
                "network": network.state_dict(),
                "optimiser": optimiser.state_dict(),
                "schedule": schedule.state_dict(),
                "step": step + 1,
            }
            torch.save(state, checkpoint.with_suffix(".part"))
            os.replace(checkpoint.with_suffix(".part"), checkpoint)
    return network


def train(out: Path, members: int, frames: int, steps: int, first_seed: int) -> None:
    """Train `members` networks into `out`/member-*.safetensors (float16), refusing those that collapsed."""
    out.mkdir(parents=True, exist_ok=True)
    held_out = make_pool(999_000_000, 120)
    seed = _next_seed(out, first_seed)
    refused = 0
    with Progress() as progress:
        for member in range(members):
            target = out / f"member-{member}.safetensors"
            while not target.exists():
                if refused == MOST_REFUSED:
                    raise SystemExit(f"{refused} members collapsed; train longer (--steps {steps}) or on more frames")
                checkpoint = out / f"seed-{seed}.checkpoint"
                network = train_member(seed, frames, steps, checkpoint, progress)
                iou = overlap(network, *held_out)
                progress.console.print(f"seed {seed}: overlap on held-out frames C {iou[0]:.3f}, Si {iou[1]:.3f}")
                checkpoint.unlink(missing_ok=True)
                if all(got >= least for got, least in zip(iou, MINIMUM_IOU, strict=True)):
                    state = {k: v.half().contiguous() for k, v in network.state_dict().items() if v.is_floating_point()}
                    save_file(state, target.with_suffix(".part"), metadata={"seed": str(seed), "steps": str(steps)})
                    os.replace(target.with_suffix(".part"), target)
                else:
                    refused += 1
                seed += 1


def fit_confidence(folder: Path, frames: int = 240) -> Confidence:
    """Fit what detections are worth on one half of `frames` held-out frames, score it on the other, and record it."""
    ensemble = Ensemble(folder)
    first = _examined(ensemble, range(998_000_000, 998_000_000 + frames // 2))
    fitted = Confidence.fit(
        first.foreground,
        first.true,
        first.errors,
        first.spread,
        first.noise,
        float(np.percentile(first.disagreement, 99)),
    )
    second = _examined(ensemble, range(997_000_000, 997_000_000 + frames // 2))
    probability = fitted.probability(second.foreground)
    std = fitted.position_std(second.spread, second.noise)
    bins = np.clip((probability * 10).astype(int), 0, 9)
    gaps = [
        abs(probability[here].mean() - second.true[here].mean()) * here.mean()
        for here in (np.asarray(bins == k) for k in range(10))
        if here.any()
    ]
    sure = probability >= 0.5
    scores = {
        "frames": frames // 2,
        "atoms": len(second.seen),
        "precision": second.true[sure].mean(),
        "recall": (fitted.probability(second.seen) >= 0.5).mean(),
        "right species": second.right_species.mean(),
        "probability calibration error": sum(gaps),
        "position error rms [Å]": np.sqrt((second.errors**2).mean()),
        "normalised position error, rms": np.sqrt(((second.errors / std[:, None]) ** 2).mean()),
        "within one standard deviation": (np.abs(second.errors) < std[:, None]).mean(),
    }
    fitted = fitted.model_copy(update={"held_out": {k: round(float(v), 4) for k, v in scores.items()}})
    write_text(folder / RECORD, fitted.model_dump_json(indent=1) + "\n")
    return fitted


def _next_seed(folder: Path, first: int) -> int:
    """The seed after those of the members there are, so that no two members share one."""
    used = []
    for file in folder.glob("member-*.safetensors"):
        with safe_open(file, "np") as member:
            used.append(int(member.metadata()["seed"]))
    return max([first - 1, *used]) + 1


def _off_the_border(positions: Floats, size: int) -> NDArray[np.bool_]:
    return np.asarray(((positions > 3) & (positions < size - 4)).all(axis=1))


@dataclass(frozen=True)
class _Examined:
    """Detections on frames whose atoms are known."""

    foreground: Floats
    true: NDArray[np.bool_]
    errors: Floats
    spread: Floats
    noise: Floats
    right_species: NDArray[np.bool_]
    disagreement: Floats
    seen: Floats
    """(atoms,) mean foreground of the detection of each atom there is, 0 where it was missed."""


def _examined(ensemble: Ensemble, seeds: range) -> _Examined:
    columns: tuple[list[Floats], ...] = tuple([] for _ in range(8))
    for seed in seeds:
        made = training_frame(np.random.default_rng(seed))
        members = ensemble.predict(made.pixels)
        found = locate(members, CLOSEST)
        size = len(made.pixels)
        inside, kept = (_off_the_border(one.positions, size) for one in (made, found))
        pairs = match(found.positions, made.positions, 0.5 / CANONICAL_PIXEL_SIZE)
        is_true = np.zeros(len(found), dtype=bool)
        is_true[pairs[:, 0]] = True
        foreground_of = np.zeros(len(made.positions))
        foreground_of[pairs[:, 1]] = found.foreground[pairs[:, 0]]
        both = pairs[kept[pairs[:, 0]]]
        examined = (
            found.foreground[kept],
            is_true[kept],
            (found.positions[both[:, 0]] - made.positions[both[:, 1]]) * CANONICAL_PIXEL_SIZE,
            found.spread[both[:, 0]],
            np.full(len(both), made.noise),
            NUMBERS[found.species[both[:, 0]].argmax(axis=1)] == made.numbers[both[:, 1]],
            np.array([disagreement(members)]),
            foreground_of[inside],
        )
        for column, part in zip(columns, examined, strict=True):
            column.append(part)
    foreground, true, errors, spread, noise, right, differ, seen = (np.concatenate(column) for column in columns)
    return _Examined(foreground, true.astype(bool), errors, spread, noise, right.astype(bool), differ, seen)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the members")
    parser.add_argument("--members", type=int, default=5)
    parser.add_argument("--frames", type=int, default=3000, help="synthetic frames per member")
    parser.add_argument("--steps", type=int, default=2000, help="batches of 12 frames per member")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    train(given.out, given.members, given.frames, given.steps, given.seed)
    for score, value in fit_confidence(given.out).held_out.items():
        print(f"{score}: {value:g}")
