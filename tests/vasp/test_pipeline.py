"""VASP among the others: in the pipeline, in tables, for several structures at once. No number here is VASP's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase.build import molecule
from tests.conftest import ROOT, stem2sim
from tests.vasp.potcars import write_potential

from stem2sim.structure import Structure
from stem2sim.testing import check_simulator
from stem2sim_vasp.vasp import Vasp

if TYPE_CHECKING:
    from pathlib import Path

STANDIN = [sys.executable, str(ROOT / "tests" / "vasp" / "standin")]


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine with a stand-in for VASP and toy potentials."""
    for element in ("H", "C", "Cr"):
        write_potential(tmp_path / "sets", element)
    for name in [name for name in os.environ if name.startswith("VASP_STANDIN")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("VASP_COMMAND", " ".join(STANDIN))
    monkeypatch.setenv("VASP_PP_PATH", str(tmp_path / "sets"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def benzene(folder: Path) -> Path:
    atoms = molecule("C6H6")
    atoms.rattle(0.03, seed=2)
    atoms.center(vacuum=6)
    Structure(atoms=atoms).write(folder / "benzene.extxyz")
    return folder / "benzene.extxyz"


def test_the_engine_conforms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kit of all simulators: order of atoms, forces minus the slope, nothing outside its folder."""
    monkeypatch.setenv("VASP_STANDIN_ENGINE", "springs")
    (tmp_path / "work").mkdir()
    structure = Structure.read(benzene(tmp_path))
    (result,) = check_simulator(Vasp(), structure, tmp_path / "work")
    assert result.converged


def test_it_stands_beside_the_others_and_says_what_it_is(tmp_path: Path) -> None:
    """xTB, then VASP from its end, in one table; behind the stand-in is GFN1-xTB, and so they agree, by another way."""
    (tmp_path / "run.toml").write_text(
        f'structure = "{benzene(tmp_path)}"\n'
        '[[simulate]]\nuse = "xtb"\nfmax = 0.005\n'
        '[[simulate]]\nuse = "vasp"\nfmax = 0.005\nrecovery = false\n'
    )
    done = stem2sim("run", tmp_path / "run.toml", "--out", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    xtb, vasp = json.loads(done.stdout)["results"]
    assert vasp["converged"]
    assert "STAND-IN, not VASP: GFN1-xTB" in vasp["engine"]
    assert "none of these numbers is VASP's" in vasp["warnings"][0]
    assert vasp["mean_bonds_A"] == pytest.approx(xtb["mean_bonds_A"], abs=0.003)
    # two programs' energies have no common zero, and are not subtracted
    assert vasp["relative_energy_eV"] is None
    table = stem2sim("compare", tmp_path / "out")
    assert "STAND-IN" in table.stdout
    page = (tmp_path / "out" / "report.html").read_text()
    assert "STAND-IN, not VASP" in page
    assert "PAW_PBE C 01Jan1970 (sha256" in page
    # the potentials themselves are nowhere but where VASP read them
    everywhere = [file for file in (tmp_path / "out").rglob("*") if file.is_file() and file.name != "POTCAR"]
    assert not [file for file in everywhere if b"local part" in file.read_bytes()]


def test_several_structures_are_prepared_and_collected_as_they_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adsorption: a folder for each member; one that has run is read, the others are waited for; then the energy."""
    monkeypatch.setenv("VASP_STANDIN_ENGINE", "springs")
    monkeypatch.delenv("VASP_COMMAND")
    (tmp_path / "run.toml").write_text(
        f'structure = "{benzene(tmp_path)}"\n'
        '[[build]]\nuse = "adsorb"\nwhat = "Cr"\nsites = ["hollow"]\n'
        '[[simulate]]\nuse = "adsorption"\nengine = { use = "vasp", fmax = 0.05, recovery = false }\n'
    )
    out = tmp_path / "out"
    done = stem2sim("simulate", tmp_path / "run.toml", "--out", out, "--prepare-only", "--json")
    assert done.returncode == 0, done.stderr
    members = sorted(path for path in out.glob("01-adsorption-*") if (path / "INCAR").is_file())
    assert len(members) == 3
    assert len(json.loads(done.stdout)["waiting"]) == 3
    environment = {**os.environ, "VASP_COMMAND": " ".join(STANDIN)}
    subprocess.run(["sh", "run-vasp.sh"], cwd=members[0], env=environment, check=True)
    partly = stem2sim("collect", out, "--json")
    assert partly.returncode == 0, partly.stderr
    summary = json.loads(partly.stdout)
    assert (len(summary["results"]), len(summary["waiting"])) == (1, 2)
    for member in members[1:]:
        subprocess.run(["sh", "run-vasp.sh"], cwd=member, env=environment, check=True)
    whole = stem2sim("collect", out, "--json")
    assert whole.returncode == 0, whole.stderr
    summary = json.loads(whole.stdout)
    assert (len(summary["results"]), summary["waiting"]) == (3, [])
    assert all(result["converged"] for result in summary["results"])
    assert "adsorption at" in whole.stderr


def test_what_was_read_half_way_is_shown_and_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unfinished relaxation is in the report as such, keeps nothing from going on, and is replaced by its end."""
    monkeypatch.setenv("VASP_STANDIN_ENGINE", "springs")
    monkeypatch.setenv("VASP_STANDIN_FAIL", "kill@4")
    out = tmp_path / "out"
    flags = ("--simulator", "vasp", "--out", out, "--set", "simulate.0.recovery=false")
    assert stem2sim("simulate", benzene(tmp_path), *flags).returncode == 1
    partly = stem2sim("collect", out, "--json")
    assert partly.returncode == 0, partly.stderr
    summary = json.loads(partly.stdout)
    (result,) = summary["results"]
    assert result["reason"].startswith("unfinished: 3 of at most 500 steps")
    assert not result["converged"]
    assert summary["steps"]["01-vasp"] == "unfinished"
    assert "unfinished: 3 of at most 500 steps" in (out / "report.html").read_text()
    energies = json.loads((out / "01-vasp" / "result.json").read_text())["observables"]["energy [eV]"]
    assert len(energies) == 3
    done = stem2sim("simulate", benzene(tmp_path), *flags, "--json")
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)["results"]
    assert result["converged"]
    after = json.loads((out / "01-vasp" / "result.json").read_text())["observables"]["energy [eV]"]
    assert after[:3] == energies
    again = stem2sim("collect", out, "--json")
    assert json.loads(again.stdout)["steps"]["01-vasp"] == "already done"


def test_of_a_ladder_that_is_prepared_again_what_is_complete_is_a_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ladder that grows: the temperature that has run counts, the new one waits."""
    monkeypatch.setenv("VASP_STANDIN_ENGINE", "springs")
    out = tmp_path / "out"
    options = {"engine.use": '"vasp"', "engine.recovery": "false", "steps": "4", "time_step": "0.5"}
    flags = ["--simulator", "aimd", "--out", out, "--prepare-only", "--json"]
    for name, value in options.items():
        flags += ["--set", f"simulate.0.{name}={value}"]
    first = stem2sim("simulate", benzene(tmp_path), *flags, "--set", "simulate.0.temperature=[300.0, 400.0]")
    assert first.returncode == 0, first.stderr
    assert not json.loads(first.stdout)["results"]
    subprocess.run(["sh", "run-vasp.sh"], cwd=out / "01-aimd" / "dynamics-400K", check=True)
    again = stem2sim("simulate", benzene(tmp_path), *flags, "--set", "simulate.0.temperature=[400.0, 500.0]")
    assert again.returncode == 0, again.stderr
    summary = json.loads(again.stdout)
    assert [result["label"] for result in summary["results"]] == ["400K"]
    (waiting,) = summary["waiting"]
    assert "dynamics-500K" in waiting
    assert "dynamics-400K" not in waiting


def test_folders_may_have_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blanks and quotes in paths reach no shell: the script and the command work as they are."""
    monkeypatch.setenv("VASP_STANDIN_ENGINE", "springs")
    odd = tmp_path / "a b'; touch hacked; '$(touch hacked)"
    odd.mkdir()
    tool = odd / "stand in"
    shutil.copytree(STANDIN[1], tool)
    engine = Vasp(command=(sys.executable, str(tool)), fmax=0.05, recovery=False)
    structure = Structure.read(benzene(tmp_path))
    engine.prepare(structure, odd)
    subprocess.run(["sh", odd / "run-vasp.sh"], cwd="/", check=True)
    (result,) = engine.collect(structure, odd)
    assert result.converged
    assert not list(tmp_path.rglob("hacked"))
    (tmp_path / "here").mkdir()
    (other,) = engine.simulate(structure, tmp_path / "here")
    assert np.allclose(other.structure.atoms.positions, result.structure.atoms.positions, atol=1e-6)
