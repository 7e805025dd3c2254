"""Where a sheet ends: at its rim, and at its holes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stem2sim.geometry.bonds import groups
from stem2sim.geometry.pairs import near_pairs
from stem2sim.geometry.rings import of_the_sheet

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stem2sim.geometry.bonds import Bonds

WHOLE = 3
"""Neighbours of an atom within a sheet."""

ALONG_AN_EDGE = 3.0
"""[Å]; the next edge atom is a bond away, or two bonds (2.46 Å) at a zigzag edge. Across the smallest ring between two
edges it is further."""


def edge_atoms(bonds: Bonds) -> NDArray[np.bool_]:
    """Return (atoms,) which heavy atoms have fewer than three heavy neighbours; of a column only the top counts."""
    heavy = of_the_sheet(bonds.atoms)
    count = np.array([int(heavy[near].sum()) for near in bonds.neighbours], dtype=int)
    return np.asarray(heavy & (count < WHOLE))


def outer_edge(bonds: Bonds) -> NDArray[np.bool_]:
    """Return (atoms,) which edge atoms belong to the rim of the sheet, and not to a hole in it.

    Edge atoms that follow each other are one edge; those edges are rims that reach furthest out, in directions where
    the sheet does not repeat. One that repeats along both has no rim.
    """
    edge = np.flatnonzero(edge_atoms(bonds))
    rim = np.zeros(len(bonds.atoms), dtype=bool)
    if len(edge) == 0:
        return rim
    part = bonds.atoms[edge]
    near = near_pairs(part, ALONG_AN_EDGE)
    label = groups(len(edge), near.i, near.j)
    outermost = set()
    for direction in _open(bonds):
        along = part.positions[:, :2] @ direction
        outermost |= {int(label[along.argmin()]), int(label[along.argmax()])}
    rim[edge[np.isin(label, sorted(outermost))]] = True
    return rim


def _open(bonds: Bonds) -> NDArray[np.float64]:
    """Directions in x, y, as rows, in which the sheet ends."""
    repeated = np.asarray(bonds.atoms.cell)[bonds.repeats][:, :2].reshape(-1, 2)
    directions, lengths, _ = np.linalg.svd(repeated.T @ repeated)
    return np.asarray(directions.T[lengths < 1e-6])
