"""Atoms as a POSCAR has them: grouped by species, fixed components as flags along the cell's vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ase.constraints import FixAtoms, FixCartesian, FixedLine, FixedPlane, FixScaled

from stem2sim.errors import BadInput

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray


def grouped(atoms: Atoms) -> tuple[Atoms, NDArray[np.intp]]:
    """Return the atoms by atomic number, fixed as VASP fixes them, and the order: the k-th is atom `order[k]`.

    Raises:
        BadInput: a constraint that flags along the cell's vectors cannot express.
    """
    flags = fixed_components(atoms)
    order = np.argsort(atoms.numbers, kind="stable")
    sorted_atoms = atoms.copy()
    sorted_atoms.set_constraint()
    sorted_atoms = sorted_atoms[order]
    if flags.any():
        sorted_atoms.set_constraint([FixScaled(k, mask) for k, mask in enumerate(flags[order]) if mask.any()])
    return sorted_atoms, order


def fixed_components(atoms: Atoms) -> NDArray[np.bool_]:
    """Return (atoms, 3) whether motion along each vector of the cell is fixed.

    Raises:
        BadInput: a constraint that fixes motion along no vector, or set of vectors, of this cell.
    """
    flags = np.zeros((len(atoms), 3), dtype=bool)
    cell = np.asarray(atoms.cell)
    for constraint in atoms.constraints:
        if isinstance(constraint, FixAtoms):
            flags[constraint.index] = True
        elif isinstance(constraint, FixScaled):
            flags[constraint.index] |= np.asarray(constraint.mask, dtype=bool)
        elif (axes := _axes(constraint)) is not None and (vectors := _along(axes, cell)) is not None:
            flags[constraint.index] |= vectors
        else:
            problem = f"POSCAR fixes motion along the cell's vectors only, and {type(constraint).__name__} is not"
            if _axes(constraint) is None:
                raise BadInput(f"{problem}; fix whole atoms, or motion along x, y or z")
            angles = ", ".join(f"{a:.1f}" for a in atoms.cell.angles())
            raise BadInput(f"{problem}, in a cell with angles {angles} degrees; use an orthogonal cell to fix x, y, z")
    return flags


def _axes(constraint: object) -> NDArray[np.bool_] | None:
    """(3,) which of the axes x, y, z a constraint fixes; None where it fixes others."""
    if isinstance(constraint, FixCartesian):
        return np.asarray(constraint.mask, dtype=bool)
    if isinstance(constraint, FixedLine | FixedPlane):
        along = np.isclose(np.abs(constraint.dir), 1.0)
        if along.any():
            return np.asarray(~along if isinstance(constraint, FixedLine) else along)
    return None


def _along(axes: NDArray[np.bool_], cell: NDArray[np.float64]) -> NDArray[np.bool_] | None:
    """(3,) which vectors of the cell span just these of the axes x, y, z; None where none do."""
    there = np.abs(cell) > 1e-6 * np.abs(cell).max()
    within = ~(there & ~axes).any(axis=1)
    outside = ~(there & axes).any(axis=1)
    return within if (within ^ outside).all() and within.sum() == axes.sum() else None
