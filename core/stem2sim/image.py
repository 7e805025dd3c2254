"""A micrograph: pixels and the size of one pixel."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr, field_validator

from stem2sim.noun import Noun

if TYPE_CHECKING:
    from matplotlib.axes import Axes


ORIGINS = {
    "given": "as given",
    "config": "as given",
    "file": "from the file",
    "lattice": "from the lattice in the image",
}
"""Of pixel sizes, in words."""


def origin_in_words(source: str) -> str:
    """Return where a pixel size is from, in words; `Image.pixel_size_source` has the word for it."""
    return ORIGINS.get(source, source)


def not_a_frame(shape: tuple[int, ...]) -> str:
    """Return why an array of this shape cannot be one frame; '' where it can."""
    if 0 in shape:
        return f"image is empty: shape {shape}"
    if len(shape) == 3:
        return (
            f"an image has two dimensions, this array has shape {shape}; if it is a stack of frames, "
            f"choose one with image.frame (0 to {shape[0] - 1})"
        )
    if len(shape) != 2:
        return f"an image has two dimensions (rows, columns), this array has shape {shape}"
    if min(shape) < 16:
        return f"image is too small to hold a lattice: shape {shape}, at least 16 × 16 required"
    return ""


def as_frame(value: Any) -> NDArray[np.float32]:
    """Return the pixels of a frame in single precision.

    Raises:
        ValueError: for anything but a finite, non-empty (rows, columns) array with contrast.
    """
    array = np.asarray(value)
    if complaint := not_a_frame(array.shape):
        raise ValueError(complaint)
    if array.dtype.kind not in "buif":
        raise ValueError(f"pixels must be real numbers, this array has dtype {array.dtype}")
    with np.errstate(over="ignore"):  # what single precision cannot hold becomes infinite, and is counted
        array = np.ascontiguousarray(array, dtype=np.float32)
    bad = int(array.size - np.isfinite(array).sum())
    if bad:
        raise ValueError(f"{bad} of {array.size} pixels are NaN or infinite; replace or crop them first")
    if array.min() == array.max():
        raise ValueError(f"image has no contrast: every pixel is {array.flat[0]}")
    return array


class Image(Noun):
    """One frame: origin top left, x along columns, y down rows.

    Raises:
        BadInput: for anything but a finite, non-empty (rows, columns) array with contrast, or a pixel
            size that is not positive.
    """

    pixels: NDArray[np.float32] = Field(description="(rows, columns) intensities, any unit", repr=False)
    pixel_size: float = Field(description="[Å] per pixel")
    source: str = Field("", description="where the image comes from")
    pixel_size_source: str = Field("given", description="origin of the pixel size: file, config, lattice or given")
    warnings: tuple[str, ...] = Field((), description="caveats")
    metadata: dict[str, Any] = Field(default_factory=dict, description="metadata of the file", repr=False)

    @field_validator("pixels", mode="before")
    @classmethod
    def _frame(cls, value: Any) -> NDArray[np.float32]:
        frame = as_frame(value)
        return frame.copy() if np.may_share_memory(frame, value) else frame  # who made it may go on changing it

    @field_validator("pixel_size")
    @classmethod
    def _positive(cls, value: float) -> float:
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f"pixel size must be positive, got {value} Å")
        return value

    _options: dict[str, Any] = PrivateAttr(default_factory=dict)

    @property
    def options(self) -> dict[str, Any]:
        """How it was read: the options of `[image]` in a config; empty for one that was made in memory."""
        return self._options

    def read_by(self, options: dict[str, Any]) -> Self:
        """Note how it was read, and return it."""
        self._options = options
        return self

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, columns."""
        rows, columns = self.pixels.shape
        return rows, columns

    @property
    def field_of_view(self) -> tuple[float, float]:
        """Width and height [Å]."""
        return self.shape[1] * self.pixel_size, self.shape[0] * self.pixel_size

    def describe(self) -> str:
        """Return size, pixel size and file name."""
        (rows, columns), (width, height) = self.shape, self.field_of_view
        size = f"{columns} × {rows} pixels of {self.pixel_size:.4g} Å, {width:.1f} × {height:.1f} Å"
        return f"{size}, {Path(self.source).name}" if self.source else size

    def facts(self) -> dict[str, str]:
        """Return sizes, the origin of the pixel size, and caveats."""
        (rows, columns), (width, height) = self.shape, self.field_of_view
        facts = {
            "image": Path(self.source).name,
            "pixels": f"{columns} × {rows}",
            "field of view": f"{width:.1f} × {height:.1f} Å",
            "pixel size": f"{self.pixel_size:.4g} Å ({origin_in_words(self.pixel_size_source)})",
            "caveats": "; ".join(self.warnings),
        }
        return {name: text for name, text in facts.items() if text}

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the frame in grey, axes in Å."""
        from stem2sim.drawing import frame, labelled, new_axes

        ax = ax or new_axes()
        frame(ax, self.pixels, self.pixel_size)
        return labelled(ax)

    def fingerprint(self) -> str:
        """Return a hash of pixels and pixel size: equal frames have equal fingerprints wherever they lie."""
        digest = hashlib.sha256(self.pixels.tobytes())
        digest.update(f"{self.shape} {self.pixel_size!r}".encode())
        return digest.hexdigest()
