"""The honeycomb that a sheet's atoms sit on."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from stem2sim.geometry.affine import fit_affine, span_plane
from stem2sim.geometry.metric import metric_by_neighbours
from stem2sim.geometry.pairs import nearest_first

Floats = NDArray[np.float64]

ON_SITE = 0.35
"""Of a bond length: an atom this close to a site sits on it."""

SEED = 8.0
"""[Å]; radius of the part that the lattice is fitted to first."""

GROWTH = 1.4
"""By which that part grows: an error of the vectors must not come to a whole period at its rim."""


FILLED = 0.67
"""Of a bond length: an atom this close to a site fills it, off site as it is."""


@dataclass(frozen=True)
class Honeycomb:
    """Sites (i, j, s) at origin + i a + j b + s (a + b) / 3, with s = 0 or 1."""

    origin: Floats
    """(2,) x, y [Å]."""
    vectors: Floats
    """(2, 2) rows a and b [Å], b turned from a by some 60 degrees from x towards y."""

    @property
    def bond_length(self) -> float:
        """Mean distance of neighbours [Å]."""
        a, b = self.vectors
        step = (a + b) / 3
        return float(np.mean([np.hypot(*step), np.hypot(*(step - a)), np.hypot(*(step - b))]))

    def periods(self, xy: Floats) -> Floats:
        """Return x, y [Å] as numbers of periods along a and b, (points, 2)."""
        return np.asarray(np.linalg.solve(self.vectors.T, (xy - self.origin).T).T)

    def sites(self, xy: Floats) -> tuple[NDArray[np.int64], Floats]:
        """Return the nearest site (points, 3) of each point, and how far off it is [Å]."""
        share = self.periods(xy)
        nearest = [np.rint(share - s / 3) for s in (0, 1)]
        off = [np.hypot(*((share - s / 3 - nearest[s]) @ self.vectors).T) for s in (0, 1)]
        second = (off[1] < off[0]).astype(np.int64)
        periods = np.where(second[:, None] == 1, nearest[1], nearest[0]).astype(np.int64)
        return np.column_stack([periods, second]), np.asarray(np.minimum(*off))

    def at(self, sites: NDArray[np.int64]) -> Floats:
        """Return x, y of sites (points, 3) [Å]."""
        i, j, s = sites.T
        return np.asarray(self.origin + np.column_stack([i + s / 3, j + s / 3]) @ self.vectors)


def rows_of(positions: Floats, bond_length: float) -> float:
    """Return the direction of a honeycomb's rows, from x towards y, in [0, 60) degrees.

    Args:
        positions: (atoms, 2) x, y [Å].
        bond_length: [Å]; pairs within 12 % of it are bonds, and rows run at 30 degrees to bonds.
    """
    pairs = cKDTree(positions).query_pairs(1.12 * bond_length, output_type="ndarray")
    vectors = positions[pairs[:, 1]] - positions[pairs[:, 0]]
    vectors = vectors[np.hypot(*vectors.T) > 0.88 * bond_length]
    six = np.exp(6j * np.arctan2(vectors[:, 1], vectors[:, 0])).sum()
    return float((np.degrees(np.angle(six)) / 6 + 30) % 60)


def fit_honeycomb(xy: Floats, centre: Floats, lattice_constant: float) -> Honeycomb | None:
    """Fit a honeycomb to the atoms around a point, then to ever more of them; None where there is none.

    Args:
        xy: (atoms, 2) [Å]; strays, holes and defects do no harm while most atoms sit on sites.
        centre: (2,) where to begin [Å].
        lattice_constant: expected, within a quarter [Å].
    """
    away = np.hypot(*(xy - centre).T)
    bond = lattice_constant / np.sqrt(3)
    seed = xy[away <= max(SEED, float(np.partition(away, min(40, len(xy)) - 1)[min(40, len(xy)) - 1]))]
    metric = metric_by_neighbours(seed, np.eye(2), bond)
    if metric is None:
        return None
    turn = np.radians(rows_of(seed @ metric.T, bond) + np.array([0, 60]))
    vectors = lattice_constant * np.column_stack([np.cos(turn), np.sin(turn)]) @ np.linalg.inv(metric)
    start = seed[nearest_first(np.hypot(*(seed - centre).T))[:12]]
    step = vectors.sum(axis=0) / 3
    guesses = [Honeycomb(atom - s * step, vectors) for atom in start for s in (0, 1)]
    best = min(guesses, key=lambda guess: float(np.minimum(guess.sites(seed)[1], ON_SITE * bond).sum()))
    radius = SEED
    while True:
        part = xy[away <= radius]
        for _ in range(3):
            sites, off = best.sites(part)
            on = off < ON_SITE * best.bond_length
            i, j, s = sites[on].T
            periods = np.column_stack([i + s / 3, j + s / 3])
            if on.sum() < 6 or not span_plane(periods):
                return None
            lies = fit_affine(periods, part[on])
            best = Honeycomb(lies.offset, lies.matrix.T)
        if radius >= away.max():
            return best
        radius *= GROWTH


@dataclass(frozen=True)
class Occupation:
    """How atoms share the sites of a honeycomb; atoms off their sites and in defects have no part in it."""

    doubled: list[list[int]]
    """Atoms that share one site."""
    empty: Floats
    """(sites, 2) x, y of sites without an atom, with all three neighbours there [Å]."""


def occupation(xy: Floats, lattice_constant: float) -> Occupation | None:
    """Return which sites of the atoms' honeycomb are taken twice, and which are empty; None where there is none.

    Args:
        xy: (atoms, 2) [Å].
        lattice_constant: expected, within a quarter [Å].
    """
    lattice = fit_honeycomb(xy, xy.mean(axis=0), lattice_constant)
    if lattice is None:
        return None
    sites, off = lattice.sites(xy)
    on = np.flatnonzero(off < ON_SITE * lattice.bond_length)
    taken: dict[tuple[int, ...], list[int]] = {}
    for site, k in zip(sites[on].tolist(), on.tolist(), strict=True):
        taken.setdefault(tuple(site), []).append(k)
    around: Counter[tuple[int, ...]] = Counter()
    for i, j, s in taken:
        for a, b in ((0, 0), (1, 0), (0, 1)):
            around[(i - a, j - b, 1) if s == 0 else (i + a, j + b, 0)] += 1
    empty = [site for site, count in around.items() if count == 3 and site not in taken]
    places = lattice.at(np.array(empty, dtype=np.int64).reshape(-1, 3))
    if len(places):
        nearest, _ = cKDTree(xy).query(places)
        places = places[nearest > FILLED * lattice.bond_length]
    return Occupation([group for group in taken.values() if len(group) > 1], places)
