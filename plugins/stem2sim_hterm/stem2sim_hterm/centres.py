"""Where in an image a patch may be cut, and how certain each place is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from stem2sim.geometry.bonds import two_core
from stem2sim.geometry.columns import ADDED
from stem2sim.geometry.pairs import SLACK
from stem2sim.geometry.rings import LARGEST_RING, rings
from stem2sim_hterm.edges import outer_edge

if TYPE_CHECKING:
    from ase import Atoms

    from stem2sim.geometry.bonds import Bonds
    from stem2sim.segmentation import Segmentation

Floats = NDArray[np.float64]

WHOLE = 0.4
"""[Å]; the mean of a disc of atoms lies no further off its centre while none is missing."""

BORDER = 4.0
"""[Å]; an edge nearer than this to the border of the image may be where the image ends, not the sheet."""

NEARBY = 13
"""Atoms around one, itself included, whose uncertainty counts: it, its neighbours, theirs, and the next."""


@dataclass(frozen=True)
class Centre:
    """Where a patch may be cut."""

    at: Floats
    """(2,) x, y in the structure [Å]."""
    must: tuple[int, ...]
    """Atoms without which it would not hold the feature."""
    title: str
    room: float = np.inf
    """To where the image ends [Å]."""


def centres_of(kind: str, bonds: Bonds, frame: Floats, segmentation: Segmentation) -> list[Centre]:
    """Return every place of a kind (a species, hole, edge or any), whether or not a patch fits there."""
    atoms = bonds.atoms
    xy, symbols = atoms.positions[:, :2], atoms.get_chemical_symbols()
    if kind == "hole":
        # what hangs into a hole is no rim
        core = np.array(sorted(two_core(bonds.neighbours, set(range(len(atoms))))), dtype=int)
        holes = [ring for ring in rings(bonds.among(core)) if len(ring) > LARGEST_RING]
        rims = [tuple(int(k) for k in core[list(hole.atoms)]) for hole in holes]
        titles = [f"a hole with {len(set(rim))} atoms around it" for rim in rims]
        return [Centre(h.centre[:2], rim, n) for h, rim, n in zip(holes, rims, titles, strict=True)]
    if kind == "edge":
        low, high = _extent(frame, segmentation)
        room = np.minimum(frame - low, high - frame).min(axis=1)
        chosen = np.flatnonzero(outer_edge(bonds) & (room > BORDER - SLACK))
        return [Centre(xy[k], (int(k),), f"the edge of the sheet ({symbols[k]} {k})", float(room[k])) for k in chosen]
    return [Centre(xy[k], (k,), symbols[k]) for k in range(len(atoms)) if kind in ("any", symbols[k])]


def _extent(frame: Floats, segmentation: Segmentation) -> tuple[Floats, Floats]:
    """Where the image begins and ends [Å]; where its atoms do, if no more is known."""
    if segmentation.mean is not None and segmentation.pixel_size is not None:
        rows, columns = segmentation.mean.shape[1:]
        return np.zeros(2), np.array([columns - 1, rows - 1]) * segmentation.pixel_size
    return frame.min(axis=0), frame.max(axis=0)


def log_probability(atoms: Atoms) -> Floats:
    """Return (atoms,) the logarithm of the probability that each is there."""
    return np.asarray(np.log(np.clip(atoms.arrays.get("probability", np.ones(len(atoms))), 1e-6, 1.0)))


def _entropy(atoms: Atoms, segmentation: Segmentation) -> Floats:
    """Uncertainty of the species [nat]."""
    source = atoms.arrays.get("source", np.full(len(atoms), ADDED))
    entropy = segmentation.atoms.entropy
    if len(entropy) == 0:
        return np.zeros(len(atoms))
    return np.where(source >= 0, np.nan_to_num(entropy)[np.clip(source, 0, len(entropy) - 1)], 0.0)


def scores(
    centres: list[Centre],
    bonds: Bonds,
    segmentation: Segmentation,
    size: int,
    by: Literal["certainty", "uncertainty"],
) -> Floats:
    """Return how good the surroundings of each centre are, of `size` atoms: probable and whole, or uncertain."""
    atoms = bonds.atoms
    xy, at = atoms.positions[:, :2], np.array([centre.at for centre in centres])
    tree = cKDTree(xy)
    away, around = tree.query(at, k=size)
    away, around = away.reshape(len(at), size), around.reshape(len(at), size)
    worth = log_probability(atoms)
    room = np.array([centre.room for centre in centres])
    if np.isfinite(room).all():  # an edge: of the disc round it, at least a half is missing anyway
        missing = np.clip(1 - room / np.maximum(away[:, -1], 1e-9), 0, None)
    else:
        # the image cuts the disc of nearest atoms at its border: the more is missing, the further its mean is off
        off = np.hypot(*(xy[around].mean(axis=1) - at).T)
        missing = np.clip(off - WHOLE, 0, None) + 0.01 * off
        # an atom that lacks a neighbour costs as much as one that is there with a probability of one in three
        worth = worth - 1.1 * np.clip(3 - np.array([len(near) for near in bonds.neighbours]), 0, None)
    if by == "uncertainty":
        uncertainty = -log_probability(atoms) + _entropy(atoms, segmentation)
        return np.asarray(uncertainty[around[:, : min(NEARBY, size)]].mean(axis=1) - 0.1 * missing)
    return np.asarray(worth[around].mean(axis=1) - missing)
