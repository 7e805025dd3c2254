"""A movie: frames of one file, read one by one."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from stem2sim.errors import BadInput
from stem2sim.image import Image, not_a_frame
from stem2sim.imaging.formats import open_image, read_frame
from stem2sim.imaging.pixel_size import pixel_size_in_words, settle_pixel_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from stem2sim.imaging.readers import ImageSource
    from stem2sim.imaging.stack_files import FrameSource

MEASURED_IN = 3
"""Frames, spread over the stack, in whose lattice a pixel size is measured if it is not stated; the median is used."""


class Stack:
    """Frames of one file in the memory of one frame; a file with a single frame is a stack of one.

    .npy, .npz, .tif, .h5 and Nion's files are read frame by frame, other vendors' at once. All frames have one pixel
    size. The file stays open until `close`, or the end of a `with` block.

    Raises:
        BadInput: as `ImageSource.read`, except that a frame with bad pixels is refused only when it is read; also
            where `image.frame` is given, or the file holds frames of different sizes.
    """

    def __init__(self, source: ImageSource) -> None:
        name = source.path.name
        if source.frame is not None:
            raise BadInput(f"image.frame = {source.frame} takes one frame of a stack; remove it to read all of them")
        self.path = source.path
        with ExitStack() as opened:
            contents = open_image(source.path, source.dataset, opened)
            if contents.no_stack:
                raise BadInput(f"{name} is not a stack: {contents.no_stack}")
            array = contents.array
            # one frame is a stack of one; what is neither, the check below names
            frames: FrameSource = array[None] if isinstance(array, np.ndarray) and array.ndim == 2 else array
            size = frames.shape
            if len(size) != 3 or size[0] == 0 or not_a_frame(size[1:]):
                raise BadInput(f"{name}: {not_a_frame(size[1:] if len(size) == 3 and size[0] else size)}")
            self._frames, self._metadata = frames, contents.metadata
            self.pixel_size, self.pixel_size_source, self.warnings = settle_pixel_size(
                name, contents.pixel_sizes, source.pixel_size, source.lattice_constant, self._sample
            )
            self._opened = opened.pop_all()

    def __len__(self) -> int:
        return self._frames.shape[0]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, columns of every frame."""
        _, rows, columns = self._frames.shape
        return rows, columns

    @property
    def field_of_view(self) -> tuple[float, float]:
        """Width and height [Å]."""
        return self.shape[1] * self.pixel_size, self.shape[0] * self.pixel_size

    def frame(self, number: int) -> Image:
        """Return one frame, counted from 0.

        Raises:
            BadInput: no such frame, or one that is damaged, has pixels that are not finite, or no contrast.
        """
        if not 0 <= number < len(self):
            raise BadInput(f"{self.path.name} has no frame {number}; it has frames 0 to {len(self) - 1}")
        return Image(
            pixels=self._pixels(number),
            pixel_size=self.pixel_size,
            source=f"{self.path}, frame {number}",
            pixel_size_source=self.pixel_size_source,
            warnings=self.warnings,
            metadata=self._metadata,
        )

    def __iter__(self) -> Iterator[Image]:
        return (self.frame(number) for number in range(len(self)))

    def describe(self) -> str:
        """Return what the frames are, in one line: how many, their size, their pixel size and where that is from."""
        rows, columns = self.shape
        size = f"{len(self)} frames of {columns} × {rows} pixels"
        return f"{self.path.name}: {size}, {pixel_size_in_words(self.pixel_size, self.pixel_size_source)}"

    def close(self) -> None:
        """Close the file."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: Any) -> None:
        self.close()

    def _pixels(self, number: int) -> NDArray[np.float32]:
        return read_frame(f"{self.path.name}, frame {number}", self._frames, number)

    def _sample(self) -> Iterator[NDArray[np.float32]]:
        last = len(self) - 1
        for number in sorted({round(place) for place in np.linspace(0, last, MEASURED_IN)}):
            with suppress(BadInput):  # another frame may be readable
                yield self._pixels(number)
