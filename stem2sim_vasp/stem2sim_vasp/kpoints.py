"""The k-point mesh: as dense as asked along periodic directions, one point along the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stem2sim.analysis.validation import LEAST_GAP

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

SPACING = 0.22
"""[1/Å]; what the Materials Project takes for metals (MPScanRelaxSet of pymatgen, after Wisesa, McGill and Mueller,
Phys. Rev. B 93, 155109 (2016)): whether a structure has a band gap is not known beforehand."""

PERIODIC = "periodic axes"
"""Key in `Atoms.info` of which vectors were periodic before the cell was made VASP's, which repeats along all."""


def mesh_of(atoms: Atoms, spacing: float) -> tuple[int, int, int]:
    """Return the number of k-points along each reciprocal vector.

    Args:
        atoms: in a cell.
        spacing: largest distance between points along periodic directions, 2π included [1/Å], as VASP's KSPACING.
    """
    lengths = 2 * np.pi / _heights(atoms)
    points = np.where(periodic_axes(atoms), np.ceil(lengths / spacing - 1e-6), 1)
    a, b, c = (max(1, int(n)) for n in points)
    return a, b, c


def periodic_axes(atoms: Atoms) -> NDArray[np.bool_]:
    """Return (3,) along which vectors of the cell a structure repeats: it is periodic there, without vacuum between."""
    share = np.sort(atoms.get_scaled_positions(wrap=True), axis=0)
    gaps = np.diff(np.vstack([share, share[:1] + 1]), axis=0).max(axis=0) * _heights(atoms)
    bulk = (gaps < LEAST_GAP) | (_heights(atoms) < LEAST_GAP)
    axes: NDArray[np.bool_] = np.asarray(atoms.info.get(PERIODIC, atoms.pbc), dtype=bool) & bulk
    return axes


def warnings_of_mesh(atoms: Atoms, mesh: tuple[int, int, int]) -> list[str]:
    """Return a warning where only one k-point lies along a direction in which the structure repeats."""
    heights = _heights(atoms)
    single = [axis for axis in range(3) if mesh[axis] == 1 and periodic_axes(atoms)[axis]]
    if not single:
        return []
    named = ", ".join(f"{'abc'[axis]} ({heights[axis]:.1f} Å)" for axis in single)
    return [
        f"only one k-point along {named}, where the structure is periodic: check the convergence with kpoints, or "
        "choose the mesh with a smaller kspacing"
    ]


def _heights(atoms: Atoms) -> NDArray[np.float64]:
    """Distances between the faces of the cell [Å]."""
    heights: NDArray[np.float64] = 1 / np.linalg.norm(np.linalg.inv(np.asarray(atoms.cell)), axis=0)
    return heights
