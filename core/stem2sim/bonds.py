"""Which atoms are bonded, by distance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ase.neighborlist import natural_cutoffs, neighbor_list

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

REACH = 1.25
"""Bonded up to this many times the sum of covalent radii: C-C 1.90, C-Si 2.34, C-H 1.34 Å. Measured positions scatter
by up to 0.1 Å, and the next neighbours of graphene are at 2.46 Å."""


def bonds(atoms: Atoms) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return i, j and length [Å] of every bond, once each (i < j), across periodic boundaries too."""
    i, j, d = neighbor_list("ijd", atoms, natural_cutoffs(atoms, mult=REACH))
    once = i < j
    return i[once], j[once], d[once]


def neighbours(atoms: Atoms) -> list[list[int]]:
    """Return the bonded neighbours of every atom."""
    near: list[list[int]] = [[] for _ in atoms]
    for i, j, _ in zip(*bonds(atoms), strict=True):
        near[i].append(int(j))
        near[j].append(int(i))
    return near


def bond_lengths(atoms: Atoms) -> dict[str, NDArray[np.float64]]:
    """Return lengths [Å] by kind of bond, such as 'C-C', in alphabetical order."""
    i, j, d = bonds(atoms)
    symbols = np.array(atoms.get_chemical_symbols())
    kinds = np.array(["-".join(sorted(pair)) for pair in zip(symbols[i], symbols[j], strict=True)])
    return {str(kind): d[kinds == kind] for kind in np.unique(kinds)}
