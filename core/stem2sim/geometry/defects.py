"""Named defects of a sheet of three-fold bonded atoms, such as graphene, by the rings that are not hexagons."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stem2sim.geometry.bonds import bonding_radii
from stem2sim.geometry.boundaries import boundaries, centres_of, compact, dislocations
from stem2sim.geometry.pairs import Pairs, near_pairs, nearest_first
from stem2sim.geometry.rings import Ring, of_the_sheet, rings_of_pairs

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

    from stem2sim.geometry.bonds import Bonds

PERFECT = 6
"""Atoms in a ring of the perfect sheet."""

WIDEST = 14
"""Atoms round a divacancy that has not closed; what is wider is a hole."""

BOUNDARY = "grain boundary"

HOLE = "hole of"

NAMES = {
    (5, 5, 7, 7): "Stone-Wales 5-7-7-5",
    (5, 5, 8): "divacancy 5-8-5",
    (5, 5, 5, 7, 7, 7): "divacancy 555-777",
    (5, 5, 5, 5, 7, 7, 7, 7): "divacancy 5555-6-7777",
    (5, 9): "monovacancy 5-9",
    (12,): "monovacancy",
    (14,): "divacancy",
    (5, 7): "dislocation 5-7",
}
"""Sizes of neighbouring odd rings -> what they are called (Banhart, Kotakoski and Krasheninnikov, ACS Nano 5, 26
(2011), doi 10.1021/nn102598m). A hexagon amid a divacancy is not odd."""

STRETCHED = 1.06
"""Two atoms that lack a neighbour each are bonded up to this many times the usual distance (C-C: 2.01 Å). Displaced
by 0.08 Å along each axis, one bond in 10 000 of a rippled sheet is over 1.90 Å; loose atoms of a vacancy are 2.46 Å
apart."""

PUSHED = 0.92
"""What is nearer than this share of the usual distance (C-C: 1.75 Å) is a bond, whatever neighbours its atoms have."""


@dataclass(frozen=True)
class Defect:
    """One place where the sheet is not perfect."""

    name: str
    centre: tuple[float, float, float]
    """Middle of its rings [Å]; across a periodic border it may lie outside the cell."""
    atoms: tuple[int, ...]
    rings: tuple[int, ...] = ()
    """Sizes of its odd rings, sorted; none for a substitution."""
    line: tuple[tuple[float, float, float], ...] = ()
    """Of a grain boundary, middles of its rings from one end to the other [Å]."""

    @property
    def title(self) -> str:
        """The name in print; of a hole, what its number of atoms is."""
        return f"hole bounded by {self.rings[0]} atoms" if self.name.startswith(HOLE) else self.name

    def describe(self) -> str:
        """Return name and place."""
        if self.line:
            (x, y, _), (u, v, _) = self.line[0], self.line[-1]
            return f"{self.title} from x = {x:.2f}, y = {y:.2f} to x = {u:.2f}, y = {v:.2f} Å"
        return f"{self.title} at x = {self.centre[0]:.2f}, y = {self.centre[1]:.2f} Å"


def defects(bonds: Bonds, host: str = "C") -> list[Defect]:
    """Return what the sheet has that a perfect one of `host` has not, from left to right.

    Odd rings that share an atom are one defect. The rim of a flake is none. Pentagons and heptagons that follow each
    other along a line, three of each at least, are a chain of dislocations: a grain boundary. A sheet that is not
    mostly of `host` has none that are known here.

    Args:
        bonds: of a sheet in the x, y plane, rippled or not; hydrogen counts for nothing.
        host: its element.
    """
    atoms = bonds.atoms
    if not sheet_of(atoms, host):
        return []
    symbols = np.array(atoms.get_chemical_symbols())
    sheet = np.flatnonzero(of_the_sheet(atoms))
    pairs = _at_heat(bonds.among(sheet), host)
    odd = [ring for ring in rings_of_pairs(atoms, sheet, pairs) if len(ring) != PERFECT]
    named = [_named(atoms, group) for group in boundaries(atoms, _groups(odd))]
    neighbours = np.bincount(pairs.i, minlength=len(sheet))
    for k in np.flatnonzero((symbols[sheet] != host) & (neighbours >= 3)):
        name = f"{symbols[sheet[k]]} with {neighbours[k]} neighbours"
        named.append(Defect(name, _place(atoms.positions[sheet[k]]), (int(sheet[k]),)))
    return sorted(named, key=lambda defect: (defect.centre[0], defect.centre[1]))


def sheet_of(atoms: Atoms, host: str = "C") -> bool:
    """Return whether at least half of the atoms but hydrogen are of `host`; defects of other sheets are not known."""
    symbols = np.array(atoms.get_chemical_symbols())
    return bool(2 * (symbols == host).sum() >= (symbols != "H").sum())


def _at_heat(bonds: Bonds, host: str) -> Pairs:
    """The bonds, less what heat pushed together and with what it pulled apart.

    An atom of the host with more than three neighbours loses its longest bonds to others of the host; two atoms that
    lack a neighbour, and share none, are bonded, the closest first.
    """
    atoms, radii = bonds.atoms, bonding_radii(bonds.atoms)
    few = np.flatnonzero(np.bincount(bonds.pairs.i, minlength=len(atoms)) < 3)
    wide = near_pairs(atoms[few], STRETCHED * radii[few])
    wide = wide._replace(i=few[wide.i], j=few[wide.j])
    wide = wide.chosen(wide.lengths >= radii[wide.i] + radii[wide.j])
    i, j, shift, vectors = (np.concatenate(columns) for columns in zip(bonds.pairs, wide, strict=True))
    order = np.lexsort((j, i))
    pairs = Pairs(i, j, shift, vectors).chosen(order)
    i, j, shift, _ = pairs
    length = pairs.lengths
    bonded = order < len(bonds.pairs.i)
    count = np.bincount(i[bonded], minlength=len(atoms))

    def switch(k: int, on: bool) -> None:
        bonded[(i == j[k]) & (j == i[k]) & (shift == -shift[k]).all(axis=1)] = bonded[k] = on
        count[[i[k], j[k]]] += 1 if on else -1

    of_host = (atoms.symbols[i] == host) & (atoms.symbols[j] == host)
    crowded = np.flatnonzero(bonded & of_host & (i < j) & (length > PUSHED * (radii[i] + radii[j])))
    lacking = np.flatnonzero(~bonded & (i < j))
    for k in crowded[nearest_first(-length[crowded])].tolist():
        if max(count[i[k]], count[j[k]]) > 3:
            switch(k, False)
    for k in lacking[nearest_first(length[lacking])].tolist():
        shared = np.isin(j[bonded & (i == i[k])], j[bonded & (i == j[k])])  # at the rim, next but one
        if max(count[i[k]], count[j[k]]) < 3 and not shared.any():
            switch(k, True)
    return pairs.chosen(bonded)


def _groups(odd: list[Ring]) -> list[list[Ring]]:
    """Odd rings that share an atom, together; a hole by itself, or it would swallow what lies at its rim."""
    clusters: list[list[Ring]] = []
    for ring in odd:
        joined = [g for g in clusters if len(ring) <= WIDEST and any(_touch(ring, member) for member in g)]
        for group in joined:
            clusters.remove(group)
        clusters.append([ring, *(member for group in joined for member in group)])
    return clusters


def _touch(a: Ring, b: Ring) -> bool:
    return len(b) <= WIDEST and not set(a.atoms).isdisjoint(b.atoms)


def _named(atoms: Atoms, group: list[Ring]) -> Defect:
    sizes = tuple(sorted(len(ring) for ring in group))
    members = tuple(sorted({k for ring in group for k in ring.atoms}))
    # by the size of the rings: the wide one of a vacancy is where the atom is gone
    centres = centres_of(atoms, group)
    centre = _place(np.average(centres, axis=0, weights=[len(ring) ** 2 for ring in group]))
    name = _name(sizes, group)
    if not name.startswith(BOUNDARY):
        return Defect(name, centre, members, sizes)
    way = np.linalg.svd(centres - centres.mean(axis=0))[2][0]
    way *= np.sign(way[np.abs(way).argmax()])
    return Defect(name, centre, members, sizes, tuple(_place(c) for c in centres[np.argsort(centres @ way)]))


def _name(sizes: tuple[int, ...], group: list[Ring]) -> str:
    if len(sizes) == 1 and sizes[0] > WIDEST:
        return f"{HOLE} {sizes[0]} atoms"
    name = NAMES.get(sizes)
    if name is not None and sizes.count(7) > 1 and not compact(group):
        name = None
    if name is None and set(sizes) <= {5, 7, 8} and len(sizes) > 2:
        pairs = dislocations(group)
        return f"{BOUNDARY}, or chain of {pairs} dislocations" if pairs > 2 else _listed(sizes)
    return name or _listed(sizes)


def _listed(sizes: tuple[int, ...]) -> str:
    counts = Counter(sizes)
    return "rings of " + ", ".join(f"{size}" + (f" ({n})" if n > 1 else "") for size, n in sorted(counts.items()))


def _place(position: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = position.tolist()
    return x, y, z
