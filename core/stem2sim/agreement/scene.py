"""The part of an image that a structure covers: where its columns of atoms should be, and what was found there."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from stem2sim.analysis.placement import laid_out
from stem2sim.errors import BadInput
from stem2sim.geometry.bonds import groups
from stem2sim.geometry.columns import contents, label_of
from stem2sim.geometry.superposition import moved, superposed

if TYPE_CHECKING:
    from ase import Atoms

    from stem2sim.atoms_table import AtomsTable
    from stem2sim.geometry.affine import Affine
    from stem2sim.image import Image
    from stem2sim.segmentation import Segmentation

PIXEL = 0.21
"""[Å]; finer images are binned up to here, which loses nothing of a probe that is 0.6 Å wide or wider."""

MARGIN = 4.0
"""[Å] of the image round the structure that are compared as well."""

COLUMN = 0.4
"""[Å]; atoms closer than this in projection are one peak."""

OWN = 0.7
"""[Å]; half a bond: an atom found this close to a site of the structure is that site's."""

BORDER = 0.3
"""[Å]; closer to the border of the image, or beyond it, no site can be judged."""

Floats = NDArray[np.float64]


class Crop(NamedTuple):
    """A part of an image, on pixels no finer than they need be."""

    pixels: Floats
    """(rows, columns) intensities, any unit."""
    pixel_size: float
    """[Å]"""
    origin: Floats
    """(2,) x, y of the top-left pixel in the image [Å]."""

    @property
    def size(self) -> Floats:
        """(2,) width and height [Å]."""
        rows, columns = self.pixels.shape
        return np.array([columns * self.pixel_size, rows * self.pixel_size], dtype=np.float64)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, columns."""
        rows, columns = self.pixels.shape
        return int(rows), int(columns)

    @property
    def points(self) -> Floats:
        """(pixels, 2) x, y of every pixel, row by row, from the top-left one [Å]."""
        rows, columns = self.shape
        x, y = np.meshgrid(np.arange(columns), np.arange(rows))
        return np.asarray(np.column_stack([x.ravel(), y.ravel()]) * self.pixel_size, dtype=np.float64)


@dataclass(frozen=True)
class Scene:
    """A structure and the part of the image that it covers; positions count from the crop's origin."""

    atoms: Atoms
    """Of the structure."""
    positions: Floats
    """(atoms, 3) in the structure's own axes, without drift and rotation, unwrapped where its cell repeats [Å]."""
    placement: Affine
    """From x, y in the structure to x, y in the image [Å]."""
    crop: Crop
    members: list[tuple[int, ...]]
    """Atoms of each site, one above the other."""
    sites: Floats
    """(sites, 2) x, y of each [Å]."""
    border: Floats
    """(sites,) distance of each from the border of the image [Å]."""
    beyond: list[tuple[tuple[int, ...], Floats]]
    """Atoms, and x, y in the image [Å], of sites too close to its border, or outside."""
    table: AtomsTable
    """What the segmenter found in the crop."""

    @classmethod
    def of(cls, image: Image, segmentation: Segmentation, atoms: Atoms, built: Atoms) -> Self:
        """Cut out of an image what a structure covers.

        Args:
            image: to compare with.
            segmentation: of it.
            atoms: of the structure.
            built: the same atoms as they were measured; they decide where the structure lies.

        Raises:
            BadInput: the structure's place in the image is not known, is outside of it, or it has hydrogen only.
        """
        placement, unwrapped = laid_out(built, segmentation)
        positions = _at_rest(atoms, built) + (unwrapped if len(unwrapped) == len(atoms) else 0)
        heavy = np.flatnonzero(atoms.numbers != 1)
        if len(heavy) == 0:
            raise BadInput("there is no atom to compare with the image: hydrogen does not show in it")
        xy = placement.apply(positions[heavy, :2])
        close = cKDTree(xy).query_pairs(COLUMN, output_type="ndarray").reshape(-1, 2)
        column = groups(len(heavy), close[:, 0], close[:, 1])
        members = [tuple(int(k) for k in heavy[column == c]) for c in range(column.max() + 1)]
        every = np.array([xy[column == c].mean(axis=0) for c in range(len(members))])
        high = np.array(image.field_of_view) - image.pixel_size
        border = np.minimum(every, high - every).min(axis=1)
        inside = border > BORDER
        if not inside.any():
            raise BadInput("the structure lies outside of the image")
        crop = _cropped(image, every[inside])
        table = segmentation.atoms.chosen(segmentation.atoms.probability >= 0.5)
        covered = np.all((table.positions > crop.origin) & (table.positions < crop.origin + crop.size), axis=1)
        return cls(
            atoms=atoms,
            positions=positions,
            placement=placement,
            crop=crop,
            members=[m for m, one in zip(members, inside, strict=True) if one],
            sites=every[inside] - crop.origin,
            border=border[inside],
            beyond=[(m, at) for m, at, one in zip(members, every, inside, strict=True) if not one],
            table=table.chosen(np.asarray(covered)),
        )

    @cached_property
    def labels(self) -> list[str]:
        """What the structure has at each site, such as C, or C+Cr."""
        return [label_of(self.atoms.numbers[list(members)]) for members in self.members]

    @cached_property
    def _names(self) -> Counter[str]:
        return Counter(str(s) for s in self.table.species if contents(str(s)))

    @property
    def host(self) -> str:
        """The commonest column, as found; of the structure where nothing was found."""
        return (self._names or Counter(self.labels)).most_common(1)[0][0]

    @property
    def known(self) -> set[str]:
        """Every column that was found, or that the structure has."""
        return {*self._names, *self.labels}

    @cached_property
    def measured(self) -> Floats:
        """(atoms of the table, 2) where the segmenter found an atom [Å]."""
        return self.table.positions - self.crop.origin

    @property
    def others(self) -> Floats:
        """(atoms, 2) where it found one that is not the structure's [Å]."""
        if len(self.measured) == 0:
            return self.measured
        return np.asarray(self.measured[cKDTree(self.sites).query(self.measured)[0] > OWN])

    def species_at(self, xy: Floats) -> NDArray[np.str_]:
        """Return the species that the segmenter found at places (n, 2) [Å]; '' for nothing."""
        if len(self.measured) == 0:
            return np.full(len(xy), "")
        d, k = cKDTree(self.measured).query(xy)
        return np.where(d < OWN, self.table.species[k], "")


def _cropped(image: Image, xy: Floats) -> Crop:
    """Cut out what is round places (n, 2) [Å]."""
    k = max(1, int(PIXEL / image.pixel_size))
    low = np.clip(np.floor((xy.min(axis=0) - MARGIN) / image.pixel_size).astype(int), 0, None)
    high = np.minimum(np.ceil((xy.max(axis=0) + MARGIN) / image.pixel_size).astype(int), image.shape[::-1])
    columns, rows = (high - low) // k * k
    cut = image.pixels[low[1] : low[1] + rows, low[0] : low[0] + columns].astype(float)
    pixels = cut.reshape(rows // k, k, columns // k, k).mean(axis=(1, 3))
    return Crop(pixels, image.pixel_size * k, (low + (k - 1) / 2) * image.pixel_size)


def _at_rest(atoms: Atoms, built: Atoms) -> Floats:
    """Positions without the drift and the rotation that a simulation gave them (atoms, 3) [Å]."""
    if len(atoms) != len(built):
        return np.array(atoms.positions)
    if atoms.pbc.any():
        return np.asarray(built.positions + moved(built, atoms))
    heavy = atoms.numbers != 1
    if heavy.sum() < 3:
        return np.array(atoms.positions)
    return superposed(atoms.positions, built.positions, "in plane", heavy)
