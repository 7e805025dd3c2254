"""AtomAI's model files: read without running anything that is in them, and written so that AtomAI reads them."""

from __future__ import annotations

import math
import pickle
import pickletools
import reprlib
import zipfile
from collections import OrderedDict
from dataclasses import dataclass, replace
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from stem2sim.errors import BadInput
from stem2sim.files import write_atomically
from stem2sim_unet.network import BLOCK_DEPTHS, FILTERS, UnetNetwork, Upsampling

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
                batch_norm=self.batch_norm,
                dropout=self.dropout,
                upsampling=self.upsampling,
                with_dilation=self.with_dilation,
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
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(_TorchFile(archive, path.name))
    except BadInput:
        raise
    except OSError as problem:
        raise BadInput(f"cannot read {path}: {problem.strerror or problem}") from problem
    except zipfile.BadZipFile as problem:
        with path.open("rb") as file:
            cut = file.read(2) == b"PK"
        said = f"is damaged or cut short: {problem}" if cut else "is not a file that torch 1.6 or newer has saved"
        raise BadInput(f"{path.name} {said}") from problem
    except Exception as problem:  # bytes that are not what they should be can raise anything
        raise BadInput(f"{path.name} is damaged: {_brief(f'{type(problem).__name__}: {problem}')}") from problem


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


class _Stored(NamedTuple):
    """Where in the file the numbers of one tensor are."""

    dtype: torch.dtype
    record: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
}


class _TorchFile:
    """A file of `torch.save`, opened without torch.load.

    After `fit` AtomAI saves its optimizer along with the weights, as an object. torch.load(weights_only=True) refuses
    that, and allowing torch.optim.Adam there would run the optimizer's own code on whatever state the file gives it.
    Here a name in the pickle can only mean one of the few things in `_Inert`, whatever version of torch is installed,
    and a tensor stays a description until it is known to be a weight. The optimizer's numbers are never read.
    """

    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        self.archive = archive
        self.name = name
        pickles = [entry for entry in archive.namelist() if entry.count("/") == 1 and entry.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise BadInput(f"{name} is a zip file, but not one that torch has saved")
        # torch never compresses; what is compressed may unpack to any size
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise BadInput(f"{name} has compressed parts; torch saves none")
        self.folder = pickles[0].removesuffix("data.pkl")

    def content(self) -> Any:
        """Return what was saved, with `_Stored` for tensors and empty dictionaries for optimizers."""
        data = self.archive.read(f"{self.folder}data.pkl")
        # torch writes protocol 2: what came later is not needed, and a forged file may misuse it
        if any((operation.proto or 0) > 2 for operation, _, _ in pickletools.genops(data)):
            raise BadInput(f"{self.name} is pickled in a way that torch does not use; not opened")
        return _Inert(BytesIO(data), self.name).load()

    def tensor(self, stored: Any) -> Tensor:
        """Return a view of the numbers of one tensor."""
        if not isinstance(stored, _Stored):
            raise TypeError(f"{_brief(stored)} where a tensor should be")
        record = bytearray(self.archive.read(f"{self.folder}data/{stored.record}"))
        # torch refuses shapes and strides that would reach beyond the record
        numbers = torch.frombuffer(record, dtype=torch.uint8).view(stored.dtype)
        return numbers.as_strided(stored.shape, stored.strides, stored.offset)


class _Rebuild:
    """Stands for torch's functions that make a tensor of a storage, and a parameter of a tensor."""

    __slots__ = ()  # no room for anything that a pickle may want to leave here

    def __call__(self, made: Any, *how: Any) -> _Stored:
        """Return where the numbers are: offset, shape and strides of a storage, or a tensor as it is."""
        return made if isinstance(made, _Stored) else _Stored(*made, *how[:3])


class _Inert(pickle.Unpickler):
    """An unpickler to which no name means anything that can do harm, or be altered."""

    def __init__(self, file: BytesIO, name: str) -> None:
        super().__init__(file)
        self.name = name

    def find_class(self, module: str, name: str) -> Any:
        """Return what a name may mean; no name is ever looked up."""
        match f"{module}.{name}".split("."):
            case ["collections", "OrderedDict" | "defaultdict"] | ["torch", "optim", *_]:
                return OrderedDict  # takes any state and does nothing with it
            case ["__builtin__" | "builtins", "dict"]:
                return ()  # only stands in defaultdict(dict), which becomes OrderedDict(())
            case ["torch", storage] if storage in _STORAGES:
                return _STORAGES[storage]
            case ["torch", "_utils", "_rebuild_tensor_v2" | "_rebuild_parameter"]:
                return _Rebuild()
        raise BadInput(f"{self.name} asks for {_brief(f'{module}.{name}')}, which no AtomAI model needs; not opened")

    def persistent_load(self, pid: Any) -> tuple[torch.dtype, str]:
        """Return the type and the record of a storage."""
        _, dtype, record, _, _ = pid
        return dtype, record


def _read(file: _TorchFile) -> AtomaiModel:
    content = file.content()
    if not isinstance(content, dict) or "model_type" not in content:
        raise BadInput(f"{file.name} describes no AtomAI model; weights alone do not say what network they are for")
    kind, architecture = content["model_type"], content.get("model")
    if kind != "seg":
        raise BadInput(f"{file.name} holds an AtomAI model of type {_brief(kind)}; only 'seg' (segmentation) is read")
    if architecture != "Unet":
        raise BadInput(f"{file.name} holds AtomAI's {_brief(architecture)}; only its 'Unet' is read")
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
            raise BadInput(f"{where}: {what} must be a whole number from 1 to {LARGEST}, got {_brief(value)}")
        return value

    dilation = bool(content.get("with_dilation", False))
    layers = content.get("layers", [1, 2, 2, 3])
    # AtomAI takes the last number for a dilated bottleneck, the fourth for a plain one
    if not isinstance(layers, list | tuple) or len(layers) < (3 if dilation else 4):
        raise BadInput(f"{where}: layers must be four whole numbers, got {_brief(layers)}")
    d1, d2, d3, d4 = (whole("layers", n) for n in (*layers[:3], layers[-1] if dilation else layers[3]))
    upsampling = content.get("upsampling", "bilinear")
    if upsampling not in ("bilinear", "nearest"):
        raise BadInput(f"{where}: upsampling must be 'bilinear' or 'nearest', got {_brief(upsampling)}")
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
            raise BadInput(f"{where} {problem} the weights {_brief(which[0])}{more} of {model}")
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


def _brief(value: object) -> str:
    """Return a value out of a file in one short line."""
    shortened = reprlib.Repr()
    shortened.maxstring = 80
    return shortened.repr(value)
