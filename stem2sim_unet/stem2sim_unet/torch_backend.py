"""The networks of an ensemble in PyTorch: one after the other on a CPU, stacked on a GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from stem2sim_unet.activation_ranges import rounded_layers
from stem2sim_unet.network import UnetNetwork

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from stem2sim_unet.model_card import ModelCard

AT_ONCE = 5
"""Members that a GPU computes at once: more would only cost memory."""

SMALLEST = 1e-3
"""Least range of a channel, for channels that are never used."""


class TorchBackend:
    """In bfloat16 where the processor has it and single precision is not asked for, with channels last in memory."""

    def __init__(
        self,
        members: Sequence[Mapping[str, NDArray[np.float32]]],
        card: ModelCard,
        device: str = "",
        is_single: bool = False,
    ) -> None:
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.in_bfloat16 = not is_single and _has_bfloat16(self.device)
        if is_single:  # a GPU would compute convolutions with 10 bits of precision
            torch.backends.cudnn.allow_tf32 = False
        self.networks = [network_of(weights, card).to(self.device) for weights in members]
        self._stacked: list[tuple[dict[str, Any], dict[str, Any]]] = []
        if self.device != "cpu":
            groups = (self.networks[k : k + AT_ONCE] for k in range(0, len(self.networks), AT_ONCE))
            self._stacked = [stack_module_state(list(group)) for group in groups]

    def __call__(self, frame: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        """Yield each member's class probabilities (classes, rows, columns)."""
        x = torch.from_numpy(np.ascontiguousarray(frame))[None, None].to(self.device)
        with torch.inference_mode(), torch.autocast(x.device.type, torch.bfloat16, enabled=self.in_bfloat16):
            if self._stacked:
                for group in self._stacked:
                    yield from self.stacked_scores(group, x).float().softmax(2)[:, 0].cpu().numpy()
                return
            x = x.contiguous(memory_format=torch.channels_last)
            for network in self.networks:
                scores: Tensor = network(x)
                yield scores.float().softmax(1)[0].contiguous().numpy()

    def stacked_scores(self, group: tuple[dict[str, Any], dict[str, Any]], x: Tensor) -> Tensor:
        """Return the scores of stacked members, (members, 1, classes, rows, columns)."""
        skeleton = self.networks[0]

        def member_scores(parameters: dict[str, Any], buffers: dict[str, Any]) -> Tensor:
            scores: Tensor = functional_call(skeleton, (parameters, buffers), (x,))
            return scores

        stacked: Tensor = vmap(member_scores)(*group)
        return stacked


def network_of(weights: Mapping[str, NDArray[np.float32]], card: ModelCard) -> UnetNetwork:
    """Return the network with these weights, ready to predict."""
    network = UnetNetwork(len(card.classes), card.filters, card.depths)
    # the files omit the batch counters, which only training reads
    network.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()}, strict=False)
    return network.eval().to(memory_format=torch.channels_last)


def largest_activations(
    weights: Mapping[str, NDArray[np.float32]], card: ModelCard, frames: Tensor
) -> dict[str, NDArray[np.float32]]:
    """Return the largest magnitude of each rounded layer's activations in each channel.

    Args:
        weights: of one member.
        card: of its ensemble.
        frames: (frames, 1, rows, columns) normalised and canonical.
    """
    network = network_of(weights, card)
    largest: dict[str, NDArray[np.float32]] = {}

    def measure(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        def hook(_layer: nn.Module, _inputs: object, out: Tensor) -> None:
            largest[name] = out.abs().amax(dim=(0, 2, 3)).clamp(min=SMALLEST).numpy()

        return hook

    for name in rounded_layers(card.depths, card.filters):
        network.get_submodule(name).register_forward_hook(measure(name))
    with torch.inference_mode():
        network(frames)
    return largest


def _has_bfloat16(device: str) -> bool:
    if device != "cpu":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported())
