"""Formats of image files: .npy .npz .tif .png .h5 and Nion's here, other vendors' through RosettaSciIO if installed."""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ElementTree
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from stem2sim.errors import BadInput
from stem2sim.image import as_frame, not_a_frame
from stem2sim.imaging import nion
from stem2sim.imaging.stack_files import TiffFrames, mapped, npy_header, zipped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import ExitStack
    from pathlib import Path

    from numpy.typing import NDArray

    from stem2sim.imaging.stack_files import FrameSource

ANGSTROM = {
    "å": 1.0, "a": 1.0, "ang": 1.0, "angstrom": 1.0, "ångström": 1.0, "pm": 0.01, "nm": 10.0, "um": 1e4, "µm": 1e4,
    "μm": 1e4, "micron": 1e4, "mm": 1e7, "cm": 1e8, "m": 1e10, "inch": 2.54e8,
}  # fmt: skip
"""Å in one of each unit of length that files use (lower case)."""

CHOSEN = "chosen"
"""Key of the metadata of an image: which of several images in its file it is, and how to choose another."""

VENDOR = (".dm3", ".dm4", ".emd", ".ser", ".mrc")


@dataclass
class FileContents:
    """Contents of a file: one array, or frames still to be read, and their metadata."""

    array: NDArray[Any] | FrameSource
    pixel_sizes: tuple[float, float] | None = None
    """Along rows and columns [Å]."""
    metadata: dict[str, Any] = field(default_factory=dict)
    no_stack: str = ""
    """Why not all of the file is one stack of frames."""


def open_image(path: Path, dataset: str | None, opened: ExitStack) -> FileContents:
    """Open an image file; it stays open until `opened` ends, and frames of a stack are read one by one.

    Raises:
        BadInput: no such file, unknown format, nothing in it that is an image.
    """
    if not path.is_file():
        raise BadInput(f"no image file at {path}")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        known = " ".join(sorted(_READERS))
        raise BadInput(f"cannot read {path.name}: unknown image format '{path.suffix}'; known: {known}")
    with _readable(path.name):
        return reader(path, dataset, opened)


def read_frame(name: str, array: NDArray[Any] | FrameSource, frame: int | None) -> NDArray[np.float32]:
    """Return the pixels of one frame of a stack (None: of the only one), `name` in front of whatever is wrong.

    Raises:
        BadInput: damaged, or no frame.
    """
    with _readable(name):
        pixels = array if frame is None else array[frame]
        try:
            return as_frame(pixels)
        except ValueError as problem:
            raise BadInput(f"{name}: {problem}") from problem


@contextmanager
def _readable(name: str) -> Iterator[None]:
    try:
        yield
    except BadInput:
        raise
    except Exception as problem:  # a damaged file can break its reader in any way
        raise BadInput(f"cannot read {name}: {_one_line(problem)}") from problem


def _one_line(problem: Exception) -> str:
    return " ".join(str(problem).split())[:200] or type(problem).__name__


def _npy(path: Path, dataset: str | None, opened: ExitStack) -> FileContents:
    return FileContents(mapped(np.lib.format.open_memmap(path, mode="r")))  # lazy, and never unpickles


def _npz(path: Path, dataset: str | None, opened: ExitStack) -> FileContents:
    archive = opened.enter_context(zipfile.ZipFile(path))
    shapes = {m.removesuffix(".npy"): npy_header(archive, m)[0] for m in archive.namelist() if m.endswith(".npy")}
    stated = None
    if shapes.get("pixel_size", (0,)) in ((), (1,)):
        size = np.asarray(zipped(archive, "pixel_size.npy")).item()
        stated = float(size), float(size)
    images = {name: shape for name, shape in shapes.items() if len(shape) >= 2}
    name = _pick(path, images, dataset)
    return FileContents(zipped(archive, f"{name}.npy"), stated, _chosen(name, images))


def _ndata(path: Path, dataset: str | None, opened: ExitStack) -> FileContents:
    archive = opened.enter_context(zipfile.ZipFile(path))
    members = archive.namelist()
    if "data.npy" not in members:
        raise BadInput(f"{path.name} is not a Nion file: it holds no data.npy")
    array = zipped(archive, "data.npy")
    metadata = json.loads(archive.read("metadata.json")) if "metadata.json" in members else {}
    return FileContents(array, _nion_pixel_sizes(path, metadata if isinstance(metadata, dict) else {}, array.shape))


def _nion_pixel_sizes(path: Path, metadata: dict[str, Any], shape: tuple[int, ...]) -> tuple[float, float] | None:
    pixels = nion.pixel_calibrations(path.name, metadata, shape)
    sizes = [size * ANGSTROM.get(unit.lower(), math.nan) for size, unit in pixels]
    return (sizes[0], sizes[1]) if sizes and not math.isnan(sum(sizes)) else None


def _pick(path: Path, shapes: dict[str, tuple[int, ...]], dataset: str | None) -> str:
    if not shapes:
        raise BadInput(f"{path.name} holds no array with rows and columns")
    if dataset is None:
        return max(shapes, key=lambda n: math.prod(shapes[n]))
    if dataset.strip("/") not in shapes:
        raise BadInput(f"{path.name} has no image '{dataset}'; it has: {', '.join(sorted(shapes))}")
    return dataset.strip("/")


def _chosen(name: str, images: dict[str, Any]) -> dict[str, str]:
    """What the metadata say of a choice among the images of a file."""
    others = [one for one in sorted(images) if one != name]
    if not others:
        return {}
    more = f" and {len(others) - 3} more" if len(others) > 3 else ""
    how = f"--set image.dataset=NAME reads another: {', '.join(others[:3])}{more}"
    return {CHOSEN: f"this is {name}, one of {len(images)} images in the file ({how})"}


def _hdf5(path: Path, dataset: str | None, opened: ExitStack) -> FileContents:
    import h5py

    file = opened.enter_context(h5py.File(path, "r"))
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.ndim in (2, 3) and item.dtype.kind in "buif":
            shapes[name] = item.shape

    file.visititems(note)
    name = _pick(path, shapes, dataset)
    chosen = file[name]
    attributes = {**dict(chosen.parent.attrs), **dict(chosen.attrs)}
    size = attributes.get("pixel_size")
    unit = attributes.get("pixel_size_unit", "Å")
    unit = unit.decode() if isinstance(unit, bytes) else str(unit)
    array = chosen if chosen.ndim == 3 else chosen[()]
    metadata = nion.properties(attributes.get("properties"))
    choice = _chosen(name, shapes)
    if size is None:
        stated = None if metadata is None else _nion_pixel_sizes(path, metadata, chosen.shape)
        return FileContents(array, stated, choice)
    try:
        sizes = np.broadcast_to(np.asarray(size, dtype=float), 2) * ANGSTROM[unit.lower()]
    except (KeyError, ValueError):
        raise BadInput(f"{path.name} states a pixel size of {size} '{unit}', which is not one or two lengths") from None
    return FileContents(array, (float(sizes[0]), float(sizes[1])), choice)


def _png(path: Path, dataset: str | None, opened: ExitStack) -> FileContents:
    from PIL import Image as Picture

    with Picture.open(path) as picture:
        grey = picture if picture.mode in ("L", "I", "F", "I;16") else picture.convert("L")
        return FileContents(np.asarray(grey))


def _tiff(path: Path, dataset: str | None, opened: ExitStack) -> FileContents:
    import tifffile

    file = opened.enter_context(tifffile.TiffFile(path))
    series = file.series[0]
    pages: Any = file.pages
    contents = FileContents(np.empty(0), _tiff_pixel_sizes(file), {"axes": series.axes})
    axes = series.axes.replace("S", "")
    if len(axes) > 3:  # its pages differ in more than the time they were taken at
        raise BadInput(f"{path.name}: {not_a_frame(series.shape)}")
    if len(pages) == 1 and len(axes) == 3 and series.shape[0] > 1:  # written as one block under one page
        contents.array = mapped(tifffile.memmap(path, mode="r"))
        return contents
    first = pages[0].shape
    odd = next(((number, page.shape) for number, page in enumerate(pages) if page.shape != first), None)
    if odd is not None:
        contents.no_stack = f"page {odd[0]} has shape {odd[1]}, page 0 has {first}; a stack has frames of one size"
        pages = series.pages
    frames = TiffFrames(pages)
    contents.array = frames if len(pages) > 1 else frames[0]
    return contents


def _tiff_pixel_sizes(file: Any) -> tuple[float, float] | None:
    """OME first, then ImageJ, then the resolution tags with a unit of length."""
    if file.ome_metadata:
        pixels = next((e for e in ElementTree.fromstring(file.ome_metadata).iter() if e.tag.endswith("}Pixels")), None)
        if pixels is not None and "PhysicalSizeX" in pixels.attrib:
            x = float(pixels.attrib["PhysicalSizeX"]) * ANGSTROM.get(
                pixels.attrib.get("PhysicalSizeXUnit", "µm").lower(), math.nan
            )
            y = float(pixels.attrib.get("PhysicalSizeY", "nan")) * ANGSTROM.get(
                pixels.attrib.get("PhysicalSizeYUnit", "µm").lower(), math.nan
            )
            if not math.isnan(x):
                return (x if math.isnan(y) else y), x
    tags = file.pages[0].tags
    if "XResolution" not in tags or "YResolution" not in tags:
        return None
    per_unit = []
    for tag in ("YResolution", "XResolution"):
        numerator, denominator = tags[tag].value
        if not numerator or not denominator:
            return None
        per_unit.append(numerator / denominator)
    if file.imagej_metadata:
        text = str(file.imagej_metadata.get("unit", ""))
        unit = re.sub(r"\\u([0-9a-fA-F]{4})", lambda m: chr(int(m[1], 16)), text).lower()
    else:
        unit = {2: "inch", 3: "cm"}.get(int(tags["ResolutionUnit"].value) if "ResolutionUnit" in tags else 2, "")
    length = ANGSTROM.get(unit)
    return None if length is None else (length / per_unit[0], length / per_unit[1])


def _vendor(path: Path, dataset: str | None, opened: ExitStack) -> FileContents:
    try:
        import rsciio
    except ModuleNotFoundError as missing:
        raise BadInput(f"{path.suffix} files need RosettaSciIO: pip install 'stem2sim[vendor]'") from missing
    import importlib

    suffix = path.suffix.lower().lstrip(".")
    # a format whose own suffix this is comes first: .mrc is MRC before it is a compressed MRCZ
    plugins = [p for p in rsciio.IO_PLUGINS if suffix in p["file_extensions"]]
    plugin = min(plugins, key=lambda p: p["file_extensions"][p["default_extension"]] != suffix)
    try:
        signals = importlib.import_module(plugin["api"]).file_reader(str(path))
    except Exception as problem:  # whatever the reader raises, the file cannot be read
        raise BadInput(f"cannot read {path.name}: {_one_line(problem)}") from problem
    images = [s for s in signals if np.ndim(s["data"]) in (2, 3)]
    if not images:
        raise BadInput(f"{path.name} holds no image, only: {[np.shape(s['data']) for s in signals]}")
    signal = max(images, key=lambda s: np.size(s["data"]))
    sizes = [float(a["scale"]) * ANGSTROM.get(str(a.get("units", "")).lower(), math.nan) for a in signal["axes"][-2:]]
    known = not any(math.isnan(s) for s in sizes)
    chosen = {CHOSEN: f"this is the largest of {len(images)} images in the file"} if len(images) > 1 else {}
    return FileContents(np.asarray(signal["data"]), (abs(sizes[0]), abs(sizes[1])) if known else None, chosen)


_READERS: dict[str, Callable[[Path, str | None, ExitStack], FileContents]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".tif": _tiff,
    ".tiff": _tiff,
    ".png": _png,
    ".h5": _hdf5,
    ".hdf5": _hdf5,
    ".nhdf": _hdf5,
    ".ndata": _ndata,
    ".ndata1": _ndata,
    **dict.fromkeys(VENDOR, _vendor),
}

READABLE = tuple(_READERS)
"""Suffixes of image files, lower case."""
