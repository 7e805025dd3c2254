"""One training step of one network: ours against AtomAI's `fit`, same network, same patches, same batch, on a CPU.

    python benchmarks/training_speed.py [--steps 20]

AtomAI's cycle is one batch of training and one batch of test data, which is how `fit` works; ours is one batch, as
validation happens once per member. Set-up is left out on both sides: the time of a long run less that of a short one.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
import tempfile
import time
from typing import TYPE_CHECKING

import numpy as np
import torch

from stem2sim_unet.recipe import Recipe
from stem2sim_unet.trainer import descend
from stem2sim_unet.training import Training
from stem2sim_unet.training_loop import batch_of, class_weights, generated, new_network

if TYPE_CHECKING:
    from collections.abc import Callable

ASKED = 3.0
BATCH, PATCHES, SHORT = 12, 72, 4


def ours(pixels: torch.Tensor, labels: torch.Tensor) -> Callable[[int], None]:
    """Return a function that trains so many steps our way."""
    training = Training()
    network = new_network(training, 1)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    weights = class_weights(training.recipe)

    def run(steps: int) -> None:
        for step in range(steps):
            x, y = batch_of(pixels, labels, BATCH, torch.Generator().manual_seed(step))
            descend(network, optimiser, x, y, weights)

    return run


def atomai(pixels: torch.Tensor, labels: torch.Tensor) -> Callable[[int], None]:
    """Return a function that trains so many cycles AtomAI's way."""
    import atomai as aoi

    x, y = pixels[:, 0].numpy(), labels.numpy().astype(np.int64)
    test = x[:BATCH], y[:BATCH]

    def run(steps: int) -> None:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            model = aoi.models.Segmentor("Unet", nb_classes=4, nb_filters=16, layers=[2, 3, 3, 4])
            options = {"plot_training_history": False, "filename": os.path.join(folder, "model")}
            model.fit(x, y, *test, training_cycles=steps, batch_size=BATCH, **options)

    return run


def per_step(run: Callable[[int], None], steps: int) -> float:
    """Return seconds per step."""
    times = []
    for count in (SHORT, SHORT + steps):
        start = time.perf_counter()
        run(count)
        times.append(time.perf_counter() - start)
    return (times[1] - times[0]) / steps


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    data = generated(Recipe(), 950_000_000, PATCHES)
    sides = {"ours": ours(*data), "AtomAI": atomai(*data)}
    fastest = dict.fromkeys(sides, float("inf"))
    for _ in range(given.repeats):
        for side, run in sides.items():
            fastest[side] = min(fastest[side], per_step(run, given.steps))
    ratio = fastest["AtomAI"] / fastest["ours"]
    for side, seconds in fastest.items():
        print(f"{side}: {1000 * seconds / BATCH:.1f} ms per patch and member")
    print(f"ratio {ratio:.2f} (asked: {ASKED:g})")
    sys.exit(ratio < ASKED)
