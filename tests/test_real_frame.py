"""The whole chain on a real micrograph, by the command a user types."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial import Delaunay
from skimage.feature import peak_local_max

from stem2sim.geometry.bonds import Bonds
from stem2sim.structure import Structure
from tests.conftest import stem2sim, table_of

if TYPE_CHECKING:
    from pathlib import Path

    from stem2sim.atoms_table import AtomsTable


@pytest.mark.slow
def test_a_real_frame_from_pixels_to_dynamics(stem: Path, tmp_path: Path) -> None:
    """A small patch: the Si is found and in it, bonds relax to those of the field, 100 fs are run at 300 K."""
    done = stem2sim(
        "run", stem / "graphene_si_2nm.npy", "--out", tmp_path, "--set", "image.pixel_size=0.0781",
        "--set", "build.1.size=30", "--set", "simulate.0.fmax=0.03", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["atoms"]["Si"] == 1
    assert told["atoms"]["C"] > 140
    assert told["lattice"]["pixel_size"] == pytest.approx(0.0763, rel=0.02)
    relaxation, dynamics = told["results"]
    assert relaxation["converged"]
    relaxed = Structure.read(tmp_path / "01-xtb" / "result.extxyz").atoms
    assert relaxed.get_chemical_symbols().count("Si") == 1
    lengths = Bonds.of(relaxed).lengths()
    assert 1.40 < lengths["C-C"].mean() < 1.46
    assert ((lengths["C-H"] > 1.07) & (lengths["C-H"] < 1.11)).all()
    assert len(lengths["C-Si"]) == 3
    assert dynamics["converged"]
    series = json.loads((tmp_path / "02-aimd" / "result.json").read_text())["observables"]
    assert series["time [fs]"][-1] == 100
    assert np.mean(series["temperature [K]"][25:]) == pytest.approx(300, abs=90)
    assert (tmp_path / "report.html").stat().st_size > 100_000


def columns_of(pixels: np.ndarray, pixel_size: float) -> AtomsTable:
    """Molybdenum where the frame is bright, S2 in the middle of the brighter kind of triangle between three of them."""
    smooth = ndimage.gaussian_filter(pixels, 2.8)
    peaks = peak_local_max(smooth - ndimage.gaussian_filter(pixels, 25), min_distance=5, exclude_border=8)
    metal = peaks[:, ::-1].astype(float)
    corners = metal[Delaunay(metal).simplices]
    sides = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2) * pixel_size
    corners = corners[((sides > 2.4) & (sides < 4.0)).all(axis=1)]
    middle = corners.mean(axis=1)
    # the two kinds point up and down
    up = np.sort(corners[:, :, 1], axis=1)
    up = up[:, 1] - up[:, 0] > up[:, 2] - up[:, 1]
    bright = [smooth[tuple(np.rint(middle[kind][:, ::-1]).astype(int).T)].mean() for kind in (up, ~up)]
    sulphur = middle[up if bright[0] > bright[1] else ~up]
    species = np.array(["Mo"] * len(metal) + ["S2"] * len(sulphur))
    return table_of(np.vstack([metal, sulphur]) * pixel_size).model_copy(update={"species": species})


def test_molybdenum_disulphide_from_a_table_of_columns(stem: Path, tmp_path: Path) -> None:
    """A real frame whose scan is stretched by 16 to 19 %: found, taken out, and two sulphur atoms in each column."""
    table = columns_of(np.load(stem / "mos2_v_doped.npy"), 90 / 512)
    (tmp_path / "columns.csv").write_text(table.to_csv())
    (tmp_path / "run.toml").write_text(
        '[segment]\nuse = "atoms-table"\npath = "columns.csv"\n[[build]]\nuse = "place"\n[[build]]\nuse = "calibrate"\n'
        'lattice_constant = 3.16\napply = true\n[[build]]\nuse = "patch"\nsize = 120\ncontains = "any"\n'
    )
    done = stem2sim("build", tmp_path / "run.toml", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    (file,) = (tmp_path / "run").glob("structure*.extxyz")
    structure = Structure.read(file)
    said = next(finding for finding in structure.findings if "requires a correction of" in finding)
    assert 16 <= float(said.split("in scale, ")[1].split(" %")[0]) <= 19
    atoms = structure.atoms
    assert set(atoms.symbols) == {"Mo", "S"}
    assert 1.5 < atoms.symbols.count("S") / atoms.symbols.count("Mo") < 2.5
    kinds = Bonds.of(atoms).lengths()
    assert np.median(kinds["Mo-S"]) == pytest.approx(2.41, abs=0.04)
    assert {check.severity for check in structure.checks} <= {"note", "warning"}
    assert any("Mo with" in check.text and "S with" in check.text for check in structure.checks)
