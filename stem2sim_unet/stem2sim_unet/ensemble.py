"""An ensemble of networks, read from its folder, and its prediction for one frame."""

from __future__ import annotations

import copy
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from stem2sim.errors import BadInput
from stem2sim.progress import track
from stem2sim_unet import SHIPPED
from stem2sim_unet.activation_ranges import read_ranges, rounded_layers
from stem2sim_unet.model_card import ModelCard
from stem2sim_unet.prediction import Maps, Prediction, entropy
from stem2sim_unet.runtimes import Backend, Precision, runtime_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Networks = Callable[[NDArray[np.float32]], Iterator[NDArray[np.float32]]]
    Weights = Mapping[str, NDArray[np.float32]]

STRIDE = 8
"""Rows and columns must be multiples of this: three poolings by two."""

TILE = 1024
"""Longest side [pixels] that is computed in one piece; larger frames are cut into tiles, to limit the memory."""

OVERLAP = 96
"""Pixels by which a tile is larger than the part of it that is used: more than the receptive field of the networks."""


class Ensemble:
    """Members read from a folder: `member-*.safetensors` beside their card."""

    def __init__(self, folder: Path = SHIPPED, backend: Backend = "auto", precision: Precision = "auto") -> None:
        self.backend, self.is_single = runtime_for(backend), precision == "single"
        self.folder = folder
        self.card = ModelCard.read(folder)
        files = sorted(folder.glob("member-*.safetensors"))
        if not files:
            raise BadInput(f"no member-*.safetensors in {folder}")
        self.members: Sequence[Weights] = [_weights(file, self.card) for file in files]
        self.names = [file.stem for file in files]
        self._networks: Networks | None = None

    def __len__(self) -> int:
        return len(self.members)

    def with_members(self, members: Sequence[Weights]) -> Ensemble:
        """Return the ensemble with these members (state dicts) instead of its own."""
        ensemble = copy.copy(self)
        ensemble.members, ensemble._networks = members, None
        return ensemble

    def member_predictions(self, frame: Maps, members: int | None = None) -> Iterator[Maps]:
        """Yield each member's class probabilities (classes, rows, columns) for a frame whose sides fit the stride."""
        if self._networks is None:
            if self.backend == "openvino":
                from stem2sim_unet.openvino_backend import OpenvinoBackend

                expected = rounded_layers(self.card.depths, self.card.filters)
                ranges = None if self.is_single else read_ranges(self.folder, self.names, expected)
                self._networks = OpenvinoBackend(self.members, self.card.depths, ranges, self.is_single)
            else:
                from stem2sim_unet.torch_backend import TorchBackend

                self._networks = TorchBackend(self.members, self.card, is_single=self.is_single)
        return islice(self._networks(frame), members)

    def predict(self, frame: Maps, members: int | None = None) -> Prediction:
        """Return the prediction for one normalised canonical frame (rows, columns), of all or the first few members.

        No member's maps are kept: memory use does not grow with the size of the ensemble.
        """
        rows, columns = frame.shape
        padded = np.pad(frame, [(0, -n % STRIDE) for n in frame.shape], mode="reflect")
        pieces = [*_tiles(padded.shape)]
        with track("unet: networks", len(pieces) * min(members or len(self), len(self))) as advance:
            if len(pieces) == 1:
                whole = self._averaged(padded, members, advance)
            else:
                whole = np.zeros((2 * len(self.card.classes) + 1, *padded.shape), dtype=np.float32)
                for tile, taken, within in pieces:
                    whole[:, *taken] = self._averaged(padded[tile], members, advance)[:, *within]
        classes = len(self.card.classes)
        whole = whole[:, :rows, :columns]
        return Prediction(whole[:classes], whole[classes:-1], whole[-1])

    def _averaged(self, frame: Maps, members: int | None, advance: Any) -> Maps:
        """Mean, spread and mutual information, stacked, from running sums (Welford)."""
        mean = squares = entropies = np.zeros(0, dtype=np.float32)
        n = 0
        for probability in self.member_predictions(frame, members):
            n += 1
            if n == 1:
                mean, squares, entropies = (
                    probability.astype(np.float32),
                    np.zeros_like(probability, dtype=np.float32),
                    entropy(probability),
                )
            else:
                away = probability - mean
                mean += away / n
                squares += away * (probability - mean)
                entropies += entropy(probability)
            advance()
        information = np.maximum(entropy(mean) - entropies / n, 0)
        return np.concatenate([mean, np.sqrt(np.maximum(squares / n, 0)), information[None]])


def _tiles(shape: tuple[int, ...]) -> Iterator[tuple[Any, Any, Any]]:
    """Yield each tile, the part of the frame that it gives, and where that lies in the tile, as pairs of slices."""

    def cuts(length: int) -> list[tuple[slice, slice, slice]]:
        if length <= TILE:
            return [(slice(0, length), slice(0, length), slice(0, length))]
        step = TILE - 2 * OVERLAP
        made = []
        for start in range(0, length, step):
            stop = min(start + step, length)
            low, high = max(0, start - OVERLAP), min(length, stop + OVERLAP)
            made.append((slice(low, high), slice(start, stop), slice(start - low, stop - low)))
        return made

    for r in cuts(shape[0]):
        for c in cuts(shape[1]):
            yield (r[0], c[0]), (r[1], c[1]), (r[2], c[2])


def _weights(file: Path, card: ModelCard) -> dict[str, NDArray[np.float32]]:
    try:
        stored = load_file(file)
    except (SafetensorError, OSError) as problem:
        raise BadInput(f"cannot read {file} as safetensors: {' '.join(str(problem).split())}") from None
    state = {name: np.asarray(value, dtype=np.float32) for name, value in stored.items()}
    made_for = state["px.weight"].shape[0] if "px.weight" in state else 0
    if made_for != len(card.classes):
        raise BadInput(
            f"{file} has {made_for} classes, its model card lists {len(card.classes)}: {', '.join(card.classes)}"
        )
    wrong = [name for name, shape in expected_shapes(card).items() if name not in state or state[name].shape != shape]
    if wrong:
        depths = "-".join(map(str, card.depths))
        raise BadInput(f"{file} is not a U-Net of depths {depths} and {card.filters} filters: {wrong[0]} differs")
    if not all(np.isfinite(value).all() for value in state.values()):
        raise BadInput(f"{file} holds weights that are not finite")
    return state


def expected_shapes(card: ModelCard) -> dict[str, tuple[int, ...]]:
    """Return name and shape of every weight that a member of this card has."""
    f, (d1, d2, d3, d4) = card.filters, card.depths
    shapes: dict[str, tuple[int, ...]] = {}
    blocks = [("c1", d1, 1, f), ("c2", d2, f, 2 * f), ("c3", d3, 2 * f, 4 * f), ("bn", d4, 4 * f, 8 * f)]
    blocks += [("c4", d3, 8 * f, 4 * f), ("c5", d2, 4 * f, 2 * f), ("c6", d1, 2 * f, f)]
    for name, layers, inputs, outputs in blocks:
        for k in range(layers):
            shapes[f"{name}.block.{3 * k}.weight"] = (outputs, outputs if k else inputs, 3, 3)
            shapes[f"{name}.block.{3 * k}.bias"] = (outputs,)
            for part in ("weight", "bias", "running_mean", "running_var"):
                shapes[f"{name}.block.{3 * k + 2}.{part}"] = (outputs,)
    for k, inputs in ((1, 8 * f), (2, 4 * f), (3, 2 * f)):
        shapes[f"upsample_block{k}.conv.weight"] = (inputs // 2, inputs, 1, 1)
        shapes[f"upsample_block{k}.conv.bias"] = (inputs // 2,)
    classes = len(card.classes)
    return {**shapes, "px.weight": (classes, f, 1, 1), "px.bias": (classes,)}


@cache
def ensemble_of(folder: Path, backend: Backend = "auto", precision: Precision = "auto") -> Ensemble:
    """Return the ensemble of a folder, read once."""
    return Ensemble(folder, backend, precision)
