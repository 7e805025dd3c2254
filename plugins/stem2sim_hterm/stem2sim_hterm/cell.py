"""A cell around a structure."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from ase.cell import Cell as AseCell
from pydantic import Field, model_validator

from stem2sim.errors import BadInput
from stem2sim.geometry.pairs import SLACK
from stem2sim.stages import Builder
from stem2sim.structure import CLOSEST, VACUUM

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stem2sim.segmentation import Segmentation
    from stem2sim.structure import Structure

Vector = tuple[float, float, float]

LARGEST = 1000.0
"""[Å]; of a cell that any engine could hold."""

FLATTEST = 1e-3
"""Least volume over the product of the three lengths: below it the vectors span no cell."""


class Cell(Builder):
    """Place the structure in a cell: a vacuum box, a cube, or any lattice given by its parameters or vectors."""

    name: ClassVar[str] = "cell"

    vacuum: float | Vector = Field(
        VACUUM, description="vacuum on each side of the box: one number, or one for each axis [Å]"
    )
    cubic: bool = Field(False, description="use the smallest cube with this vacuum")
    edge: float | None = Field(None, gt=0, le=LARGEST, description="edge length of a cubic cell [Å]")
    parameters: tuple[float, float, float, float, float, float] | None = Field(
        None,
        description="parameters of any Bravais lattice: a, b, c [Å], alpha, beta, gamma [degrees]; a along x, "
        "b in the xy plane",
    )
    vectors: tuple[Vector, Vector, Vector] | None = Field(
        None, description="the three cell vectors, x, y, z of each [Å]"
    )
    periodic: tuple[bool, bool, bool] | None = Field(
        None, description="periodic directions; default: all for parameters and vectors, otherwise none"
    )

    @model_validator(mode="after")
    def _one_shape(self) -> Self:
        given = [name for name in ("edge", "parameters", "vectors") if getattr(self, name) is not None]
        given += ["cubic"] if self.cubic else []
        if len(given) > 1:
            raise ValueError(f"give a cell in one way, not by {' and '.join(given)}")
        if given and self.vacuum != VACUUM and not self.cubic:
            raise ValueError(f"vacuum defines a box of its own; remove it, or remove {given[0]}")
        if not 0 <= min(self._vacuum) <= max(self._vacuum) <= LARGEST:
            raise ValueError(f"vacuum must be 0 to {LARGEST:g} Å, got {self.vacuum} Å")
        return self

    @property
    def _vacuum(self) -> Vector:
        return self.vacuum if isinstance(self.vacuum, tuple) else (self.vacuum,) * 3

    def methods(self) -> str:
        """Return the sentence for the methods section."""
        if self.parameters is not None:
            a, b, c, *angles = (f"{value:g}" for value in self.parameters)
            return (
                f"The structure was placed in a cell with a = {a}, b = {b}, c = {c} Å and angles of "
                f"{', '.join(angles)}°."
            )
        if self.vectors is not None:
            vectors = ", ".join("(" + ", ".join(f"{x:g}" for x in vector) + ")" for vector in self.vectors)
            return f"The structure was placed in a cell with the vectors {vectors} Å."
        if self.edge is not None:
            return f"The structure was placed in a cubic cell with an edge of {self.edge:g} Å."
        box = "cubic cell" if self.cubic else "cell"
        several = len(set(self._vacuum)) > 1
        vacuum = ", ".join(f"{v:g}" for v in self._vacuum) if several else f"{self._vacuum[0]:g}"
        along = " along x, y and z" if several else ""
        return f"The structure was placed in a {box} with {vacuum} Å of vacuum on each side{along}."

    def build(self, structure: Structure, segmentation: Segmentation) -> Iterator[Structure]:
        """Yield the structure in the middle of its cell; nothing is turned or mirrored."""
        atoms = structure.atoms.copy()
        if len(atoms) == 0:
            raise BadInput("there are no atoms to put into a cell; put place before cell")
        if atoms.pbc.any():
            raise BadInput("the structure is already in a periodic cell; remove one of the two builders")
        extent = np.ptp(atoms.positions, axis=0)
        cell = self._cell(extent)
        lattice = self.parameters is not None or self.vectors is not None
        atoms.set_cell(cell)
        atoms.pbc = self.periodic if self.periodic is not None else (lattice,) * 3
        low, high = atoms.positions.min(axis=0), atoms.positions.max(axis=0)
        atoms.translate(cell.sum(axis=0) / 2 - (low + high) / 2)
        made = structure.after(self.provenance(), atoms, _describe(cell, atoms.pbc))
        _check_room(cell, atoms.positions, atoms.pbc, extent)
        made.check_distances(advice="the cell is too small: atoms meet across its border; choose a larger one")
        yield made

    def _cell(self, extent: np.ndarray) -> np.ndarray:
        if self.vectors is not None:
            return _checked(np.array(self.vectors))
        if self.parameters is not None:
            try:
                cell = np.asarray(AseCell.fromcellpar(self.parameters))
            except (AssertionError, ValueError, ZeroDivisionError):
                cell = np.full((3, 3), np.nan)
            return _checked(cell, f"parameters {', '.join(f'{p:g}' for p in self.parameters)}")
        if self.edge is not None:
            return np.eye(3) * self.edge
        box = extent + 2 * np.array(self._vacuum)
        if box.min() < CLOSEST - SLACK:
            axis = "xyz"[int(box.argmin())]
            raise BadInput(f"the box is {box.min():.2f} Å along {axis}: the structure is flat there and needs vacuum")
        return np.eye(3) * float(box.max()) if self.cubic else np.diag(box)


def _checked(cell: np.ndarray, title: str = "vectors") -> np.ndarray:
    lengths = np.linalg.norm(cell, axis=1)
    volume = float(np.linalg.det(cell)) if np.isfinite(cell).all() else 0.0
    if not (lengths > 0).all() or abs(volume) < FLATTEST * float(np.prod(lengths)) or not np.isfinite(volume):
        raise BadInput(f"{title} span no volume; give three vectors that do not lie in one plane")
    if volume < 0:
        raise BadInput(f"{title} are left-handed; exchange two of them (structures are right-handed)")
    return cell


def _check_room(cell: np.ndarray, positions: np.ndarray, periodic: np.ndarray, extent: np.ndarray) -> None:
    """Where it does not repeat, every atom must lie within the cell."""
    share = positions @ np.linalg.inv(cell)
    outside = ((share < -1e-9) | (share > 1 + 1e-9)) & ~periodic
    if outside.any():
        k = int(outside.any(axis=0).argmax())
        needed = float(np.ptp(share[:, k]) * np.linalg.norm(cell[k]))
        raise BadInput(
            f"the cell is too small: the structure needs {needed:.2f} Å along vector {'abc'[k]}, which is "
            f"{np.linalg.norm(cell[k]):.2f} Å long (the structure is {extent[0]:.1f} x {extent[1]:.1f} x "
            f"{extent[2]:.1f} Å)"
        )


def _describe(cell: np.ndarray, periodic: np.ndarray) -> str:
    lengths = " x ".join(f"{length:.3f}" for length in np.linalg.norm(cell, axis=1))
    angles = AseCell(cell).angles()
    skew = "" if np.allclose(angles, 90) else f", angles {', '.join(f'{a:.1f}' for a in angles)} degrees"
    along = "".join(axis for axis, is_so in zip("abc", periodic, strict=True) if is_so)
    return f"cell {lengths} Å{skew}, {'periodic along ' + along if along else 'not periodic'}"
