"""Runs of DFTB+ that the tests share."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from ase.build import molecule
from tests.conftest import SHARED

from stem2sim.structure import Structure
from stem2sim_dftb.dftb import Dftb

if TYPE_CHECKING:
    from pathlib import Path

    from ase import Atoms

    from stem2sim.simulation import SimulationResult


SET = SHARED / "data" / "slater_koster" / "pbc-0-3"

NEEDS_DFTB = [
    pytest.mark.dftb,
    pytest.mark.skipif(shutil.which("dftb+") is None, reason="no dftb+ on PATH: DFTB+ has no package to install here"),
    pytest.mark.skipif(not SET.is_dir(), reason="no Slater-Koster set: ../shared/data/slater_koster is absent"),
]


def run(atoms: Atoms, folder: Path, **options: object) -> SimulationResult:
    folder.mkdir(exist_ok=True)
    engine = Dftb.model_validate({"slater_koster": SET, "threads": 1, **options})
    (result,) = engine.simulate(Structure(atoms=atoms), folder)
    return result


def benzene() -> Atoms:
    atoms = molecule("C6H6")
    atoms.rattle(0.05, seed=1)
    return atoms
