"""AtomAI's model files: read without running anything that is in them, and written so that AtomAI reads them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from stem2sim.errors import BadInput
from stem2sim.files import write_atomically
from stem2sim_unet.network import BLOCK_DEPTHS, FILTERS, UnetNetwork, Upsampling, Variant
from stem2sim_unet.torch_archive import TorchArchive, brief, torch_archive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

LARGEST = 1024
"""Most classes, filters or layers that a file may state; a larger number is a mistake or a trap."""

COUNTER = "num_batches_tracked"
"""Ends the names of the whole numbers in a state dict; only training reads them, so they may be missing."""

State = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class AtomaiModel:
    """One U-Net architecture, in AtomAI's terms, and the weights of one or more networks that have it."""

    classes: int
    """Background last; one class means foreground alone."""
    members: tuple[Mapping[str, Tensor], ...]
    """One state dict per network."""
    filters: int = FILTERS
    depths: tuple[int, int, int, int] = BLOCK_DEPTHS
    batch_norm: bool = True
    dropout: bool = False
    upsampling: Upsampling = "bilinear"
    with_dilation: bool = False

    def networks(self) -> Iterator[UnetNetwork]:
        """Yield the networks one by one, ready to predict."""
        for member in self.members:
            network = self._skeleton()
            network.load_state_dict({name: value.clone() for name, value in member.items()}, assign=True)
            yield network.eval()

    def _skeleton(self) -> UnetNetwork:
        # on the meta device: takes no memory however many filters are stated, and draws no random numbers
        with torch.device("meta"):
            return UnetNetwork(
                self.classes,
                self.filters,
                self.depths,
                Variant(self.batch_norm, self.dropout, self.upsampling, self.with_dilation),
            )

    def __str__(self) -> str:
        options = [
            "" if self.batch_norm else ", no batch norm",
            ", dropout" if self.dropout else "",
            ", dilation" if self.with_dilation else "",
        ]
        layers = "-".join(map(str, self.depths))
        return f"a U-Net of {self.classes} classes, {self.filters} filters, layers {layers}{''.join(options)}"


def read_atomai(path: Path) -> AtomaiModel:
    """Read a model or an ensemble of AtomAI's.

    Raises:
        BadInput: no such file, not a torch file, a damaged one, one that asks for anything but tensors, not a U-Net for
            segmentation, or weights that are not finite or not those of the U-Net that the file describes.
    """
    with torch_archive(path) as archive:
        return _read(archive)


def write_atomai(path: Path, model: AtomaiModel) -> None:
    """Write a file that AtomAI's `load_model` reads, or `load_ensemble` where there is more than one member.

    Raises:
        BadInput: no members, or one whose weights are not finite or do not fit the architecture.
    """
    if not model.members:
        raise BadInput(f"{path.name} would hold no network: the model has no members")
    states = [
        _fitted(f"{path.name}, member {k}", model, member, lambda value: value)
        for k, member in enumerate(model.members)
    ]
    content = {
        "model_type": "seg",
        "model": "Unet",
        "nb_classes": model.classes,
        "batch_norm": model.batch_norm,
        "dropout": model.dropout,
        "upsampling": model.upsampling,
        "with_dilation": model.with_dilation,
        "nb_filters": model.filters,
        "layers": list(model.depths),
        "weights": states[0] if len(states) == 1 else dict(enumerate(states)),
        "optimizer": None,
    }
    # through a handle: given a path, torch writes the (temporary) file name into the file
    with write_atomically(path) as part, part.open("wb") as file:
        torch.save(content, file)


def _read(file: TorchArchive) -> AtomaiModel:
    content = file.content()
    if not isinstance(content, dict) or "model_type" not in content:
        raise BadInput(f"{file.name} describes no AtomAI model; weights alone do not identify their network")
    kind, architecture = content["model_type"], content.get("model")
    if kind != "seg":
        raise BadInput(f"{file.name} holds an AtomAI model of type {brief(kind)}; only 'seg' (segmentation) is read")
    if architecture != "Unet":
        raise BadInput(f"{file.name} holds AtomAI's {brief(architecture)}; only its 'Unet' is read")
    model = _described(file.name, content)
    weights = content.get("weights")
    if not isinstance(weights, dict) or not weights:
        raise BadInput(f"{file.name} has no weights")
    states = list(weights.values()) if all(isinstance(key, int) for key in weights) else [weights]
    members = []
    for k, state in enumerate(states):
        where = f"{file.name}, member {k}" if len(states) > 1 else file.name
        if not isinstance(state, dict):
            raise BadInput(f"{where} has no weights")
        members.append(_fitted(where, model, state, file.tensor))
    return replace(model, members=tuple(members))


def _described(where: str, content: dict[str, Any]) -> AtomaiModel:
    """Return the architecture; what a file leaves out is AtomAI's default."""

    def whole(what: str, value: Any) -> int:
        if type(value) is not int or not 1 <= value <= LARGEST:
            raise BadInput(f"{where}: {what} must be a whole number from 1 to {LARGEST}, got {brief(value)}")
        return value

    dilation = bool(content.get("with_dilation", False))
    layers = content.get("layers", [1, 2, 2, 3])
    # AtomAI takes the last number for a dilated bottleneck, the fourth for a plain one
    if not isinstance(layers, list | tuple) or len(layers) < (3 if dilation else 4):
        raise BadInput(f"{where}: layers must be four whole numbers, got {brief(layers)}")
    d1, d2, d3, d4 = (whole("layers", n) for n in (*layers[:3], layers[-1] if dilation else layers[3]))
    upsampling = content.get("upsampling", "bilinear")
    if upsampling not in ("bilinear", "nearest"):
        raise BadInput(f"{where}: upsampling must be 'bilinear' or 'nearest', got {brief(upsampling)}")
    return AtomaiModel(
        classes=whole("nb_classes", content.get("nb_classes")),
        members=(),
        filters=whole("nb_filters", content.get("nb_filters", 16)),
        depths=(d1, d2, d3, d4),
        batch_norm=bool(content.get("batch_norm", True)),
        dropout=bool(content.get("dropout", False)),
        upsampling=upsampling,
        with_dilation=dilation,
    )


def _fitted(where: str, model: AtomaiModel, given: Mapping[str, Any], tensor: Callable[[Any], Tensor]) -> State:
    """Return one state dict as AtomAI writes them: every name, in order, float32, counters int64.

    `tensor` makes a tensor of what `given` has under a name, once it is known to be a name of this network.
    """
    needed = model._skeleton().state_dict()
    missing = [name for name in needed if name not in given and not name.endswith(COUNTER)]
    unexpected = [name for name in given if name not in needed]
    for problem, which in (("lacks", missing), ("has, where none should be,", unexpected)):
        if which:
            more = f" and {len(which) - 1} more" if which[1:] else ""
            raise BadInput(f"{where} {problem} the weights {brief(which[0])}{more} of {model}")
    state: State = {}
    for name, like in needed.items():
        if name not in given:
            state[name] = torch.zeros((), dtype=torch.int64)
            continue
        value = tensor(given[name])
        if value.shape != like.shape:
            raise BadInput(f"{where}: {name} has shape {tuple(value.shape)}, {model} needs {tuple(like.shape)}")
        state[name] = value.detach().to("cpu", like.dtype, copy=True).contiguous()
        if not torch.isfinite(state[name]).all():
            bad = int(math.prod(like.shape) - torch.isfinite(state[name]).sum())
            raise BadInput(f"{where}: {bad} of the weights {name} are NaN or infinite")
    return state
