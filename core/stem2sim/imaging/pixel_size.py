"""The pixel size of an image file: given by the user, stated in the file, or measured from the frame's lattice."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from stem2sim.errors import BadInput
from stem2sim.image import origin_in_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

LARGEST_PIXEL = 100.0
"""[Å]; a larger one is a screen or print resolution, not a calibration of an atomic-resolution frame."""


def pixel_size_in_words(size: float, origin: str) -> str:
    """Return a pixel size [Å] and where it is from, in words."""
    return f"pixel size {size:.4g} Å, {origin_in_words(origin)}"


def settle_pixel_size(
    name: str,
    stated: tuple[float, float] | None,
    given: float | None,
    lattice_constant: float | None,
    frames: Callable[[], Iterator[NDArray[np.float32]]],
) -> tuple[float, str, tuple[str, ...]]:
    """Return the pixel size [Å], its origin, and warnings: as given by the user, else by the file, else by the lattice.

    Args:
        name: of the file.
        stated: in the file, along rows and columns [Å].
        given: by the user [Å].
        lattice_constant: of the material [Å].
        frames: yields the pixels to measure a lattice in.

    Raises:
        BadInput: it is given nowhere, and no lattice is found.
    """
    warnings = []
    in_file = None
    if stated is not None and all(0 < s < LARGEST_PIXEL for s in stated):
        in_file = math.sqrt(stated[0] * stated[1])
        if abs(stated[0] / stated[1] - 1) > 0.01:
            warnings.append(
                f"{name} states pixels of {stated[1]:.5g} Å along x and {stated[0]:.5g} Å along y; "
                f"square pixels of {in_file:.5g} Å are used"
            )
    if given is not None:
        if in_file is not None and abs(given / in_file - 1) > 0.05:
            warnings.append(
                f"the given pixel size is {given:.5g} Å, but {name} states {in_file:.5g} Å "
                f"({100 * (given / in_file - 1):+.0f} %); {given:.5g} Å is used"
            )
        return given, "config", tuple(warnings)
    if in_file is not None:
        return in_file, "file", tuple(warnings)
    if lattice_constant is None:
        raise BadInput(
            f"{name} does not state its pixel size; give it with --pixel-size 0.1 (in Å; in a config: "
            "image.pixel_size), or let it be measured from the lattice: --set image.lattice_constant=2.46 (graphene)"
        )
    from stem2sim.imaging.lattice import measured_pixel_size

    sizes = [size for pixels in frames() if (size := measured_pixel_size(pixels, lattice_constant)) is not None]
    if not sizes:
        raise BadInput(
            f"{name} does not state its pixel size, and no lattice of {lattice_constant:g} Å was found in it; give "
            "the pixel size with --pixel-size 0.1 (in Å), or check image.lattice_constant"
        )
    return float(np.median(sizes)), "lattice", ()
