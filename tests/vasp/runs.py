"""Runs of VASP through the stand-in, as several tests make them. No number of theirs is VASP's."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ase.build import molecule
from tests.conftest import ROOT

from stem2sim.structure import Structure
from stem2sim_aimd.aimd import Aimd
from stem2sim_vasp.vasp import Vasp

if TYPE_CHECKING:
    from collections.abc import Callable

    from ase import Atoms

    from stem2sim.simulation import SimulationResult

STANDIN = (sys.executable, str(ROOT / "tests" / "vasp" / "standin"))


def benzene(seed: int = 1, mixed: bool = True) -> Atoms:
    """C6H6 off its minimum, its atoms in no order of species."""
    atoms = molecule("C6H6")
    atoms.rattle(0.04, seed=seed)
    atoms.center(vacuum=5)
    return atoms[[0, 6, 1, 7, 2, 8, 3, 9, 4, 10, 5, 11]] if mixed else atoms


def engine(library: Path, **options: Any) -> Vasp:
    return Vasp.model_validate({"command": STANDIN, "potentials": library, "recovery": False, **options})


def relax(atoms: Atoms, folder: Path, library: Path, **options: Any) -> SimulationResult:
    folder.mkdir(exist_ok=True)
    (result,) = engine(library, **options).simulate(Structure(atoms=atoms), folder)
    return result


def move(atoms: Atoms, folder: Path, library: Path, steps: int, **options: Any) -> SimulationResult:
    folder.mkdir(exist_ok=True)
    given = {"time_step": 0.5, "interval": 1, "steps": steps, **options}
    given.setdefault("engine", engine(library))
    (result,) = Aimd.model_validate(given).simulate(Structure(atoms=atoms), folder)
    return result


def working_in(folder: Path) -> list[int]:
    """Return the processes whose folder this is."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if Path(os.readlink(process / "cwd")) == folder.resolve():
                found.append(int(process.name))
        except OSError:
            continue
    return found


def wait(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def steps_in(folder: Path) -> int:
    """Return how many steps of dynamics the OSZICAR of a folder has."""
    file = folder / "OSZICAR"
    return file.read_text().count(" T=") if file.is_file() else 0
