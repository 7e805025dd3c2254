"""Whether a structure is fit for an engine: what is wrong with it, atom by atom."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
from ase.data import covalent_radii

from stem2sim.geometry.bonds import REACH
from stem2sim.geometry.honeycomb import occupation
from stem2sim.geometry.pairs import MOST, SLACK, describe_pairs, near_pairs
from stem2sim.lattice import GRAPHENE
from stem2sim.structure import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ase import Atoms
    from numpy.typing import NDArray

    from stem2sim.geometry.bonds import Bonds
    from stem2sim.segmentation import Segmentation
    from stem2sim.structure import Structure

CLASHING, SHORT = 0.6, 0.85
"""Of the sum of covalent radii: two atoms closer than the first are an error, than the second a warning."""

LONG = 1.5
"""Of the sum of covalent radii: further apart than a bond (`bonds.REACH`) yet closer than this, two atoms that both
lack a neighbour are a bond that is stretched or broken. Second neighbours in graphene are at 1.62."""

VALENCES = {"H": (1, 1), "B": (2, 4), "C": (3, 4), "N": (2, 4), "O": (1, 2), "Si": (3, 4), "P": (3, 5), "S": (1, 6)}
"""Fewest and most neighbours that a species usually has."""

LEAST_GAP = 8.0
"""[Å]; with less vacuum, a structure interacts with its periodic images."""

UNCERTAIN = 0.9
"""A species less probable than this is uncertain."""

IN_THE_SHEET = 1.0
"""[Å]; an atom further from its middle is adsorbed on it."""

SHEET = 30
"""Carbon atoms that make a sheet whose sites can be counted."""


CHECKS = ["close", "short", "long", "isolated", "coordination", "vacuum", "electrons", "species", "lattice"]
"""Every check, by the word that names it."""


def validate(structure: Structure, segmentation: Segmentation | None = None) -> tuple[Finding, ...]:
    """Return everything about a structure that may spoil a simulation, or its results, the worst first.

    Args:
        structure: in its cell.
        segmentation: that its atoms come from, where they do.
    """
    atoms, bonds = structure.atoms, structure.bonds
    findings = [*_distances(atoms), *_coordination(bonds), *_vacuum(bonds), *_lattice(bonds)]
    if structure.multiplicity > 1:
        text = f"{structure.electrons} electrons (charge {structure.charge}), an odd number: at least a doublet"
        findings.append(Finding(check="electrons", severity="warning", text=text))
    if segmentation is not None:
        findings += _species(atoms, segmentation)
    order = ("error", "warning", "note")
    return tuple(sorted(findings, key=lambda finding: order.index(finding.severity)))


def _listed(atoms: Atoms, which: list[int]) -> str:
    listed = ", ".join(f"{atoms[k].symbol} {k}" for k in which[:MOST])
    return listed + (f" and {len(which) - MOST} more" if len(which) > MOST else "")


def _distances(atoms: Atoms) -> Iterator[Finding]:
    radii = covalent_radii[atoms.numbers]
    near = near_pairs(atoms, SHORT * radii)
    i, j, d = near.i, near.j, near.lengths
    sums = radii[i] + radii[j]
    once = (i <= j) & (d < SHORT * sums - SLACK)
    clash = d < CLASHING * sums - SLACK
    for check, chosen, what, limit in (
        ("close", once & clash, "atoms closer than", CLASHING),
        ("short", once & ~clash, "bonds shorter than", SHORT),
    ):
        if not chosen.any():
            continue
        pairs = sorted(zip(d[chosen].tolist(), i[chosen].tolist(), j[chosen].tolist(), strict=True))
        yield Finding(
            check=check,
            severity="error" if check == "close" else "warning",
            text=f"{what} {limit:g} times the sum of the covalent radii: {describe_pairs(atoms, pairs)}",
            atoms=tuple(sorted({a for _, *pair in pairs for a in pair})),
        )


def _coordination(bonds: Bonds) -> Iterator[Finding]:
    atoms, near = bonds.atoms, bonds.neighbours
    counts = [len(n) for n in near]
    alone = [k for k, n in enumerate(counts) if n == 0]
    if alone and len(atoms) > 1:
        text = f"atoms without bonded neighbours: {_listed(atoms, alone)}"
        yield Finding(check="isolated", severity="warning", text=text, atoms=tuple(alone))
    symbols = atoms.get_chemical_symbols()
    usual = {s: VALENCES.get(s, (0, 99)) for s in set(symbols)}
    few = [k for k, n in enumerate(counts) if 0 < n < usual[symbols[k]][0]]
    many = [k for k, n in enumerate(counts) if n > usual[symbols[k]][1]]
    for which, comparison in ((few, "fewer"), (many, "more")):
        if which:
            text = f"{comparison} neighbours than usual: {_listed(atoms, which)}"
            yield Finding(check="coordination", severity="warning", text=text, atoms=tuple(which))
    wanting = np.array([n < usual[symbol][0] for n, symbol in zip(counts, symbols, strict=True)], dtype=bool)
    yield from _stretched(atoms, near, wanting)
    table = Counter(zip(symbols, counts, strict=True))
    (first, count), *others = sorted(table.items())
    listed = [f"{count} {first[0]} with {first[1]} neighbour{'' if first[1] == 1 else 's'}"]
    listed += [f"{count} {symbol} with {n}" for (symbol, n), count in others]
    yield Finding(check="coordination", severity="note", text=", ".join(listed))


def _stretched(atoms: Atoms, near: list[list[int]], wanting: NDArray[np.bool_]) -> Iterator[Finding]:
    """Pairs that would complete each other, a little too far apart to count as bonded; no second neighbours."""
    wide = near_pairs(atoms, LONG * covalent_radii[atoms.numbers])
    apart = [
        (r, a, b)
        for r, a, b in zip(wide.lengths.tolist(), wide.i.tolist(), wide.j.tolist(), strict=True)
        if a < b and wanting[a] and wanting[b] and b not in near[a] and not set(near[a]) & set(near[b])
    ]
    if apart:
        listed = describe_pairs(atoms, sorted(apart))
        text = f"both lack a neighbour, but are more than {REACH:g} times the sum of the covalent radii apart: {listed}"
        yield Finding(
            check="long", severity="warning", text=text, atoms=tuple(sorted({k for _, *pair in apart for k in pair}))
        )


def _vacuum(bonds: Bonds) -> Iterator[Finding]:
    atoms = bonds.atoms
    if atoms.cell.rank < 3:
        return
    heights = 1 / np.linalg.norm(np.linalg.inv(np.asarray(atoms.cell)), axis=0)
    share = atoms.get_scaled_positions(wrap=False)
    joined = bonds.repeats  # no vacuum is needed there
    for axis in range(3):
        gap = float(heights[axis] * (1 - np.ptp(share[:, axis])))
        if not joined[axis] and gap < LEAST_GAP - SLACK:
            text = f"{gap:.1f} Å of vacuum along {'abc'[axis]}, less than {LEAST_GAP:g} Å: periodic images interact"
            yield Finding(check="vacuum", severity="warning", text=text)


def _species(atoms: Atoms, segmentation: Segmentation) -> Iterator[Finding]:
    shares, source = segmentation.atoms.shares, atoms.arrays.get("source")
    if not shares or source is None:
        return
    largest = np.max(list(shares.values()), axis=0)
    uncertain = [int(k) for k in np.flatnonzero(source >= 0) if largest[source[k]] < UNCERTAIN]
    if uncertain:
        text = f"species with a probability below {UNCERTAIN:g}: {_listed(atoms, uncertain)}"
        yield Finding(check="species", severity="warning", text=text, atoms=tuple(uncertain))


def _lattice(bonds: Bonds) -> Iterator[Finding]:
    """Sites of a honeycomb of carbon that are taken twice, or empty with all their neighbours there."""
    atoms = bonds.atoms
    z = atoms.positions[:, 2]
    heavy = np.flatnonzero((atoms.numbers != 1) & (np.abs(z - np.median(z)) < IN_THE_SHEET))
    if (atoms.numbers == 6).sum() < SHEET:
        return
    # a periodic cell with its neighbours round it; findings are those of the middle one
    cells = (
        np.array([[i, j, 0] for i in (0, -1, 1) for j in (0, -1, 1)]) if bonds.repeats[:2].all() else np.zeros((1, 3))
    )
    shifts = (cells @ np.asarray(atoms.cell))[:, :2]
    xy = (atoms.positions[heavy, :2] + shifts[:, None]).reshape(-1, 2)
    sites = occupation(xy, GRAPHENE)
    if sites is None:
        return
    count = len(heavy)
    doubled = sorted({int(heavy[k % count]) for group in sites.doubled if min(group) < count for k in group})
    if doubled:
        text = f"two atoms on one lattice site: {_listed(atoms, doubled)}"
        yield Finding(check="lattice", severity="warning", text=text, atoms=tuple(doubled))
    empty = sites.empty
    if len(cells) > 1:
        share = np.linalg.solve(np.asarray(atoms.cell)[:2, :2].T, empty.T).T if len(empty) else np.zeros((0, 2))
        empty = empty[((share >= -1e-6) & (share < 1 - 1e-6)).all(axis=1)]
    if len(empty):
        listed = ", ".join(f"x {x:.1f} y {y:.1f} Å" for x, y in empty[:MOST])
        more = f" and {len(empty) - MOST} more" if len(empty) > MOST else ""
        text = f"single lattice sites without an atom (vacancies or undetected atoms): {listed}{more}"
        yield Finding(check="lattice", severity="warning", text=text)
