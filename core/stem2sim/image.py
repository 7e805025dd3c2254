"""A micrograph: pixels and the size of one pixel."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator


class Image(BaseModel):
    """One frame: origin top left, x along columns, y down rows.

    Raises:
        pydantic.ValidationError: for anything but a finite, non-empty (rows, columns) array with contrast, or a pixel
            size that is not positive.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    pixels: NDArray[np.float32] = Field(description="(rows, columns) intensities, any unit", repr=False)
    pixel_size: float = Field(description="[Å] per pixel")
    source: str = Field("", description="where the frame came from")
    pixel_size_source: str = Field("given", description="what the pixel size rests on: file, config or given")
    warnings: tuple[str, ...] = Field((), description="what a reader of the results should know about the frame")
    metadata: dict[str, Any] = Field(default_factory=dict, description="what the file said about the frame", repr=False)

    @field_validator("pixels", mode="before")
    @classmethod
    def _frame(cls, value: Any) -> NDArray[np.float32]:
        array = np.asarray(value)
        if array.size == 0:
            raise ValueError(f"image is empty: shape {array.shape}")
        if array.ndim == 3:
            raise ValueError(
                f"a frame has two dimensions, this array has shape {array.shape}; if it is a stack of frames, "
                f"choose one with image.frame (0 to {len(array) - 1})"
            )
        if array.ndim != 2:
            raise ValueError(f"a frame has two dimensions (rows, columns), this array has shape {array.shape}")
        if array.dtype.kind not in "buif":
            raise ValueError(f"pixels must be real numbers, this array holds {array.dtype}")
        if min(array.shape) < 16:
            raise ValueError(f"image is too small to hold a lattice: shape {array.shape}, at least 16 x 16 needed")
        with np.errstate(over="ignore"):  # what single precision cannot hold becomes infinite, and is counted
            array = np.ascontiguousarray(array, dtype=np.float32)
        bad = int(array.size - np.isfinite(array).sum())
        if bad:
            raise ValueError(f"{bad} of {array.size} pixels are NaN or infinite; replace or crop them first")
        if array.min() == array.max():
            raise ValueError(f"image has no contrast: every pixel is {array.flat[0]}")
        return array

    @field_validator("pixel_size")
    @classmethod
    def _positive(cls, value: float) -> float:
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f"pixel size must be positive, got {value} Å")
        return value

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, columns."""
        rows, columns = self.pixels.shape
        return rows, columns

    @property
    def field_of_view(self) -> tuple[float, float]:
        """Width and height [Å]."""
        return self.shape[1] * self.pixel_size, self.shape[0] * self.pixel_size

    def fingerprint(self) -> str:
        """Return a hash of pixels and pixel size: equal frames have equal fingerprints wherever they lie."""
        digest = hashlib.sha256(self.pixels.tobytes())
        digest.update(f"{self.shape} {self.pixel_size!r}".encode())
        return digest.hexdigest()
