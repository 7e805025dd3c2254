"""One set of atoms laid on another: rigid motions removed, nearest images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from stem2sim.geometry.affine import fit_affine

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray


Fit = Literal["rigid", "in plane", "affine"]


def moved(before: Atoms, after: Atoms, fit: Fit = "rigid") -> NDArray[np.float64]:
    """Return (atoms, 3) how far each atom moved [Å], less what one motion of them all explains best (least squares).

    Args:
        before: where they were.
        after: the same atoms. In a cell that is periodic, only a translation is removed, and the nearest image counts.
        fit: 'rigid' removes a translation and a rotation, 'in plane' a translation and a rotation about z, 'affine' a
            translation and any linear map of x and y, as of a frame with another pixel size or a stretch.
    """
    if before.pbc.any() and fit != "affine":
        d = nearest_image(after.positions - before.positions, before)
        # an atom beyond half a cell from the first would go elsewhere: bring all near the shift of that one
        d = nearest_image(d - d[:1], before)
        return np.asarray(d - d.mean(axis=0))
    return np.asarray(after.positions - superposed(before.positions, after.positions, fit))


def nearest_image(vectors: NDArray[np.float64], atoms: Atoms) -> NDArray[np.float64]:
    """Return (n, 3) vectors [Å] less whole vectors of the cell, so that none goes on over half of one."""
    if not atoms.pbc.any():
        return vectors
    cell = np.asarray(atoms.cell.complete())
    whole = np.where(atoms.pbc, np.round(vectors @ np.linalg.inv(cell)), 0)
    return np.asarray(vectors - whole @ cell)


def superposed(
    moving: NDArray[np.float64], onto: NDArray[np.float64], fit: Fit = "rigid", by: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Return (atoms, 3) positions moved onto others with the least squares of their distances.

    W. Kabsch, Acta Crystallogr. A 32, 922 (1976), doi 10.1107/S0567739476001873: a rotation, never a reflection, and
    no scale.

    Args:
        moving: (atoms, 3) [Å].
        onto: (atoms, 3) [Å].
        fit: as for `moved`.
        by: (atoms,) which of them count; the others go with them. Default: all.
    """
    chosen = np.ones(len(moving), dtype=bool) if by is None else by
    if fit == "affine":
        flat = fit_affine(moving[chosen, :2], onto[chosen, :2]).apply(moving[:, :2])
        return np.column_stack([flat, moving[:, 2] + (onto[chosen, 2] - moving[chosen, 2]).mean()])
    middle, there = moving[chosen].mean(axis=0), onto[chosen].mean(axis=0)
    a, b = (moving - middle)[chosen], (onto - there)[chosen]
    axes = slice(0, 3 if fit == "rigid" else 2)
    u, _, v = np.linalg.svd(a[:, axes].T @ b[:, axes])
    u[:, -1] *= np.sign(np.linalg.det(u @ v))
    out = moving - middle
    out[:, axes] = out[:, axes] @ (u @ v)
    return np.asarray(out + there)
