"""Dislocations that follow each other: the grain boundaries of a sheet of hexagons."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from stem2sim.geometry.bonds import groups
from stem2sim.geometry.superposition import nearest_image

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

    from stem2sim.geometry.rings import Ring

SPACED = 11.0
"""[Å]; dislocations along a boundary are nearer to each other where its grains are turned by over 13°."""

STRAIGHT = 0.35
"""Dislocations lie along a line if they scatter across it by less than this share of what they do along it."""


def boundaries(atoms: Atoms, clusters: list[list[Ring]]) -> list[list[Ring]]:
    """Return groups of odd rings, the dislocations that follow each other along a line joined to one.

    Args:
        atoms: for the cell.
        clusters: odd rings that share atoms.
    """
    loose = [g for g in clusters if {len(ring) for ring in g} <= {5, 7} and not compact(g)]
    pairs = [
        (a, b)
        for a, b in combinations(range(len(loose)), 2)
        if min(_distance(atoms, ring, following) for ring in loose[a] for following in loose[b]) < SPACED
    ]
    i, j = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    chain = groups(len(loose), i, j)
    out = [g for g in clusters if not any(g is member for member in loose)]
    for number in np.unique(chain).tolist():
        members = [loose[k] for k in np.flatnonzero(chain == number)]
        rings = [ring for group in members for ring in group]
        out += [rings] if len(members) > 1 and _follows(atoms, rings) else members
    return out


def _distance(atoms: Atoms, a: Ring, b: Ring) -> float:
    """Between their centres in the plane [Å]."""
    return float(np.linalg.norm(nearest_image((a.centre - b.centre)[None], atoms)[0, :2]))


def dislocations(rings: list[Ring]) -> int:
    """Return how many pairs of a pentagon and a wider ring there are."""
    sizes = [len(ring) for ring in rings]
    return min(sizes.count(5), len(sizes) - sizes.count(5))


def _follows(atoms: Atoms, rings: list[Ring]) -> bool:
    """As many pentagons as heptagons, but one that the rim may have cut off, along a line."""
    pairs = dislocations(rings)
    if pairs <= 2 or len(rings) > 2 * pairs + 1:
        return False
    centres = centres_of(atoms, rings)[:, :2]
    along, across = np.linalg.svd(centres - centres.mean(axis=0), compute_uv=False)[:2]
    return bool(across < STRAIGHT * along)


def centres_of(atoms: Atoms, rings: list[Ring]) -> NDArray[np.float64]:
    """Return (rings, 3) middles of which none is across a border from the ring nearest to it [Å]."""
    centres = np.array([ring.centre for ring in rings])
    todo, done = list(range(1, len(rings))), [0]
    while todo:
        gaps = [(_distance(atoms, rings[a], rings[b]), a, b) for a in todo for b in done[-8:]]
        _, a, b = min(gaps)
        centres[a] = centres[b] + nearest_image((centres[a] - centres[b])[None], atoms)[0]
        todo.remove(a)
        done.append(a)
    return centres


def compact(group: list[Ring]) -> bool:
    """Return whether each heptagon shares a bond with another; those of dislocations beside each other do not."""
    wide = [set(ring.atoms) for ring in group if len(ring) == 7]
    return len(wide) > 1 and all(any(len(a & b) == 2 for b in wide if b is not a) for a in wide)
