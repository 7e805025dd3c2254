"""Hydrogen around holes of 1 to 24 atoms and along every kind of edge, and what thirty steps of GFN1-xTB make of it.

    python benchmarks/termination.py [--steps 30]

One line per flake: the closest two hydrogens, carbons without three neighbours that were not told, and bonds that broke
or formed. Exits 1 if two hydrogens are closer than 1.5 Å, a carbon was forgotten, or a bond changed. About ten minutes.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from pathlib import Path

import numpy as np
from ase.build import graphene_nanoribbon

from stem2sim.atoms_table import AtomsTable
from stem2sim.engines.engine_simulator import read_engine
from stem2sim.segmentation import Segmentation
from stem2sim.structure import Structure
from stem2sim.testing import graphene_sheet
from stem2sim_hterm.hterm import Hterm
from stem2sim_hterm.patch import Patch

NOTHING = Segmentation(atoms=AtomsTable.empty())
WIDTH = 26.0


def holed(size: int) -> Structure:
    """Return a flake around a hole of so many atoms, with some 60 atoms left around it."""
    sheet = graphene_sheet(WIDTH, 7.0)
    xy = sheet.positions[:, :2]
    near = np.argsort(np.hypot(*(xy - xy[np.argmin(np.hypot(*(xy - WIDTH / 2).T))]).T), kind="stable")
    whole = Structure(atoms=sheet[np.sort(near[size:])])
    (cut,) = Patch(size=60 + size // 2, center=(WIDTH / 2, WIDTH / 2)).build(whole, NOTHING)
    return cut


def edged(kind: str) -> Structure:
    """Return a flake whose edges are zigzag, armchair, both, or concave."""
    if kind == "mixed":
        (made,) = Patch(size=54, center=(10.0, 10.0)).build(Structure(atoms=graphene_sheet(20, 19.0)), NOTHING)
        return made
    width = 6 if kind == "concave" else 4
    ribbon = graphene_nanoribbon(width, width, type="armchair" if kind == "armchair" else "zigzag", vacuum=8)
    ribbon.rotate(90, "x")
    ribbon.pbc, ribbon.cell = False, None
    ribbon.positions -= ribbon.positions.min(axis=0)
    if kind == "concave":
        middle = ribbon.positions.mean(axis=0)
        low = ribbon.positions[:, 1] < middle[1]
        del ribbon[np.flatnonzero(low & (np.abs(ribbon.positions[:, 0] - middle[0]) < 2.6))]
    return Structure(atoms=ribbon)


def bonded(structure: Structure) -> set[tuple[int, int]]:
    """Return every pair of bonded atoms."""
    i, j, _ = structure.bonds.once
    return set(zip(i.tolist(), j.tolist(), strict=True))


def tried(name: str, flake: Structure, steps: int) -> bool:
    """Terminate and relax; print and return whether all is as it should be."""
    (made,) = Hterm().build(flake, NOTHING)
    hydrogen = made.atoms[made.atoms.numbers == 1]
    closest = float((hydrogen.get_all_distances() + 9 * np.eye(len(hydrogen))).min())
    told = " ".join(made.findings)
    lacking = [k for k, near in enumerate(made.bonds.neighbours) if made.atoms[k].symbol == "C" and len(near) != 3]
    forgotten = [k for k in lacking if not re.search(rf"\bC {k}\b", told)]
    with tempfile.TemporaryDirectory() as folder:
        (relaxed,) = read_engine({"use": "xtb", "max_steps": steps}).simulate(made, Path(folder))
    before, after = bonded(made), bonded(relaxed.structure)
    good = closest >= 1.5 and not forgotten and before == after
    print(
        f"{'ok  ' if good else 'MISS'} {name}: {made.atoms.get_chemical_formula()}, closest H-H {closest:.2f} Å, "
        f"forgotten {len(forgotten)}, bonds broken {len(before - after)}, formed {len(after - before)}",
        flush=True,
    )
    return good


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=30)
    given = parser.parse_args()
    results = [tried(f"hole of {size}", holed(size), given.steps) for size in range(1, 25)]
    results += [tried(f"{kind} edges", edged(kind), given.steps) for kind in ("zigzag", "armchair", "mixed", "concave")]
    sys.exit(not all(results))
