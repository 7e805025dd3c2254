"""What a simulation will cost: time and memory measured on two parts of the structure, and extrapolated."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import numpy as np

from stem2sim.errors import BadInput, StageFailed
from stem2sim.geometry.pairs import nearest_first
from stem2sim.structure import Structure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stem2sim.engines.engine import Engine

SIZES = (100, 200)
"""Atoms of the two parts; a structure that is not larger than the second is measured itself."""

WRONG = 2
"""Exit code of a measurement that could not begin."""


@dataclass(frozen=True)
class Measurement:
    """What one part cost."""

    atoms: int
    first: float
    """Energy and forces of the first step [s]."""
    step: float
    """Of a further one [s]."""
    memory: float
    """[bytes]."""


@dataclass(frozen=True)
class Estimate:
    """What a structure will cost."""

    atoms: int
    probes: tuple[Measurement, ...]
    first: float
    step: float
    """[s]; the most likely."""
    between: tuple[float, float]
    """[s]; the least and the most of what the laws below give."""
    memory: float

    def describe(self) -> str:
        """Return it in words."""
        measured = ", ".join(f"{one.atoms} atoms {duration(one.step)}" for one in self.probes)
        low, high = self.between
        spread = f" (between {duration(low)} and {duration(high)})" if high > 1.2 * low else ""
        return (
            f"{self.atoms} atoms: {duration(self.step)} per step{spread}, the first {duration(self.first)}; "
            f"memory {self.memory / 1e9:.2f} GB; measured: {measured}"
        )


def duration(seconds: float) -> str:
    """Return a time in the unit that people would use."""
    for unit, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.2f} s" if seconds >= 0.1 else f"{1000 * seconds:.1f} ms"


def estimate(engine: Engine, structure: Structure) -> Estimate:
    """Measure an engine on parts of a structure and extrapolate.

    An engine with matrices ends at the cube. Its time may follow a power law through both sizes, the cube through the
    larger, a + b N³, or a N² + b N³; the last of these that fits with positive terms is the most likely. An engine that
    says it is linear (`Engine.linear`) follows a + b N. Memory follows a + b N².

    Raises:
        BadInput: what the engine cannot compute.
        StageFailed: it failed on a part.
    """
    count = len(structure.atoms)
    parts = [structure] if count <= SIZES[1] else [part(structure, size) for size in SIZES]
    probes = tuple(measure(engine, one) for one in parts)
    if len(probes) == 1:
        (one,) = probes
        return Estimate(count, probes, one.first, one.step, (one.step, one.step), one.memory)
    small, large = probes
    n = np.array([small.atoms, large.atoms], dtype=float)
    power = float(np.log(large.step / small.step) / np.log(n[1] / n[0]))
    laws = [large.step * (count / n[1]) ** max(power, 1.0)]
    if not engine.linear:
        laws.append(large.step * (count / n[1]) ** 3)
    for low, high in ((0, 1),) if engine.linear else ((0, 3), (2, 3)):
        a, b = np.linalg.solve(np.stack([n**low, n**high], axis=1), [small.step, large.step])
        if a >= 0 and b > 0:
            laws.append(float(a * count**low + b * count**high))
    likely, between = laws[-1], (min(laws), max(laws))
    fixed, square = np.linalg.solve(np.stack([np.ones(2), n**2], axis=1), [small.memory, large.memory])
    memory = max(float(fixed + square * count**2), large.memory)
    return Estimate(count, probes, likely * large.first / large.step, likely, between, memory)


def part(structure: Structure, size: int) -> Structure:
    """Return the `size` atoms nearest to the middle, by themselves in a box."""
    atoms = structure.atoms
    near = nearest_first(np.linalg.norm(atoms.positions - atoms.positions.mean(axis=0), axis=1))[:size]
    cut = atoms[np.sort(near)]
    cut.set_constraint()
    cut.pbc = False
    cut.center(vacuum=8.0)
    return structure.model_copy(update={"atoms": cut, "charge": 0})


def measure(engine: Engine, structure: Structure) -> Measurement:
    """Measure one structure in a process of its own, whose memory is the engine's.

    Raises:
        BadInput, StageFailed: what the engine raised there.
    """
    with tempfile.TemporaryDirectory() as folder:
        structure.write(Path(folder) / "part.extxyz")
        options = json.dumps(engine.model_dump(mode="json"))
        done = subprocess.run(
            [sys.executable, "-m", "stem2sim.runs.estimate", folder],
            input=options,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        kind = BadInput if done.returncode == WRONG else StageFailed
        raise kind(f"{engine.name} on {len(structure.atoms)} atoms: {last.partition(': ')[2] or last}")
    return Measurement(atoms=len(structure.atoms), **json.loads(done.stdout.splitlines()[-1]))


def _measured(folder: Path, options: dict[str, Any]) -> dict[str, float]:
    """Take three steps; time of the first and of the quicker of the others [s], memory [bytes]."""
    from stem2sim.engines.engine_simulator import read_engine

    engine = read_engine(options)
    structure = Structure.read(folder / "part.extxyz")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = []
    with _watched() as children, engine.calculator(structure, folder) as calculator:
        for number in range(3):
            moved = structure.atoms.copy()
            moved.rattle(0.005, seed=number)  # Å; as far as atoms go in a step
            started = time.monotonic()
            calculator.get_property("energy", moved)
            calculator.get_property("forces", moved)
            times.append(time.monotonic() - started)
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    unit = 1 if sys.platform == "darwin" else 1024
    return {"first": times[0], "step": min(times[1:]), "memory": float(max(own * unit, *children))}


@contextmanager
def _watched() -> Iterator[list[int]]:
    """Collect the peak memory [bytes] of the processes that an engine starts, while the block lasts (Linux).

    Their `ru_maxrss` is no use: it begins with the memory of the Python that started them.
    """
    peaks, over = [0], Event()

    def watch() -> None:
        while not over.wait(0.1):
            for listed in Path(f"/proc/{os.getpid()}/task").glob("*/children"):
                with suppress(OSError):  # of a process that has just ended
                    for child in listed.read_text().split():
                        status = Path(f"/proc/{child}/status").read_text()
                        peaks.extend(1024 * int(kilobytes) for kilobytes in re.findall(r"VmHWM:\s+(\d+)", status))

    thread = Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        over.set()
        thread.join()


if __name__ == "__main__":
    try:
        print(json.dumps(_measured(Path(sys.argv[1]), json.loads(sys.stdin.read()))))
    except (BadInput, StageFailed) as problem:
        print(f"error: {problem}", file=sys.stderr)
        sys.exit(WRONG if isinstance(problem, BadInput) else 1)
