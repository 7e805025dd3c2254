"""The whole chain on a real micrograph, by the command a user types."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from stem2sim.bonds import bond_lengths
from stem2sim.structure import Structure

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
def test_a_real_frame_from_pixels_to_dynamics(stem: Path, tmp_path: Path) -> None:
    """Defaults only: the Si is found and in the patch, bonds relax to those of the field, 100 fs are run at 300 K."""
    command = [sys.executable, "-m", "stem2sim.cli", "run", str(stem / "graphene_si_2nm.npy"), "--out", str(tmp_path)]
    done = subprocess.run(
        [*command, "--set", "image.pixel_size=0.0781", "--json"], capture_output=True, text=True, check=True
    )
    told = json.loads(done.stdout)
    assert told["atoms"]["Si"] == 1
    assert told["atoms"]["C"] > 140
    assert told["lattice"]["pixel_size"] == pytest.approx(0.0763, rel=0.02)
    relaxation, dynamics = told["results"]
    assert relaxation["converged"]
    relaxed = Structure.read(tmp_path / "01-xtb" / "result.extxyz").atoms
    assert relaxed.get_chemical_symbols().count("Si") == 1
    lengths = bond_lengths(relaxed)
    assert 1.40 < lengths["C-C"].mean() < 1.46
    assert ((lengths["C-H"] > 1.07) & (lengths["C-H"] < 1.11)).all()
    assert len(lengths["C-Si"]) == 3
    assert dynamics["converged"]
    series = json.loads((tmp_path / "02-aimd" / "result.json").read_text())["observables"]
    assert series["time [fs]"][-1] == 100
    assert np.mean(series["temperature [K]"][25:]) == pytest.approx(300, abs=90)
    assert (tmp_path / "report.html").stat().st_size > 100_000
