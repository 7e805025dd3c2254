"""What a simulation will cost, what a config needs, and results side by side."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase.build import molecule
from tests.conftest import Emt, flake, stem2sim
from tests.made_runs import run

from stem2sim.analysis.comparison import compared, displacement, row
from stem2sim.config.config import Config
from stem2sim.runs import estimate as estimates
from stem2sim.runs.doctor import checks_of, elements_of
from stem2sim.runs.estimate import Measurement, duration, part
from stem2sim.simulation import SimulationResult
from stem2sim.structure import Structure
from stem2sim.testing import graphene_sheet
from stem2sim_aimd.aimd import Aimd
from stem2sim_xtb.xtb import Xtb

if TYPE_CHECKING:
    from pathlib import Path


def costing(monkeypatch: pytest.MonkeyPatch, power: float) -> None:
    """Let an engine take n to that power nanoseconds, and 8 n² bytes beside 50 MB."""

    def measure(engine: object, structure: Structure) -> Measurement:
        n = len(structure.atoms)
        return Measurement(atoms=n, first=2e-9 * n**power, step=1e-9 * n**power, memory=5e7 + 8.0 * n**2)

    monkeypatch.setattr(estimates, "measure", measure)


@pytest.mark.parametrize("power", [1.0, 2.0, 3.0])
def test_a_law_that_holds_is_extrapolated_exactly(power: float, monkeypatch: pytest.MonkeyPatch) -> None:
    costing(monkeypatch, power)
    big = Structure(atoms=graphene_sheet(60))
    n = len(big.atoms)
    assert n > 1000
    engine = Emt()
    monkeypatch.setattr(Emt, "linear", power == 1, raising=False)
    one = estimates.estimate(engine, big)
    if power == 2:  # matrices end at the cube: that a square goes on is not believed
        assert one.between[0] <= 1e-9 * n**power * 1.000001
        return
    assert one.step == pytest.approx(1e-9 * n**power)
    assert one.first == pytest.approx(2 * one.step)
    assert one.between[0] <= one.step * 1.000001
    assert one.between[1] >= one.step * 0.999999
    assert one.memory == pytest.approx(5e7 + 8.0 * n**2)


def test_between_square_and_cube_the_cube_takes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """A power law fitted to small parts is too cheap, the cube of the larger one too dear: it lies between.

    So it does where an overhead hides the cube, and a busy machine that makes the law steeper still leaves a range.
    """
    big = Structure(atoms=graphene_sheet(60))
    for power in (1.5, 2.5):
        costing(monkeypatch, power)
        one = estimates.estimate(Emt(), big)
        assert one.between[0] < one.step < one.between[1]
    costing(monkeypatch, 3.5)
    one = estimates.estimate(Emt(), big)
    assert one.between[0] == one.step == pytest.approx(1e-9 * 200**3.5 * (one.atoms / 200) ** 3)
    assert one.between[1] > one.step


def test_a_part_is_whole_and_a_small_structure_is_measured_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    cut = part(Structure(atoms=graphene_sheet(60)), 100)
    assert len(cut.atoms) == 100
    assert np.ptp(cut.atoms.positions[:, :2], axis=0).max() < 21
    costing(monkeypatch, 3.0)
    small = estimates.estimate(Emt(), Structure(atoms=graphene_sheet(10)))
    assert [probe.atoms for probe in small.probes] == [small.atoms]


def test_times_are_told_as_people_would() -> None:
    told = [duration(s) for s in (0.0123, 0.5, 3, 200, 10000, 200000, 2000000)]
    assert told == ["12.3 ms", "0.50 s", "3.0 s", "3.3 min", "2.8 h", "2.3 d", "23.1 d"]


def test_the_command_measures_the_engine_that_is_asked_for(tmp_path: Path) -> None:
    """Xtb for real on benzene: per-step time and all steps of a ladder; the first step is slower than the others."""
    Structure(atoms=molecule("C6H6")).write(tmp_path / "benzene.extxyz")
    options = ["--simulator", "aimd", "--engine", "xtb", "--set", "simulate.0.temperature=[300,600]"]
    done = stem2sim("estimate", tmp_path / "benzene.extxyz", *options, "--out", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    (cost,) = json.loads(done.stdout)
    assert cost["atoms"] == 12
    assert cost["steps"] == 400
    assert 0 < cost["seconds_per_step"] < 10
    assert cost["seconds"] == pytest.approx(2 * cost["probes"][0]["first"] + 400 * cost["seconds_per_step"])
    done = stem2sim("estimate", tmp_path / "benzene.extxyz", *options, "--out", tmp_path / "out")
    assert done.stdout.startswith("01-aimd of structure.extxyz: 12 atoms: ")
    before = (tmp_path / "out" / "run.toml").read_text()
    other = ["--simulator", "xtb", "--set", "simulate.0.multiplicity=2"]
    wrong = stem2sim("estimate", tmp_path / "out", *other)
    assert wrong.returncode == 2
    assert "xtb on 12 atoms: multiplicity 2 is impossible" in wrong.stderr
    assert (tmp_path / "out" / "run.toml").read_text() == before  # a run is asked about, not changed


def test_the_doctor_names_what_is_missing_and_what_mends_it(tmp_path: Path) -> None:
    options = ["--simulator", "dftb", "--simulator", "xtb", "--elements", "C,Cr"]
    none = ["--set", "simulate.0.binary=no-dftb", "--set", "simulate.0.slater_koster=/nowhere"]
    done = stem2sim("doctor", *options, *none, "--json")
    assert done.returncode == 1
    found = {(one["what"], one["state"]): one for one in json.loads(done.stdout)}
    assert "GFN1-xTB covers C, Cr" in found["xtb", "ok"]["found"]
    missing = [one for one in json.loads(done.stdout) if one["state"] == "missing"]
    assert [one["found"] for one in missing] == ["no 'no-dftb' on PATH", "slater_koster: no folder at /nowhere"]
    assert all(one["fix"] for one in missing)
    well = stem2sim("doctor", "--simulator", "xtb")
    assert well.returncode == 0, well.stdout
    assert "GB free at" in " ".join(well.stdout.split())
    unknown = stem2sim("doctor", "--simulator", "xtb", "--elements", "C,Xx")
    assert (unknown.returncode, unknown.stderr) == (2, "error: no element 'Xx'; write symbols, such as C,H,Si\n")
    assert stem2sim("doctor", tmp_path / "nowhere.toml").returncode == 2
    wrong = stem2sim("doctor", "--simulator", "nothing")
    assert wrong.returncode == 1
    assert "no simulator named 'nothing'" in " ".join(wrong.stdout.split())


def test_the_doctor_looks_at_the_elements_of_the_structure(tmp_path: Path) -> None:
    file = tmp_path / "uranium.extxyz"
    from ase import Atoms

    Structure(atoms=Atoms("UO", positions=[[0, 0, 0], [0, 0, 2]])).write(file)
    config = Config(structure=file, simulate=(Xtb(),))
    assert elements_of(config, None) == ["O", "U"]
    (missing,) = [one for one in checks_of(config, ["O", "U"], tmp_path) if one.state == "missing"]
    assert missing.found == "GFN1-xTB has no parameters for U"


def result(structure: Structure, energy: float, **more: object) -> SimulationResult:
    forces = np.zeros((len(structure.atoms), 3))
    fields = {"converged": True, "made_by": {"use": "xtb", "engine": "tblite 1"}, **more}
    return SimulationResult(structure=structure, energy=energy, forces=forces, **fields)  # type: ignore[arg-type]


def test_a_row_counts_what_changed(tmp_path: Path) -> None:
    """Rings, bonds broken and formed, and how far atoms moved beside any motion of the whole."""
    start = flake(10)
    moved = start.atoms.copy()
    moved.rotate(30, "z")
    moved.translate([3, 4, 5])
    same = row("01-xtb", result(start.model_copy(update={"atoms": moved}), -1.0), start)
    assert (same.broken, same.formed) == (0, 0)
    assert same.moved == pytest.approx(0, abs=1e-9)
    assert set(same.rings) == {6}
    assert same.bonds["C-C"] == pytest.approx(1.42, abs=0.001)
    assert same.engine == "tblite 1"
    torn = start.atoms.copy()
    torn.positions[0] += [0, 0, 8]
    gone = row("01-xtb", result(start.model_copy(update={"atoms": torn}), -1.0), start)
    assert gone.broken == int(np.sum(np.isclose(start.atoms.get_distances(0, range(1, len(torn))), 1.42, atol=0.01)))
    assert gone.formed == 0
    assert displacement(start.atoms, torn) > 0.1


def test_energies_compare_within_one_protocol_only(tmp_path: Path) -> None:
    """Relative to the lowest of the same atoms by the same simulation; what did not converge takes no part."""
    one = flake(8)
    energies = [("a", -10.0, {}), ("b", -9.5, {}), ("c", -11.0, {"converged": False})]
    found = [(row(name, r, None), r) for name, e, more in energies for r in [result(one, e, **more)]]
    other = result(one, -500.0, made_by={"use": "dftb"})
    rows = compared([*found, (row("d", other, None), other)])
    assert [r.relative for r in rows] == [0.0, 0.5, None, None]


def test_a_ladder_is_one_table(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In the log, on the page, for programs, and by `compare`: bonds and rings for every temperature."""
    file = tmp_path / "naphthalene.extxyz"
    Structure(atoms=molecule("C6H6")).write(file)
    aimd = Aimd(engine=Xtb(), temperature=(300.0, 600.0), steps=4)
    with caplog.at_level(logging.INFO, "stem2sim"):
        outcome = run(Config(structure=file, simulate=(aimd,)), tmp_path / "run")
    assert [one.label for one in outcome.rows] == ["300K", "600K"]
    assert caplog.text.count("rings 1 of 6; bonds broken 0, formed 0") == 2
    page = (tmp_path / "run" / "report.html").read_text()
    assert "<h2>Comparison of the simulations</h2>" in page
    assert "C–C [Å]" in page
    done = stem2sim("compare", tmp_path / "run", tmp_path / "run", "--json")
    assert done.returncode == 0, done.stderr
    assert [one["label"] for one in json.loads(done.stdout)] == ["300K", "600K"] * 2
    shown = stem2sim("compare", tmp_path / "run")
    assert "01-aimd 300K" in shown.stdout
    assert "energy [eV]" in shown.stdout
    assert stem2sim("compare", tmp_path).returncode == 2
