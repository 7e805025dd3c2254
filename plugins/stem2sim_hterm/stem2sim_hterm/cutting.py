"""Connected patches of atoms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stem2sim.geometry.bonds import two_core
from stem2sim.geometry.columns import ADDED
from stem2sim.geometry.pairs import nearest_first

if TYPE_CHECKING:
    from ase import Atoms

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Cut:
    """A patch, by its atoms."""

    kept: list[int]
    where: str
    findings: tuple[str, ...] = ()
    chosen_by: str = "joint probability"
    """Words before the joint probability of its atoms: what it was chosen by, if it was."""


def connected_patch(xy: Floats, near: list[list[int]], centre: Floats, size: int) -> list[int]:
    """Return a connected patch of the nearest atoms, sorted, in which each atom has two neighbours.

    Args:
        xy: (atoms, 2) [Å].
        near: neighbours of every atom.
        centre: (2,) [Å].
        size: most atoms; as many as can be, up to here.
    """
    order = nearest_first(np.hypot(*(xy - centre).T))
    best: list[int] = []
    for count in range(min(size, len(order)), len(order) + 1):
        kept = two_core(near, set(order[:count].tolist()))
        part = connected_part(near, kept, next((int(k) for k in order if int(k) in kept), -1))
        if len(part) > size:
            break
        if len(part) > len(best):
            best = sorted(part)
        if len(best) == size or count > 2 * size:
            break
    return best


def connected_part(near: list[list[int]], kept: set[int], start: int) -> set[int]:
    """Return those of `kept` that are connected with `start` by bonds within it; none if that is not of it."""
    part: set[int] = {start} & kept
    front = list(part)
    while front:
        front = [n for n in {n for k in front for n in near[k]} if n in kept and n not in part]
        part.update(front)
    return part


def without_split_columns(atoms: Atoms, kept: list[int]) -> list[int]:
    """Return `kept` without atoms of a column that is not wholly in it."""
    source = atoms.arrays.get("source")
    if source is None:
        return kept
    behind = set(np.delete(source, kept).tolist()) - {ADDED}
    return [k for k in kept if int(source[k]) not in behind]
