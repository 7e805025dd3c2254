"""The user's own labelled frames, cut into patches on the canonical grid."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from stem2sim.atoms_table import AtomsTable
from stem2sim.errors import BadInput
from stem2sim.imaging.lattice import find_lattice
from stem2sim.imaging.readers import read_image
from stem2sim_unet.canonical_grid import Grid, normalise
from stem2sim_unet.material import brightness
from stem2sim_unet.synthetic import draw_labels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stem2sim.image import Image
    from stem2sim_unet.recipe import Recipe

PATCH = 128
"""Rows and columns of a patch [canonical pixels]."""

STRIDE = 64

IGNORED = 255
"""Label of pixels that are ignored: padding, and where the label is uncertain."""


class LabelledFrame(BaseModel):
    """One frame with its labels: a table of atoms, or a mask."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str] = "labelled"

    image: Path = Field(description="image file")
    frame: int | None = Field(None, ge=0, description="number of the frame in a stack, counted from 0")
    pixel_size: float | None = Field(None, gt=0, description="pixel size, for files that do not state it [Å]")
    atoms: Path | None = Field(None, description="table of all its atoms: x,y,species, positions in Å")
    mask: Path | None = Field(
        None, description=".npy or .png with the shape of the image; its values are indices into mask_classes, from 0"
    )
    mask_classes: tuple[str, ...] = Field((), description="class of each mask value, e.g. background, C, Si")
    calibrate: bool = Field(True, description="correct the scale from the lattice in the image, if one is found")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.atoms is None) == (self.mask is None):
            raise ValueError(f"{self.image.name}: give either atoms or mask")
        if (self.mask is None) == bool(self.mask_classes):
            raise ValueError(
                f"{self.image.name}: mask and mask_classes (the class of each value) are given together or not at all"
            )
        return self

    def patches(self, recipe: Recipe) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Return normalised patches (count, 128, 128) and their labels.

        Raises:
            BadInput: an image, table or mask that cannot be read or does not fit the classes.
        """
        image = read_image(self.image, self.pixel_size, self.frame)
        material = recipe.sheet_of
        lattice = find_lattice(image.pixels, image.pixel_size, material.lattice_constant) if self.calibrate else None
        grid = Grid.over(image.shape, lattice.matrix if lattice else image.pixel_size * np.eye(2))
        frame, _ = normalise(grid.resample(image.pixels))
        if self.atoms is not None:
            labels = self._from_atoms(self.atoms, image, grid, recipe)
        else:
            labels = self._from_mask(image.shape, grid, recipe)
        labels[~covered(grid, image.shape)] = IGNORED
        pixels, labels = cut(frame, labels)
        labelled = (labels != IGNORED).any(axis=(1, 2))  # a batch of nothing but ignored pixels has no loss
        return pixels[labelled], labels[labelled]

    def _from_atoms(self, path: Path, image: Image, grid: Grid, recipe: Recipe) -> NDArray[np.uint8]:
        table = AtomsTable.from_csv(path)
        unknown = sorted(set(table.species.tolist()) - set(recipe.species))
        if unknown:
            raise BadInput(f"{path.name} has {', '.join(unknown)}; the classes are {', '.join(recipe.species)}")
        pixels = table.positions / image.pixel_size
        if not ((pixels > -0.5) & (pixels < np.array(image.shape[::-1]) - 0.5)).all(axis=1).any():
            width, height = image.field_of_view
            raise BadInput(f"no atom of {path.name} lies in its image of {width:.4g} x {height:.4g} Å (x, y in Å)")
        species = np.array([recipe.species.index(s) for s in table.species], dtype=np.int64)
        order = np.argsort([brightness(name, 1.7) for name in recipe.species])
        return draw_labels(grid.from_image(pixels), species, grid.shape, order)

    def _from_mask(self, shape: tuple[int, int], grid: Grid, recipe: Recipe) -> NDArray[np.uint8]:
        assert self.mask is not None
        unknown = sorted(set(self.mask_classes) - set(recipe.classes))
        if unknown:
            raise BadInput(f"mask_classes has {', '.join(unknown)}; the classes are {', '.join(recipe.classes)}")
        values = _read_mask(self.mask)
        if values.shape != shape:
            raise BadInput(f"{self.mask.name} has shape {values.shape}, its image {shape}")
        if values.min() < 0 or values.max() >= len(self.mask_classes):
            raise BadInput(
                f"{self.mask.name} holds values {values.min()} to {values.max()}, mask_classes lists "
                f"{len(self.mask_classes)}: 0 to {len(self.mask_classes) - 1}"
            )
        own = np.array([recipe.classes.index(name) for name in self.mask_classes], dtype=np.uint8)
        column, row = np.rint(_pixel_positions(grid)).astype(int).T
        nearest = np.clip(row, 0, shape[0] - 1), np.clip(column, 0, shape[1] - 1)
        return np.asarray(own[values][nearest].reshape(grid.shape))


def _pixel_positions(grid: Grid) -> NDArray[np.float64]:
    """(pixels, 2) x, y in the image's pixels of each pixel of the grid."""
    rows, columns = np.indices(grid.shape)
    return grid.to_image(np.stack([columns.ravel(), rows.ravel()], axis=1).astype(float))


def covered(grid: Grid, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return where the grid (rows, columns) lies on the image, not beyond the border of a stretched or turned frame."""
    xy = _pixel_positions(grid)
    inside = ((xy >= -0.5) & (xy <= np.array(shape[::-1]) - 0.5)).all(axis=1)
    return np.asarray(inside.reshape(grid.shape))


def _read_mask(path: Path) -> NDArray[np.int64]:
    try:
        if path.suffix == ".npy":
            values = np.load(path, allow_pickle=False)
        else:
            from PIL import Image as Picture

            with Picture.open(path) as picture:
                values = np.asarray(picture)
    except Exception as problem:  # a damaged file can break its reader in any way
        raise BadInput(f"cannot read the mask {path.name}: {' '.join(str(problem).split())}") from None
    if values.ndim != 2 or values.dtype.kind not in "bui":
        raise BadInput(f"{path.name} must hold whole numbers in rows and columns, got {values.dtype} {values.shape}")
    return np.asarray(values, dtype=np.int64)


def cut(frame: NDArray[np.float32], labels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Cut a frame into overlapping patches; a small frame is padded with pixels that are ignored."""
    short = [(0, max(0, PATCH - n)) for n in frame.shape]
    frame = np.pad(frame, short, mode="symmetric")
    labels = np.pad(labels, short, constant_values=IGNORED)
    starts = [sorted({*range(0, n - PATCH, STRIDE), n - PATCH}) for n in frame.shape]
    corners = [(r, c) for r in starts[0] for c in starts[1]]
    return (
        np.stack([frame[r : r + PATCH, c : c + PATCH] for r, c in corners]),
        np.stack([labels[r : r + PATCH, c : c + PATCH] for r, c in corners]),
    )
