"""Training steps of one network, or of several in parallel with their weights stacked."""

from __future__ import annotations

import copy
import os
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, update_bn

from stem2sim.errors import BadInput
from stem2sim_unet.labelled import IGNORED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class StackedNetworks(nn.Module):
    """Networks of one shape as one: every layer of all of them is a single operation, which keeps a GPU busy.

    Maps (networks, batch, 1, rows, columns) to (networks, batch, classes, rows, columns).
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        parameters, buffers = stack_module_state(list(networks))
        self.count = len(networks)
        self._names = {name: name.replace(".", "/") for name in (*parameters, *buffers)}
        for name, values in parameters.items():
            self.register_parameter(self._names[name], nn.Parameter(values.detach()))
        for name, values in buffers.items():
            self.register_buffer(self._names[name], values)
        self._skeleton = (copy.deepcopy(networks[0]),)  # in a tuple, to keep its weights out of this module's

    def forward(self, x: Tensor) -> Tensor:
        """Map each network's own frames."""
        state = {name: getattr(self, kept) for name, kept in self._names.items()}

        def network_scores(weights: dict[str, Tensor], frames: Tensor) -> Tensor:
            scores: Tensor = functional_call(self._skeleton[0], weights, (frames,))
            return scores

        # frames change nothing but the running means, which are each network's own
        self._skeleton[0].train(self.training)
        scores: Tensor = vmap(network_scores)(state, x)
        return scores

    def networks(self) -> list[nn.Module]:
        """Return copies of the networks, each by itself."""
        state = {name: getattr(self, kept).detach() for name, kept in self._names.items()}
        apart = []
        for k in range(self.count):
            network = copy.deepcopy(self._skeleton[0])
            network.load_state_dict({name: values[k] for name, values in state.items()})
            apart.append(network)
        return apart


class Trainer:
    """Networks, their optimiser, and the average of their weights over part of a cycle."""

    def __init__(self, networks: Sequence[nn.Module], learning_rate: float, class_weights: Tensor) -> None:
        self.module = networks[0] if len(networks) == 1 else StackedNetworks(networks)
        self.optimiser = torch.optim.AdamW(self.module.parameters(), lr=learning_rate)
        self.class_weights = class_weights
        self.start_averaging()

    def step(self, x: Tensor, y: Tensor, rate: float) -> list[float]:
        """Take one step of every network, and return their losses.

        Args:
            x: (networks, batch, 1, rows, columns) frames.
            y: (networks, batch, rows, columns) labels.
            rate: learning rate.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        if not isinstance(self.module, StackedNetworks):
            return [descend(self.module, self.optimiser, x[0], y[0], self.class_weights)]
        self.module.train()
        with torch.autocast(x.device.type, torch.bfloat16):
            scores = self.module(x)
        losses = torch.stack([loss_of(*pair, self.class_weights) for pair in zip(scores, y, strict=True)])
        self.optimiser.zero_grad(set_to_none=True)
        losses.sum().backward()  # no network's loss depends on another's weights
        self.optimiser.step()
        values: list[float] = losses.tolist()
        return values

    def start_averaging(self) -> None:
        """Start a new average of the weights."""
        self.average = AveragedModel(self.module)

    def add_to_average(self) -> None:
        """Add the current weights to the average."""
        self.average.update_parameters(self.module)

    def networks(self) -> list[nn.Module]:
        """Return each network by itself."""
        return self.module.networks() if isinstance(self.module, StackedNetworks) else [self.module]

    def averaged(self, frames: Sequence[Sequence[Tensor]]) -> list[nn.Module]:
        """Return the average of each network by itself.

        Args:
            frames: for each network, batches to measure the means and variances of its batch norms on.
        """
        module = self.average.module
        apart = module.networks() if isinstance(module, StackedNetworks) else [module]
        for network, batches in zip(apart, frames, strict=True):
            update_bn(batches, network)
        return apart

    def save(self, path: Path, step: int) -> None:
        """Write a checkpoint, atomically."""
        part = path.with_suffix(".part")
        network, average = self.module.state_dict(), self.average.state_dict()
        states = {"network": network, "optimiser": self.optimiser.state_dict(), "average": average, "step": step}
        torch.save(states, part)
        os.replace(part, path)

    def load(self, path: Path, device: str) -> int:
        """Restore a checkpoint; return its step.

        Raises:
            BadInput: a damaged file.
        """
        try:
            state = torch.load(path, weights_only=True, map_location=device)
            self.module.load_state_dict(state["network"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.average.load_state_dict(state["average"])
            step: int = state["step"]
        except Exception:  # bytes that are not what they should be can raise anything
            raise BadInput(f"{path} is damaged; delete it to train its start from the beginning") from None
        return step


def descend(network: nn.Module, optimiser: torch.optim.Optimizer, x: Tensor, y: Tensor, weights: Tensor) -> float:
    """Take one step down the weighted cross-entropy of a batch, and return it."""
    network.train()
    with torch.autocast(x.device.type, torch.bfloat16):
        scores = network(x.contiguous(memory_format=torch.channels_last))
    loss = loss_of(scores, y, weights)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
    return loss.item()


def loss_of(scores: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Return the cross-entropy (batch, classes, rows, columns) against (batch, rows, columns), by class weights."""
    return functional.cross_entropy(scores.float(), labels, weight=weights, ignore_index=IGNORED)
