"""How far atoms are from where they were: measured, built and relaxed positions, rigid motion removed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from stem2sim.bonds import bond_lengths
from stem2sim.errors import BadInput
from stem2sim.frame import laid_out

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

    from stem2sim.segmentation import Segmentation
    from stem2sim.structure import Structure

FEWEST = 8
"""Measured atoms; an affine map has six parameters, and explains nearly all of where fewer are."""

Fit = Literal["rigid", "in plane", "affine"]


@dataclass(frozen=True)
class Displacement:
    """How far the heavy atoms of a structure moved along one axis, or in all."""

    axis: str
    """'x', 'y', 'z', 'in plane' or 'all'."""
    mean: float
    """Of the absolute values [Å]."""
    rms: float
    """Root mean square [Å]."""
    largest: float
    """Of the absolute values [Å]."""
    atom: int
    """Number of the atom that moved most, from 0."""
    bond: float
    """Mean length of the commonest kind of bond in the first structure [Å]; nan where it has none."""

    def share(self, value: float) -> float:
        """Return a displacement [Å] in percent of the bond length."""
        return 100 * value / self.bond

    def told(self) -> str:
        """Return it in words."""
        shares = [f"{value:.3f} Å ({self.share(value):.1f} %)" for value in (self.mean, self.rms, self.largest)]
        return f"{self.axis}: mean {shares[0]}, rms {shares[1]}, largest {shares[2]} at atom {self.atom}"

    def summary(self) -> dict[str, Any]:
        """Return it for programs."""
        given = asdict(self)
        return given | {f"{name}_percent": self.share(given[name]) for name in ("mean", "rms", "largest")}


def displacements(before: Atoms, after: Atoms, fit: Fit = "in plane") -> list[Displacement]:
    """Return how far heavy atoms moved along x, y and z, in the plane, and in all.

    Args:
        before: where they were.
        after: the same atoms in the same order; hydrogen counts for nothing.
        fit: what is removed first, as `moved` has it.

    Raises:
        BadInput: the atoms are not the same, or there is none.
    """
    if len(before) != len(after) or (before.numbers != after.numbers).any():
        raise BadInput(
            f"displacements need the same atoms in the same order, got {before.symbols} and {after.symbols}; "
            "compare structures of one build"
        )
    heavy = np.flatnonzero(before.numbers != 1)
    if len(heavy) == 0:
        raise BadInput("displacements need at least one atom that is not hydrogen, got none")
    d = moved(before[heavy], after[heavy], fit)
    lengths = max(bond_lengths(before[heavy]).values(), key=len, default=np.array([np.nan]))
    values = {
        **dict(zip("xyz", np.abs(d).T, strict=True)),
        "in plane": np.hypot(d[:, 0], d[:, 1]),
        "all": np.linalg.norm(d, axis=1),
    }
    return [
        Displacement(
            axis=axis,
            mean=float(v.mean()),
            rms=float(np.sqrt((v**2).mean())),
            largest=float(v.max()),
            atom=int(heavy[v.argmax()]),
            bond=float(lengths.mean()),
        )
        for axis, v in values.items()
    ]


def from_measured(segmentation: Segmentation, structure: Structure) -> list[Displacement]:
    """Return how far the atoms of a structure are from where they were measured, in the plane.

    An affine map is removed first: `place` calibrates and unstretches, so that is no displacement. It takes a part of
    every displacement with it, the larger the fewer atoms there are: three of n degrees of freedom along each axis, for
    which values are scaled by sqrt(n / (n - 3)).

    Args:
        segmentation: where the atoms were measured.
        structure: built of it; its array `source` says of which row each atom is, and added atoms do not count. What
            went through a border of its cell is taken back.

    Raises:
        BadInput: fewer than 8 atoms of the structure come from the table.
    """
    _, unwraps = laid_out(structure.atoms, segmentation)
    atoms = structure.atoms.copy()
    atoms.positions += unwraps
    source = atoms.arrays["source"]
    measured = np.flatnonzero((source >= 0) & (atoms.numbers != 1))
    n = len(np.unique(source[measured]))
    if n < FEWEST:
        raise BadInput(
            f"displacements from where atoms were measured need at least {FEWEST} atoms of the table, got {n}: an "
            "affine map explains nearly all of fewer"
        )
    after = atoms[measured]
    after.positions[:, 2] = 0
    before = after.copy()
    before.positions[:, :2] = segmentation.atoms.positions[source[measured]]
    before.pbc = after.pbc = False  # unwrapped
    found = displacements(before, after, "affine")
    lost = float(np.sqrt(n / (n - 3)))
    bond = float(max(bond_lengths(after).values(), key=len, default=np.array([np.nan])).mean())
    return [
        Displacement(d.axis, lost * d.mean, lost * d.rms, lost * d.largest, int(measured[d.atom]), bond)
        for d in found
        if d.axis in ("x", "y", "in plane")
    ]


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
        by: (atoms,) which of them count; the others go with them. All, if left out.
    """
    chosen = np.ones(len(moving), dtype=bool) if by is None else by
    middle, there = moving[chosen].mean(axis=0), onto[chosen].mean(axis=0)
    a, b = (moving - middle)[chosen], (onto - there)[chosen]
    axes = slice(0, 3 if fit == "rigid" else 2)
    if fit == "affine":
        turn = np.linalg.lstsq(a[:, axes], b[:, axes], rcond=None)[0]
    else:
        u, _, v = np.linalg.svd(a[:, axes].T @ b[:, axes])
        u[:, -1] *= np.sign(np.linalg.det(u @ v))
        turn = u @ v
    out = moving - middle
    out[:, axes] = out[:, axes] @ turn
    return np.asarray(out + there)
