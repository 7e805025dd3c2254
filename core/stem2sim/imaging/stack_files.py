"""Stacks that stay in their file until a frame is read."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from zipfile import ZipFile

    from numpy.typing import NDArray


class FrameSource(Protocol):
    """A stack as arrays, memory maps and HDF5 datasets are too: a shape, and one frame by its number."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(frames, rows, columns)."""

    def __getitem__(self, number: int, /) -> Any: ...


def npy_header(archive: ZipFile, name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Return shape, whether columns come first, type, and where the data begin, of one .npy file in a zip archive."""
    with archive.open(name) as file:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"version {version} of the .npy format holds named fields, not pixels")
        first = version == (1, 0)
        read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
        shape, columns_first, dtype = read(file)
        return shape, columns_first, dtype, file.tell()


def zipped(archive: ZipFile, name: str) -> NDArray[Any] | ZippedFrames:
    """Return one .npy file of a zip archive: a stack frame by frame, anything else at once. Never unpickles."""
    shape, columns_first, dtype, start = npy_header(archive, name)
    if len(shape) == 3 and not columns_first and not dtype.hasobject:
        return ZippedFrames(archive, name, shape, dtype, start)
    with archive.open(name) as file:
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    return array


class ZippedFrames:
    """A stack in a zip archive, compressed or not; quickest read from the first frame to the last."""

    def __init__(self, archive: ZipFile, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], start: int) -> None:
        self.shape = shape
        self._dtype, self._start = dtype, start
        self._file = archive.open(name)

    def __getitem__(self, number: int, /) -> NDArray[Any]:
        length = math.prod(self.shape[1:]) * self._dtype.itemsize
        self._file.seek(self._start + number * length)
        content = self._file.read(length)
        if len(content) < length:
            raise EOFError("the file is cut short")
        return np.frombuffer(content, self._dtype).reshape(self.shape[1:])


def mapped(array: np.memmap[Any, Any]) -> NDArray[Any] | MappedFrames:
    """Return a file that is mapped to memory: a stack frame by frame, anything else as it is."""
    if array.ndim == 3 and array.flags.c_contiguous and array.size:
        return MappedFrames(array)
    return array


class MappedFrames:
    """A stack in a plain file. Each frame is mapped by itself: a map of the whole file holds on to all it has read."""

    def __init__(self, whole: np.memmap[Any, Any]) -> None:
        self.shape = whole.shape
        self._file, self._dtype = str(whole.filename), whole.dtype
        self._start, self._step = whole.offset, whole.strides[0]

    def __getitem__(self, number: int, /) -> NDArray[Any]:
        start = self._start + number * self._step
        frame = np.memmap(self._file, self._dtype, mode="r", offset=start, shape=self.shape[1:])
        return np.array(frame)


class TiffFrames:
    """Pages of a TIFF file; colours are averaged."""

    def __init__(self, pages: Sequence[Any]) -> None:
        self._pages = pages
        page = pages[0]
        self.shape = (len(pages), *(n for n, axis in zip(page.shape, page.axes, strict=True) if axis != "S"))

    def __getitem__(self, number: int, /) -> NDArray[Any]:
        page = self._pages[number]
        array: NDArray[Any] = page.asarray()
        return array.mean(axis=page.axes.index("S")) if "S" in page.axes else array
