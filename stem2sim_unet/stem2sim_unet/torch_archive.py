"""Files of `torch.save`, read without running anything that is in them."""

from __future__ import annotations

import pickle
import pickletools
import reprlib
import zipfile
from collections import OrderedDict
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from stem2sim.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def torch_archive(path: Path) -> Iterator[TorchArchive]:
    """Open a file of `torch.save`.

    Raises:
        BadInput: no such file, not a torch file, a damaged one, or one that needs anything but tensors.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            yield TorchArchive(archive, path.name)
    except BadInput:
        raise
    except OSError as problem:
        raise BadInput(f"cannot read {path}: {problem.strerror or problem}") from problem
    except zipfile.BadZipFile as problem:
        with path.open("rb") as file:
            is_zip = file.read(2) == b"PK"
        complaint = f"is damaged or truncated: {problem}" if is_zip else "was not saved by torch 1.6 or newer"
        raise BadInput(f"{path.name} {complaint}") from problem
    except Exception as problem:  # bytes that are not what they should be can raise anything
        raise BadInput(f"{path.name} is damaged: {brief(f'{type(problem).__name__}: {problem}')}") from problem


class StoredTensor(NamedTuple):
    """Where in the archive the numbers of one tensor are."""

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


class TorchArchive:
    """A file of `torch.save`, opened without torch.load.

    After `fit` AtomAI saves its optimizer along with the weights, as an object. torch.load(weights_only=True) refuses
    that, and allowing torch.optim.Adam there would run the optimizer's own code on whatever state the file gives it.
    Here a name in the pickle can only mean one of the few things in `_InertUnpickler`, whatever version of torch is
    installed, and a tensor stays a description until it is known to be a weight. The optimizer's numbers are not read.
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
        """Return what was saved, with `StoredTensor` for tensors and empty dictionaries for optimizers."""
        data = self.archive.read(f"{self.folder}data.pkl")
        # torch writes protocol 2: what came later is not needed, and a forged file may misuse it
        if any((operation.proto or 0) > 2 for operation, _, _ in pickletools.genops(data)):
            raise BadInput(f"{self.name} is pickled in a way that torch does not use; not opened")
        return _InertUnpickler(BytesIO(data), self.name).load()

    def tensor(self, stored: Any) -> Tensor:
        """Return a view of the numbers of one tensor."""
        if not isinstance(stored, StoredTensor):
            raise TypeError(f"{brief(stored)} where a tensor should be")
        record = bytearray(self.archive.read(f"{self.folder}data/{stored.record}"))
        # torch refuses shapes and strides that would reach beyond the record
        numbers = torch.frombuffer(record, dtype=torch.uint8).view(stored.dtype)
        return numbers.as_strided(stored.shape, stored.strides, stored.offset)


class _Rebuild:
    """Stands for torch's functions that make a tensor of a storage, and a parameter of a tensor."""

    __slots__ = ()  # no room for anything that a pickle may want to leave here

    def __call__(self, made: Any, *how: Any) -> StoredTensor:
        """Return where the numbers are: offset, shape and strides of a storage, or a tensor as it is."""
        return made if isinstance(made, StoredTensor) else StoredTensor(*made, *how[:3])


class _InertUnpickler(pickle.Unpickler):
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
        raise BadInput(f"{self.name} needs {brief(f'{module}.{name}')}, which no AtomAI model uses; not opened")

    def persistent_load(self, pid: Any) -> tuple[torch.dtype, str]:
        """Return the type and the record of a storage."""
        _, dtype, record, _, _ = pid
        return dtype, record


def brief(value: object) -> str:
    """Return a value out of a file in one short line."""
    shortened = reprlib.Repr()
    shortened.maxstring = 80
    return shortened.repr(value)
