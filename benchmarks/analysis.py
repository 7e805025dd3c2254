"""Analysis: seconds for the rings of 2043 atoms, and for 2000 frames of 110 atoms, beside ASE and matscipy.

    python benchmarks/analysis.py [--frames 2000]

Rings: of the paper's frame where it is at ../shared, else of a generated sheet of as many atoms; beside matscipy's
shortest-path rings where that is installed (it is no dependency). Trajectory: a warm flake whose hole is filled, from a
temporary .traj; all of `evolution` beside bonds, angles and radial distribution alone with ASE's Analysis, timed for 20
of the frames. Peak memory at a tenth of the frames and at all, each in a process of its own. Exits 1 if the rings take
over 0.2 s, the trajectory over 60 s, or the memory grows by over a fifth.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from collections import Counter
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase.geometry.analysis import Analysis
from ase.geometry.rdf import get_rdf
from ase.io import read
from ase.io.trajectory import TrajectoryWriter

from stem2sim.analysis.evolution import Evolution, evolution
from stem2sim.engines.trajectory import frames
from stem2sim.geometry.bonds import Bonds
from stem2sim.geometry.rings import rings
from stem2sim.structure import Structure
from stem2sim.testing import graphene_sheet, segmentation_of
from stem2sim_hterm.calibrate import Calibrate
from stem2sim_hterm.place import Place

if TYPE_CHECKING:
    from collections.abc import Callable

    from ase import Atoms

FRAME = Path(__file__).parents[2] / "shared" / "data" / "paper_frame" / "POSCAR"


def best(work: Callable[[], object], rounds: int = 5) -> float:
    """Return the shortest of some times [s]."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def sheet() -> Atoms:
    """Return the paper's frame, calibrated, or a sheet of 2040 atoms."""
    if not FRAME.is_file():
        print("no paper_frame/POSCAR in ../shared: a generated sheet instead")
        return graphene_sheet(73.2)
    measured = read(FRAME, format="vasp")
    assert not isinstance(measured, list)
    found = segmentation_of(measured)
    structure = Structure.empty()
    for builder in (Place(), Calibrate(apply=True)):
        (structure,) = builder.build(structure, found)
    return structure.atoms


def shortest_paths(atoms: Atoms) -> dict[int, int]:
    """Count matscipy's shortest-path rings of our bonds up to 12; its `ring_statistics` fails where some are longer."""
    matscipy = import_module("matscipy.rings")
    i, j, _, vectors = Bonds.of(atoms).pairs
    ends = i.astype(np.int32), j.astype(np.int32)
    found = matscipy.find_sp_rings(*ends, vectors, matscipy.distances_on_graph(*ends), 13)
    return {size: int(count) for size, count in enumerate(found) if count}


def ring_statistics() -> bool:
    """Time the rings of one frame."""
    atoms = sheet()
    seconds = best(lambda: rings(Bonds.of(atoms)))
    counts = dict(sorted(Counter(len(ring) for ring in rings(Bonds.of(atoms))).items()))
    print(f"     {len(atoms)} atoms: rings {counts}")
    beside = "matscipy is not installed"
    if find_spec("matscipy"):
        given = shortest_paths(atoms)
        theirs = best(lambda: shortest_paths(atoms), 3)
        same = all(given.get(size, 0) == counts.get(size, 0) for size in range(3, 13))
        beside = f"of the same bonds, {'the same' if same else given} with matscipy {theirs:.3f} s"
        beside += f": {theirs / seconds:.0f} times as long"
    good = seconds < 0.2
    print(f"{'ok  ' if good else 'MISS'} rings with members, areas and centres {seconds:.4f} s; {beside}")
    return good


def write(path: Path, count: int) -> None:
    """Write a warm flake of 110 atoms, whose hole is filled halfway."""
    atoms = graphene_sheet(17.0)
    middle = atoms.positions.mean(axis=0)
    atoms = atoms[np.sort(np.argsort(np.linalg.norm(atoms.positions - middle, axis=1))[:110])]
    gone = np.argsort(np.linalg.norm(atoms.positions - middle, axis=1))[:2]
    atoms.center(vacuum=8.0)
    rng = np.random.default_rng(0)
    phase, way = rng.uniform(0, 2 * np.pi, (len(atoms), 3)), rng.normal(0, 0.07, (len(atoms), 3))
    with TrajectoryWriter(path, "w") as writer:
        for k in range(count):
            frame = atoms.copy()
            frame.positions += way * np.sin(0.3 * k + phase)
            if 2 * k < count:
                frame.positions[gone] += [[0, 0, 5], [3, 0, 5]]
            writer.write(frame)


def follow(path: Path, count: int) -> Evolution:
    """Return what happens in the first frames of a file."""
    return evolution(((2.0 * k, frame) for k, frame in enumerate(frames(path))), count)


def peak(path: Path, count: int) -> float:
    """Return the peak memory [MB] of a process that does so."""
    follow(path, count)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def ase_analysis(images: list[Atoms]) -> None:
    """Find bonds, angles and radial distribution with ASE."""
    for image in images:
        analysis = Analysis(image)
        analysis.get_values(analysis.get_bonds("C", "C", unique=True))
        analysis.get_values(analysis.get_angles("C", "C", "C", unique=True))
        get_rdf(image, 6.0, 120)


def trajectory(count: int) -> bool:
    """Time a trajectory, and watch the memory."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "flake.traj"
        write(path, count)
        images = list(frames(path))[:: max(1, count // 20)]
        theirs = best(lambda: ase_analysis(images), 1) / len(images) * count
        start = time.perf_counter()
        found = follow(path, count)
        seconds = time.perf_counter() - start
        fresh = multiprocessing.get_context("spawn")
        memory = []
        for number in (count // 10, count):
            with fresh.Pool(1) as pool:
                memory.append(pool.apply(peak, (path, number)))
    print(f"     {found.frames} frames of {len(images[0])} atoms: {len(found.events)} events; {found.holes[0].verdict}")
    good = seconds < 60 and memory[1] < 1.2 * memory[0] and found.holes[0].healed
    beside = (
        f"bonds, angles and radial distribution alone with ASE {theirs:.0f} s: {theirs / seconds:.0f} times as long"
    )
    print(f"{'ok  ' if good else 'MISS'} all of it {seconds:.1f} s; {beside}")
    print(f"     peak memory {memory[0]:.0f} MB for {count // 10} frames, {memory[1]:.0f} MB for {count}")
    return good


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=2000)
    given = parser.parse_args()
    results = [ring_statistics(), trajectory(given.frames)]
    sys.exit(not all(results))
