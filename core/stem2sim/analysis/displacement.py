"""How far atoms are from where they were: measured, built and relaxed positions, rigid motion removed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from stem2sim.analysis.placement import laid_out
from stem2sim.errors import BadInput
from stem2sim.geometry.bonds import Bonds
from stem2sim.geometry.superposition import Fit, moved

if TYPE_CHECKING:
    from ase import Atoms

    from stem2sim.segmentation import Segmentation
    from stem2sim.structure import Structure

FEWEST = 8
"""Measured atoms; an affine map has six parameters, and explains nearly all of where fewer are."""


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

    def describe(self) -> str:
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
    lengths = max(Bonds.of(before[heavy]).lengths().values(), key=len, default=np.array([np.nan]))
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
            f"displacements from measured positions need at least {FEWEST} measured atoms, got {n}: the affine fit "
            "removes nearly all of fewer"
        )
    after = atoms[measured]
    after.positions[:, 2] = 0
    before = after.copy()
    before.positions[:, :2] = segmentation.atoms.positions[source[measured]]
    before.pbc = after.pbc = False  # unwrapped
    fitted = displacements(before, after, "affine")
    lost = float(np.sqrt(n / (n - 3)))
    bond = float(max(Bonds.of(after).lengths().values(), key=len, default=np.array([np.nan])).mean())
    return [
        Displacement(d.axis, lost * d.mean, lost * d.rms, lost * d.largest, int(measured[d.atom]), bond)
        for d in fitted
        if d.axis in ("x", "y", "in plane")
    ]
