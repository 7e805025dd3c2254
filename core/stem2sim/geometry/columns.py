"""Columns: atoms one above the other along the beam, and their names."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ase import Atoms
    from numpy.typing import NDArray


ADDED = -1
"""In the array `source`: an atom that a builder added, not one from the atoms table."""


def topmost(atoms: Atoms) -> NDArray[np.bool_]:
    """Return (atoms,) which have no other atom of their own column above them (at larger z)."""
    source = atoms.arrays.get("source")
    top = np.ones(len(atoms), dtype=bool)
    if source is None:
        return top
    order = np.lexsort([atoms.positions[:, 2], source])
    below = (np.diff(source[order]) == 0) & (source[order][1:] != ADDED)
    top[order[:-1][below]] = False
    return top


def contents(label: str) -> list[int]:
    """Return the atomic numbers in a column: [16, 16] for S2, [6, 24] for C+Cr; none for an unknown name."""
    numbers: list[int] = []
    for part in label.split("+"):
        symbol = part.rstrip("23456789")
        count = int(part[len(symbol) :] or 1)
        numbers += [atomic_numbers.get(symbol, 0)] * count
    return numbers if all(numbers) else []


def label_of(numbers: Iterable[int]) -> str:
    """Return the name of a column of these atomic numbers: S2, C+Cr."""
    counts = Counter(chemical_symbols[int(z)] for z in numbers)
    return "+".join(symbol + (str(n) if n > 1 else "") for symbol, n in sorted(counts.items()))
