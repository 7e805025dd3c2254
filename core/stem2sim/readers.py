"""Image files to frames: .npy .npz .tif .png .h5 here, vendor formats through RosettaSciIO where it is installed."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stem2sim.errors import BadInput
from stem2sim.image import Image

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

ANGSTROM = {
    "å": 1.0, "a": 1.0, "ang": 1.0, "angstrom": 1.0, "ångström": 1.0, "pm": 0.01, "nm": 10.0, "um": 1e4, "µm": 1e4,
    "μm": 1e4, "micron": 1e4, "mm": 1e7, "cm": 1e8, "m": 1e10, "inch": 2.54e8,
}  # fmt: skip
"""Å in one of each unit of length that files use (lower case)."""

LARGEST_PIXEL = 100.0
"""[Å]; a larger one is a screen or print resolution, not a calibration of an atomic-resolution frame."""

VENDOR = (".dm3", ".dm4", ".emd", ".ser", ".mrc")


class ImageSource(BaseModel):
    """Where the frame is, and what to take from it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path = Field(description="image file: .npy .npz .tif .png .h5, or a vendor format with the extra 'vendor'")
    pixel_size: float | None = Field(None, gt=0, description="size of one pixel, where the file does not say [Å]")
    frame: int | None = Field(None, ge=0, description="which frame of a stack, counted from 0")
    dataset: str | None = Field(None, description="which array of an .npz or .h5 file; the largest image if left out")

    def read(self) -> Image:
        """Read the frame.

        Raises:
            BadInput: no such file, unknown format, nothing in it that is a frame, no pixel size anywhere.
        """
        return read_image(self.path, pixel_size=self.pixel_size, frame=self.frame, dataset=self.dataset)


@dataclass
class _Raw:
    """What a file holds: an array, and the pixel sizes [Å] along rows and columns where it says."""

    array: NDArray[Any]
    pixel_sizes: tuple[float, float] | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


def read_image(
    path: Path, pixel_size: float | None = None, frame: int | None = None, dataset: str | None = None
) -> Image:
    """Return one frame of an image file; see `ImageSource` for the arguments.

    Raises:
        BadInput: as `ImageSource.read`.
    """
    path = Path(path)
    if not path.is_file():
        raise BadInput(f"no image file at {path}")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        known = " ".join(sorted(_READERS))
        raise BadInput(f"cannot read {path.name}: unknown image format '{path.suffix}'; known: {known}")
    try:
        raw = reader(path, dataset)
    except BadInput:
        raise
    except Exception as problem:  # a damaged file can break its reader in any way
        raise BadInput(f"cannot read {path.name}: {_one_line(problem)}") from problem
    array = _choose_frame(raw.array, frame)
    size, origin, warnings = _settle_pixel_size(path.name, raw.pixel_sizes, pixel_size)
    try:
        return Image(
            pixels=array,
            pixel_size=size,
            source=str(path),
            pixel_size_source=origin,
            warnings=warnings,
            metadata=raw.metadata,
        )
    except ValidationError as problem:
        raise BadInput(f"{path.name}: {problem.errors()[0]['ctx']['error']}") from problem


def _choose_frame(array: NDArray[Any], frame: int | None) -> NDArray[Any]:
    if frame is None:
        return array[0] if array.ndim == 3 and len(array) == 1 else array
    if array.ndim != 3:
        raise BadInput(f"image.frame = {frame} needs a stack of frames, this array has shape {array.shape}")
    if frame >= len(array):
        raise BadInput(f"image.frame = {frame} is outside the stack; it has frames 0 to {len(array) - 1}")
    chosen: NDArray[Any] = array[frame]
    return chosen


def _settle_pixel_size(
    name: str, stated: tuple[float, float] | None, given: float | None
) -> tuple[float, str, tuple[str, ...]]:
    warnings = []
    in_file = None
    if stated is not None and all(0 < s < LARGEST_PIXEL for s in stated):
        in_file = math.sqrt(stated[0] * stated[1])
        if abs(stated[0] / stated[1] - 1) > 0.01:
            warnings.append(
                f"{name} states pixels of {stated[1]:.5g} Å along x and {stated[0]:.5g} Å along y; "
                f"read as square pixels of {in_file:.5g} Å"
            )
    if given is not None:
        if in_file is not None and abs(given / in_file - 1) > 0.05:
            warnings.append(
                f"image.pixel_size is {given:.5g} Å, but {name} states {in_file:.5g} Å "
                f"({100 * (given / in_file - 1):+.0f} %); {given:.5g} Å is used"
            )
        return given, "config", tuple(warnings)
    if in_file is None:
        raise BadInput(f"{name} does not state its pixel size; give it with --set image.pixel_size=... [Å]")
    return in_file, "file", tuple(warnings)


def _one_line(problem: Exception) -> str:
    return " ".join(str(problem).split())[:200] or type(problem).__name__


def _npy(path: Path, dataset: str | None) -> _Raw:
    return _Raw(np.lib.format.open_memmap(path, mode="r"))  # lazy, and never unpickles


def _npz(path: Path, dataset: str | None) -> _Raw:
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    size = arrays.get("pixel_size")
    name = _pick(path, {n: a.shape for n, a in arrays.items() if a.ndim >= 2}, dataset)
    return _Raw(arrays[name], None if size is None or size.size != 1 else (float(size.item()), float(size.item())))


def _pick(path: Path, shapes: dict[str, tuple[int, ...]], dataset: str | None) -> str:
    if not shapes:
        raise BadInput(f"{path.name} holds no array with rows and columns")
    if dataset is None:
        return max(shapes, key=lambda n: math.prod(shapes[n]))
    if dataset.strip("/") not in shapes:
        raise BadInput(f"{path.name} has no image '{dataset}'; it has: {', '.join(sorted(shapes))}")
    return dataset.strip("/")


def _hdf5(path: Path, dataset: str | None) -> _Raw:
    import h5py

    with h5py.File(path, "r") as file:
        shapes: dict[str, tuple[int, ...]] = {}

        def note(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset) and item.ndim in (2, 3) and item.dtype.kind in "buif":
                shapes[name] = item.shape

        file.visititems(note)
        chosen = file[_pick(path, shapes, dataset)]
        attributes = {**dict(chosen.parent.attrs), **dict(chosen.attrs)}
        size = attributes.get("pixel_size")
        unit = attributes.get("pixel_size_unit", "Å")
        unit = unit.decode() if isinstance(unit, bytes) else str(unit)
        array = chosen[()]
    if size is None:
        return _Raw(array)
    try:
        sizes = np.broadcast_to(np.asarray(size, dtype=float), 2) * ANGSTROM[unit.lower()]
    except (KeyError, ValueError):
        raise BadInput(f"{path.name} states a pixel size of {size} '{unit}', which is not one or two lengths") from None
    return _Raw(array, (float(sizes[0]), float(sizes[1])))


def _png(path: Path, dataset: str | None) -> _Raw:
    from PIL import Image as Picture

    with Picture.open(path) as picture:
        grey = picture if picture.mode in ("L", "I", "F", "I;16") else picture.convert("L")
        return _Raw(np.asarray(grey))


def _tiff(path: Path, dataset: str | None) -> _Raw:
    import tifffile

    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        array = series.asarray()
        if array.ndim == 3 and series.axes.endswith("S"):
            array = array.mean(axis=2)
        return _Raw(array, _tiff_pixel_sizes(file), {"axes": series.axes})


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


def _vendor(path: Path, dataset: str | None) -> _Raw:
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
    except Exception as problem:  # a foreign reader on a foreign file: whatever it raises, the file cannot be read
        raise BadInput(f"cannot read {path.name}: {_one_line(problem)}") from problem
    images = [s for s in signals if np.ndim(s["data"]) in (2, 3)]
    if not images:
        raise BadInput(f"{path.name} holds no image, only: {[np.shape(s['data']) for s in signals]}")
    signal = max(images, key=lambda s: np.size(s["data"]))
    sizes = [float(a["scale"]) * ANGSTROM.get(str(a.get("units", "")).lower(), math.nan) for a in signal["axes"][-2:]]
    known = not any(math.isnan(s) for s in sizes)
    return _Raw(np.asarray(signal["data"]), (abs(sizes[0]), abs(sizes[1])) if known else None)


_READERS: dict[str, Callable[[Path, str | None], _Raw]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".tif": _tiff,
    ".tiff": _tiff,
    ".png": _png,
    ".h5": _hdf5,
    ".hdf5": _hdf5,
    **dict.fromkeys(VENDOR, _vendor),
}

READABLE = tuple(_READERS)
"""Suffixes of image files, lower case."""
