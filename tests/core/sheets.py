"""Sheets of graphene for the tests of several rooms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ase.build import graphene
from hypothesis import Phase, settings

if TYPE_CHECKING:
    from ase import Atoms

few = settings(max_examples=25, phases=(Phase.generate,))


def sheet(periodic: bool = True) -> Atoms:
    atoms = graphene(size=(5, 5, 1), vacuum=8)
    atoms.pbc = (periodic, periodic, False)
    return atoms


def damaged(seed: int, periodic: bool) -> Atoms:
    """A sheet without some atoms, with silicon in it, warm."""
    rng = np.random.default_rng(seed)
    atoms = sheet(periodic)
    atoms.symbols[rng.random(len(atoms)) < 0.05] = "Si"
    atoms.positions += rng.normal(scale=0.05, size=(len(atoms), 3))
    return atoms[np.sort(rng.permutation(len(atoms))[: len(atoms) - int(rng.integers(0, 6))])]
