"""Image files to frames."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from stem2sim.errors import BadInput
from stem2sim.image import Image, not_a_frame
from stem2sim.imaging.formats import CHOSEN, open_image, read_frame
from stem2sim.imaging.pixel_size import pixel_size_in_words, settle_pixel_size


class ImageSource(BaseModel):
    """An image file, and which frame of it to read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path = Field(
        description="image file: .npy, .npz, .tif, .png, .h5 or .ndata1; other formats with the extra 'vendor'"
    )
    pixel_size: float | None = Field(None, gt=0, description="pixel size; default: the value in the file [Å]")
    lattice_constant: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="lattice constant of the material; a missing pixel size is derived from it [Å]",
    )
    frame: int | None = Field(None, ge=0, description="number of the frame in a stack, counted from 0")
    dataset: str | None = Field(None, description="name of the array in an .npz or .h5 file; default: the largest")

    def read(self) -> Image:
        """Read the frame.

        Raises:
            BadInput: no such file, unknown format, nothing in it that is a frame, no pixel size anywhere.
        """
        image = read_image(self.path, self.pixel_size, self.frame, self.dataset, self.lattice_constant)
        return image.read_by(self.model_dump(mode="json", exclude_none=True))


def described(image: Image) -> str:
    """Return what was read, in one line: its size, its pixel size and where that is from, which image of the file."""
    rows, columns = image.shape
    size = pixel_size_in_words(image.pixel_size, image.pixel_size_source)
    chosen = f"; {image.metadata[CHOSEN]}" if CHOSEN in image.metadata else ""
    return f"{Path(image.source).name}: {columns} × {rows} pixels, {size}{chosen}"


def read_image(
    path: Path,
    pixel_size: float | None = None,
    frame: int | None = None,
    dataset: str | None = None,
    lattice_constant: float | None = None,
) -> Image:
    """Return one frame of an image file; see `ImageSource` for the arguments.

    Raises:
        BadInput: as `ImageSource.read`.
    """
    path = Path(path)
    with ExitStack() as opened:
        contents = open_image(path, dataset, opened)
        array = contents.array
        if frame is None and array.shape[:1] == (1,) and len(array.shape) == 3:
            frame = 0
        elif frame is not None:
            _check_number(array.shape, frame)
        elif len(array.shape) != 2:
            raise BadInput(f"{path.name}: {not_a_frame(array.shape)}")
        pixels = read_frame(path.name, array, frame)
    size, origin, warnings = settle_pixel_size(
        path.name, contents.pixel_sizes, pixel_size, lattice_constant, lambda: iter([pixels])
    )
    try:
        return Image(
            pixels=pixels,
            pixel_size=size,
            source=str(path),
            pixel_size_source=origin,
            warnings=warnings,
            metadata=contents.metadata,
        )
    except BadInput as problem:
        raise BadInput(f"{path.name}: {problem}") from problem


def _check_number(shape: tuple[int, ...], frame: int) -> None:
    if len(shape) != 3:
        raise BadInput(f"image.frame = {frame} needs a stack of frames, this array has shape {shape}")
    if frame >= shape[0]:
        raise BadInput(f"image.frame = {frame} is outside the stack; it has frames 0 to {shape[0] - 1}")
