"""What dynamics cost beyond the engine: wall time of an aimd step over a step of the bare engine, and socket over file.

Aimd runs with its defaults for frames, values and checkpoints. The bare engine's step is the mean of its own calls in
the same run, those left out that begin with a fresh engine after a checkpoint: the cold start that these cost is part
of the overhead, as is the launch of a process. So the machine's own ups and downs fall on both. Where `dftb+` is on
PATH and STEM2SIM_SLAKO names a Slater-Koster set, the same for DFTB+, and its socket against a process per step.

    python benchmarks/md_overhead.py [--steps 200] [--rounds 3] [--only xtb]
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np

from stem2sim.atoms_table import AtomsTable
from stem2sim.engines.calculator_session import CalculatorSession
from stem2sim.engines.engine_simulator import read_engine
from stem2sim.segmentation import Segmentation
from stem2sim.structure import Structure
from stem2sim.testing import graphene_sheet
from stem2sim_aimd.aimd import Aimd
from stem2sim_hterm.hterm import Hterm
from stem2sim_hterm.patch import Patch

if TYPE_CHECKING:
    from stem2sim.engines.engine import Engine

CHECKPOINT = int(Aimd.model_fields["checkpoint"].default)


def flake(size: int) -> Structure:
    """Return an H-terminated flake of that many carbon atoms, in a box."""
    sheet = graphene_sheet(24)
    for name, value in (("source", np.arange(len(sheet))), ("probability", np.ones(len(sheet)))):
        sheet.set_array(name, value)
    structure = Structure(atoms=sheet)
    nothing = Segmentation(atoms=AtomsTable.empty())
    for builder in (Patch(size=size, contains="any"), Hterm()):
        (structure,) = builder.build(structure, nothing)
    return structure.in_a_cell()


def dynamics(engine: Engine, structure: Structure, steps: int, folder: Path) -> tuple[float, list[float]]:
    """Run aimd; return its wall time [s], all of it counted, and that of every call of the engine within."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    calls: list[float] = []
    compute = CalculatorSession.compute

    def timed(self: CalculatorSession, *given: Any) -> dict[str, Any]:
        started = time.perf_counter()
        found = compute(self, *given)
        calls.append(time.perf_counter() - started)
        return found

    aimd = Aimd(engine=engine, steps=steps)
    with patch.object(CalculatorSession, "compute", timed):
        started = time.perf_counter()
        list(aimd.simulate(structure, folder))
        return time.perf_counter() - started, calls


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="one engine, such as 'dftb socket'")
    parser.add_argument("--size", type=int, default=42, help="carbon atoms")
    given = parser.parse_args()
    structure = flake(given.size)
    print(f"{structure.atoms.get_chemical_formula()}, {given.steps} steps, {given.rounds} rounds")
    engines = {"xtb": read_engine("xtb")}
    found = shutil.which("dftb+") is not None and os.environ.get("STEM2SIM_SLAKO")
    if found:
        engines |= {f"dftb {mode}": read_engine({"use": "dftb", "mode": mode}) for mode in ("socket", "file")}
    else:
        print("no dftb+ on PATH, or no STEM2SIM_SLAKO: xtb only")
    engines = {name: engine for name, engine in engines.items() if given.only in (None, name)}
    whole: dict[str, list[float]] = {name: [] for name in engines}
    with tempfile.TemporaryDirectory() as folder:
        for name, engine in engines.items():
            ratios = []
            for _ in range(given.rounds):
                seconds, calls = dynamics(engine, structure, given.steps, Path(folder) / "md")
                warm = [t for k, t in enumerate(calls) if k == 0 or (k - 1) % CHECKPOINT]
                ratios.append(seconds / (len(calls) * float(np.mean(warm))))
                whole[name].append(seconds / len(calls))
            print(
                f"{name}: aimd {1000 * np.median(whole[name]):.1f} ms per step, over the bare engine "
                f"{np.median(ratios):.3f} ({', '.join(f'{r:.3f}' for r in ratios)})",
                flush=True,
            )
    if {"dftb file", "dftb socket"} <= set(engines):
        ratio = np.median(whole["dftb file"]) / np.median(whole["dftb socket"])
        print(f"dftb: a process per step takes {ratio:.2f} times as long as the socket")


if __name__ == "__main__":
    main()
