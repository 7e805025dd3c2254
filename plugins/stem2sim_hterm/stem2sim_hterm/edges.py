"""Where a sheet ends: at its rim, and at its holes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stem2sim.geometry.bonds import bonded_across, groups, neighbours
from stem2sim.geometry.columns import topmost
from stem2sim.geometry.pairs import pairs_within

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

WHOLE = 3
"""Neighbours of an atom within a sheet."""

ALONG_AN_EDGE = 3.0
"""[Å]; the next edge atom is a bond away, or two bonds (2.46 Å) at a zigzag edge. Across the smallest ring between two
edges it is further."""


def edge_atoms(atoms: Atoms) -> NDArray[np.bool_]:
    """Return (atoms,) which heavy atoms have fewer than three heavy neighbours; of a column only the top counts."""
    heavy = (atoms.numbers != 1) & topmost(atoms)
    count = np.array([int(heavy[near].sum()) for near in neighbours(atoms)], dtype=int)
    return np.asarray(heavy & (count < WHOLE))


def outer_edge(atoms: Atoms) -> NDArray[np.bool_]:
    """Return (atoms,) which edge atoms belong to the rim of the sheet, and not to a hole in it.

    Edge atoms that follow each other are one edge; those edges are rims that reach furthest out, in directions where
    the sheet does not repeat. One that repeats along both has no rim.
    """
    edge = np.flatnonzero(edge_atoms(atoms))
    rim = np.zeros(len(atoms), dtype=bool)
    if len(edge) == 0:
        return rim
    part = atoms[edge]
    i, j, _ = pairs_within(part, ALONG_AN_EDGE)
    label = groups(len(edge), i, j)
    outermost = set()
    for direction in _open(atoms):
        along = part.positions[:, :2] @ direction
        outermost |= {int(label[along.argmin()]), int(label[along.argmax()])}
    rim[edge[np.isin(label, sorted(outermost))]] = True
    return rim


def _open(atoms: Atoms) -> NDArray[np.float64]:
    """Directions in x, y, as rows, in which the sheet ends."""
    repeated = np.asarray(atoms.cell)[bonded_across(atoms)][:, :2].reshape(-1, 2)
    directions, lengths, _ = np.linalg.svd(repeated.T @ repeated)
    return np.asarray(directions.T[lengths < 1e-6])
