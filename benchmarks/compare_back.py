"""How often compare-back finds one wrong atom, and nothing else: in run folders given, or in the demo's.

    python benchmarks/compare_back.py [RUN ...] [--times 8]

The relaxed structure of each run is changed by one carbon atom removed, added in the middle of a ring without an
impurity, swapped for Si, or shifted by 0.5 Å in a random direction; the frame stays as it is.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase import Atom

from stem2sim.agreement.compare_back import agreement
from stem2sim.geometry.bonds import Bonds
from stem2sim.geometry.rings import rings
from stem2sim.runs.run import Run

if TYPE_CHECKING:
    from ase import Atoms

KINDS = {"removed": "missing", "added": "extra", "swapped": "wrong species", "shifted": "displaced"}


def changed(atoms: Atoms, built: Atoms, how: str, rng: np.random.Generator) -> tuple[Atoms, Atoms, tuple[int, ...]]:
    """Return the structure with one wrong atom, as it was built likewise, and the number of that atom."""
    atoms, built = atoms.copy(), built.copy()
    k = int(rng.choice(np.flatnonzero(atoms.symbols == "C")))
    if how == "removed":
        gone = [k, *(n for n in Bonds.of(atoms).neighbours[k] if atoms.numbers[n] == 1)]
        del atoms[gone], built[gone]
        return atoms, built, ()
    if how == "added":
        free = [ring.centre for ring in rings(Bonds.of(atoms)) if (atoms.numbers[list(ring.atoms)] == 6).all()]
        centre = free[int(rng.integers(len(free)))]
        for one in (atoms, built):
            one.append(Atom("C", centre))
            one.arrays["source"][-1] = -1
        return atoms, built, (len(atoms) - 1,)
    if how == "swapped":
        atoms.symbols[k] = built.symbols[k] = "Si"
    else:
        angle = rng.uniform(0, 2 * np.pi)
        atoms.positions[k, :2] += 0.5 * np.array([np.cos(angle), np.sin(angle)])
    return atoms, built, (k,)


def main() -> None:
    """Change one atom many times, and count."""
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", nargs="*", type=Path)
    parser.add_argument("--times", type=int, default=8)
    given = parser.parse_args()
    if not given.runs:
        demo = Path(__file__).parents[1] / "docs" / "demo" / "demo.toml"
        given.runs = [Path("runs/demo")]
        subprocess.run([sys.executable, "-m", "stem2sim.cli", "run", demo, "--out", given.runs[0]], check=True)
    rng = np.random.default_rng(0)
    exact, named, tried = 0, 0, 0
    for folder in given.runs:
        run = Run(folder)
        result = next(iter(run.results.values()))
        built = run.built(result)
        if run.image is None or run.segmentation is None or built is None:
            raise SystemExit(f"{folder} has no frame, or no structure built of it")
        for how, kind in KINDS.items():
            for _ in range(given.times):
                wrong, as_built, where = changed(result.structure.atoms, built.atoms, how, rng)
                found = agreement(run.image, run.segmentation, wrong, as_built).unexplained()
                told = [(one.kind, one.atoms) for one in found]
                tried, named, exact = tried + 1, named + ((kind, where) in told), exact + (told == [(kind, where)])
                if told != [(kind, where)]:
                    print(f"{folder}: {how} {where}: {'; '.join(one.describe() for one in found) or 'nothing told'}")
    more = f"{named - exact} told with something else; {tried - named} not"
    print(f"{tried} changes: {exact} told, and nothing else; {more}")


if __name__ == "__main__":
    main()
