"""Training with AtomAI's own loop, for members that differ from its ensembles only in their frames."""

from __future__ import annotations

import io
import logging
import time
from contextlib import contextmanager, redirect_stdout
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from stem2sim.errors import BadInput
from stem2sim.progress import track
from stem2sim_unet.labelled import IGNORED
from stem2sim_unet.network import UnetNetwork
from stem2sim_unet.training import OF_A_START
from stem2sim_unet.training_files import member_file, record_loss
from stem2sim_unet.training_loop import RECORD_EVERY, generated
from stem2sim_unet.validation import held_out, save_if_learnt

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from stem2sim_unet.training import Training

    Data = tuple[NDArray[np.float32], NDArray[np.int64]]

log = logging.getLogger("stem2sim")


def check_options(training: Training) -> None:
    """Raise BadInput for what AtomAI's loop cannot do."""
    if training.snapshots > 1:
        raise BadInput(
            f'trainer "atomai" gives one member per start, not {training.snapshots}; snapshots = 1 with '
            f"starts = {training.starts * training.snapshots} gives the same number"
        )
    for name in ("average", "baseline"):
        if getattr(training, name):
            raise BadInput(f'trainer "atomai" does not support the option {name}; use trainer = "stem2sim"')


def train_with_atomai(training: Training, out: Path, own: tuple[Tensor, Tensor] | None) -> None:
    """Train every start that has no member yet with AtomAI's `EnsembleTrainer`, and save the members.

    What differs from our own loop is AtomAI's: classes weigh alike in the loss, Adam without decay of the weights,
    batches that are cut once and never change, and no augmentation (its augmentor drops every patch that lacks one of
    the classes). The learning rates are `Training.rate`. Pixels of the user's frames whose label is to be ignored
    become background, because its loss ignores nothing. An interrupted start begins anew.

    Args:
        training: all options.
        out: folder for the members.
        own: patches and labels of the user's frames.

    Raises:
        BadInput: options that AtomAI's loop cannot meet, or frames in which a class does not occur.
        StageFailed: a member that learnt too little.
    """
    check_options(training)
    with track("training: steps", training.starts * training.steps) as advance:
        for start in range(training.starts):
            seed, file = training.seed + start, member_file(out, start)
            if file.exists():
                advance(training.steps)
                continue
            pool = _pool(training, seed, own)
            # AtomAI writes a copy of the model at the end of each run, and a leftover of a killed run is harmless
            with TemporaryDirectory(prefix="atomai-", dir=out) as folder, _surroundings_kept(), redirect_stdout(_Log()):
                losses, network = _one_start(training, seed, pool, folder, advance, start)
            for step, loss, seconds in losses:
                record_loss(out, seed, step, loss, seconds)
            save_if_learnt(training, seed, training.steps, network, file)


def _one_start(
    training: Training, seed: int, pool: Data, folder: str, advance: Any, start: int
) -> tuple[list[tuple[int, float, float]], UnetNetwork]:
    from atomai.trainers import EnsembleTrainer  # seconds to import, and needed here only

    classes = len(training.recipe.classes)
    binary = classes == 2  # AtomAI then wants one score, of the foreground, and labels that are 1 there
    options = {"nb_filters": training.filters, "layers": list(training.depths)}
    trainer: Any = EnsembleTrainer("Unet", nb_classes=1 if binary else classes, **options)
    trainer.device = training.device  # it takes a GPU wherever there is one
    trainer.net.to(training.device)
    trainer.compile_ensemble_trainer(
        training_cycles=training.steps,
        batch_size=training.batch,
        batch_seed=seed,
        lr_scheduler=[training.rate(step) for step in range(training.steps)],
        filename=f"{folder}/model",
        plot_training_history=False,
    )
    losses: list[tuple[int, float, float]] = []
    since = time.monotonic()
    step_of_atomai = trainer.step

    def step(number: int) -> None:
        nonlocal since
        step_of_atomai(number)
        loss, done = float(trainer.loss_acc["train_loss"][-1]), number + 1
        advance(note=f"start {start + 1} of {training.starts}, loss {loss:.4f}")
        if done % RECORD_EVERY == 0 or done == training.steps:
            now = time.monotonic()
            losses.append((done, loss, now - since))
            since = now

    trainer.step = step
    test = held_out(training.recipe)
    count = max(len(test[0]), training.batch)  # of each set at least one whole batch
    picked = np.arange(count) % len(test[0])
    data = (*pool, test[0].numpy()[picked], test[1].numpy().astype(np.int64)[picked])
    if binary:
        data = (data[0], 1 - data[1][:, None], data[2], 1 - data[3][:, None])
    trainer.train_baseline(*data, seed=seed)
    state: dict[str, Tensor] = {name: value.detach().cpu() for name, value in trainer.net.state_dict().items()}
    if binary:  # the softmax of (score, 0) is the sigmoid of the score
        state |= {name: torch.cat([state[name], torch.zeros_like(state[name])]) for name in ("px.weight", "px.bias")}
    network = UnetNetwork(classes, training.filters, training.depths)
    network.load_state_dict(state)
    return losses, network


def _pool(training: Training, seed: int, own: tuple[Tensor, Tensor] | None) -> Data:
    """Generated frames of a start, with the user's own repeated until they are their share, in random order."""
    x, y = generated(training.recipe, seed * OF_A_START, training.frames)
    rng = np.random.default_rng(seed)
    if own is not None and training.labelled_share > 0:
        mine = round(len(x) * training.labelled_share)
        kept, taken = rng.permutation(len(x))[: len(x) - mine], np.arange(mine) % len(own[0])
        x, y = torch.cat([x[kept], own[0][taken]]), torch.cat([y[kept], own[1][taken]])
    order = rng.permutation(max(len(x), training.batch)) % len(x)
    pixels, labels = x.numpy()[order], y.numpy().astype(np.int64)[order]
    labels[labels == IGNORED] = len(training.recipe.classes) - 1
    there = set(np.unique(labels).tolist())
    absent = [name for k, name in enumerate(training.recipe.classes) if k not in there]
    if absent:
        raise BadInput(
            f'trainer "atomai" needs frames of every class, and these {training.frames} contain no '
            f"{', '.join(absent)}; use more frames, or a larger mean of that impurity"
        )
    return pixels, labels


@contextmanager
def _surroundings_kept() -> Iterator[None]:
    """AtomAI seeds the global random numbers and sets switches of cuDNN; afterwards they are as they were."""
    numpy_state, flags = np.random.get_state(), torch.backends.cudnn
    before = flags.deterministic, flags.benchmark
    try:
        with torch.random.fork_rng():
            yield
    finally:
        np.random.set_state(numpy_state)
        flags.deterministic, flags.benchmark = before


class _Log(io.TextIOBase):
    """What AtomAI prints, line by line, as lines of the log."""

    def __init__(self) -> None:
        self._begun = ""

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in filter(str.strip, lines):
            log.debug("atomai: %s", line.strip())
        return len(text)
