"""A two-dimensional material as the beam sees it: columns of atoms in a cell."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from ase.formula import Formula
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from stem2sim.errors import BadInput, nearest

if TYPE_CHECKING:
    from ase import Atoms

Floats = NDArray[np.float64]

SAME_COLUMN = 0.3
"""[Å]; atoms closer than this in projection are one column."""


def column_atoms(column: str) -> tuple[int, ...]:
    """Return the atomic numbers in a column: `"S2"` is two sulphur atoms above each other.

    Raises:
        BadInput: not a chemical formula.
    """
    try:
        counts = Formula(column).count()
        return tuple(atomic_numbers[symbol] for symbol, n in counts.items() for _ in range(n))
    except Exception:  # ase raises several kinds
        raise BadInput(f"'{column}' is not a column of atoms; write an element (Si) or a formula (S2)") from None


def brightness(column: str, exponent: float) -> float:
    """Return how strongly a column scatters, sum of Z^exponent."""
    return float(sum(z**exponent for z in column_atoms(column)))


@dataclass(frozen=True)
class Material:
    """A perfect sheet: a cell in the plane and its columns."""

    name: str
    cell: Floats
    """(2, 2) rows are the lattice vectors [Å]."""
    sites: Floats
    """(columns, 2) x, y in the cell [Å]."""
    columns: tuple[str, ...]
    """Formula of each column in the cell."""

    @classmethod
    def named(cls, name: str) -> Material:
        """Return a built-in material (`graphene`, `MoS2`), or one from a structure file that ASE reads (CIF, ...).

        Raises:
            BadInput: neither a known name nor a readable file, or a structure without a plane.
        """
        from ase.build import graphene, mx2
        from ase.io import read

        built_in = {"graphene": graphene, "mos2": lambda: mx2("MoS2", a=3.16, thickness=3.13)}
        if name.lower() in built_in:
            return cls.of(built_in[name.lower()](), name)
        path = Path(name)
        if not path.is_file():
            raise BadInput(
                f"no material '{name}': not a file, and not one of graphene, MoS2{nearest(name, list(built_in))}"
            )
        try:
            atoms = read(path)
        except Exception as problem:
            raise BadInput(f"cannot read a structure from {path.name}: {' '.join(str(problem).split())}") from problem
        assert not isinstance(atoms, list)
        return cls.of(atoms, path.stem)

    @classmethod
    def of(cls, atoms: Atoms, name: str = "") -> Material:
        """Return the sheet of a structure: its first two cell vectors, seen along the normal of their plane.

        Raises:
            BadInput: no cell in the plane.
        """
        a, b = np.asarray(atoms.cell[0]), np.asarray(atoms.cell[1])
        normal = np.cross(a, b)
        if np.linalg.norm(normal) < 1e-3:
            raise BadInput(f"{name or 'the structure'} has no cell in the plane: two lattice vectors [Å] are needed")
        along = a / np.linalg.norm(a)
        across = np.cross(normal / np.linalg.norm(normal), along)
        plane = np.array([along, across]).T
        cell = np.array([a, b]) @ plane
        flat = (atoms.positions @ plane) @ np.linalg.inv(cell)
        flat -= np.floor(flat + 1e-9)
        left = list(range(len(atoms)))
        sites, columns = [], []
        while left:
            first = left[0]
            away = flat[left] - flat[first]
            away -= np.round(away)
            same = [left[k] for k in np.flatnonzero(np.linalg.norm(away @ cell, axis=1) < SAME_COLUMN)]
            left = [k for k in left if k not in same]
            symbols = Formula.from_list([chemical_symbols[atoms.numbers[k]] for k in same])
            sites.append(flat[first] @ cell)
            columns.append(symbols.format("metal"))
        return cls(name, cell, np.array(sites), tuple(columns))

    @property
    def lattice_constant(self) -> float:
        """Length of the shortest lattice vector [Å]."""
        return float(np.linalg.norm(self.cell, axis=1).min())

    @property
    def bond_length(self) -> float:
        """Least distance between two columns [Å]."""
        i, j = (k.ravel() for k in np.mgrid[-1:2, -1:2])
        every = (np.stack([i, j], axis=1) @ self.cell)[:, None] + self.sites
        distances, _ = cKDTree(every.reshape(-1, 2)).query(self.sites, k=2)
        return float(distances[:, 1].min())

    def sheet(self, half_width: float) -> tuple[Floats, NDArray[np.str_]]:
        """Return x, y [Å] and column of each site within a square of twice the half width [Å] around the origin."""
        reach = 1.5 * half_width + np.linalg.norm(self.cell, axis=1).max()
        n = int(np.ceil(reach * np.linalg.norm(np.linalg.inv(self.cell), axis=0).max())) + 1
        i, j = (k.ravel() for k in np.mgrid[-n : n + 1, -n : n + 1])
        xy = ((np.stack([i, j], axis=1) @ self.cell)[:, None] + self.sites).reshape(-1, 2)
        columns = np.tile(np.array(self.columns), len(i))
        inside = (np.abs(xy) < half_width).all(axis=1)
        return xy[inside], columns[inside]
