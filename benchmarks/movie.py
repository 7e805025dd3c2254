"""A movie of 896 x 896 frames, read, looked at and linked frame by frame: memory stays flat.

    python benchmarks/movie.py [--frames 100] [--size 896]

The movie is generated: graphene with Si that drifts, loses an atom every ten frames, and sees one Si hop to a
neighbouring site. Prints frames per second, the peak memory after a tenth of the frames and after all of them, and
what was tracked; exits 1 if memory grows by more than a tenth or passes 2 GB.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from stem2sim.imaging.forward import Probe, Scan
from stem2sim.testing import graphene_sheet

PIXEL_SIZE = 0.1
DOSE = 800.0


def write_movie(path: Path, frames: int, size: int) -> None:
    """Write (frames, rows, columns) float32, frame by frame."""
    rng = np.random.default_rng(3)
    width = size * PIXEL_SIZE
    sheet = graphene_sheet(width + 20, 21).positions[:, :2] - 10
    numbers = np.full(len(sheet), 6)
    inside = np.flatnonzero(((sheet > 5) & (sheet < width - 5)).all(axis=1))
    silicon = rng.choice(inside, 12, replace=False)
    numbers[silicon] = 14
    stack = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(frames, size, size))
    drift = np.zeros(2)
    for k in range(frames):
        if k and k % 10 == 0:
            lost = rng.choice(np.flatnonzero(numbers[inside] == 6))
            sheet, numbers = np.delete(sheet, inside[lost], axis=0), np.delete(numbers, inside[lost])
            inside = np.flatnonzero(((sheet > 5) & (sheet < width - 5)).all(axis=1))
        if k == frames // 2:  # one Si changes places with a neighbour
            one = int(np.flatnonzero(numbers == 14)[0])
            near = int(np.argsort(np.hypot(*(sheet - sheet[one]).T))[1])
            numbers[[one, near]] = numbers[[near, one]]
        drift += rng.normal(0, 0.15, 2)
        clean = Probe(fwhm=1.2).render(sheet + drift, numbers, PIXEL_SIZE, (size, size))
        stack[k] = Scan(dose=DOSE).expose(clean, PIXEL_SIZE, rng)
    stack.flush()


def tracked(path: Path, out: Path) -> tuple[dict[str, object], float, float]:
    """Run the command; return what it told, seconds, and peak memory [MB]."""
    command = [sys.executable, "-m", "stem2sim.cli", "track", str(path), "--out", str(out), "--json"]
    start = time.perf_counter()
    done = subprocess.run(
        [*command, "--set", f"image.pixel_size={PIXEL_SIZE}"], stdout=subprocess.PIPE, text=True, check=True
    )
    seconds = time.perf_counter() - start
    return json.loads(done.stdout), seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--size", type=int, default=896)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        memory = []
        for count in (max(2, given.frames // 10), given.frames):
            write_movie(folder / "movie.npy", count, given.size)
            told, seconds, peak = tracked(folder / "movie.npy", folder / f"run{count}")
            memory.append(peak)
            print(
                f"{count} frames in {seconds:.0f} s: {count / seconds:.2f} frames per second, peak memory {peak:.0f} MB"
            )
        print(json.dumps({k: v for k, v in told.items() if not isinstance(v, list)}, indent=1, default=str)[:1500])
        print("events:", *(folder / f"run{given.frames}" / "events.csv").read_text().splitlines()[:12], sep="\n  ")
    sys.exit(not (memory[1] < 1.1 * memory[0] and memory[1] < 2000))
