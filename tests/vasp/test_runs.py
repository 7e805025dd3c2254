"""VASP's runs, through the stand-in: constraints, dynamics, failures, cuts. No number here is VASP's."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from ase.constraints import FixAtoms, FixCartesian
from ase.io import read
from tests.conftest import stem2sim
from tests.vasp.potcars import write_potcar
from tests.vasp.runs import STANDIN, benzene, engine, move, relax, steps_in, wait, working_in

from stem2sim.analysis.comparison import row
from stem2sim.engines.deadline import time_limit
from stem2sim.engines.trajectory import frames
from stem2sim.errors import BadInput, OutOfTime, StageFailed
from stem2sim.runs.run import Run
from stem2sim.structure import Structure
from stem2sim_aimd.aimd import Aimd

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("quick")


def test_a_relaxation_ends_where_ediffg_says_and_keeps_the_order_of_atoms(tmp_path: Path, library: Path) -> None:
    """The largest force is within EDIFFG, the energy fell, C is where C was; the stand-in says what it is."""
    start = benzene()
    result = relax(start, tmp_path / "run", library, fmax=1e-3)
    assert result.converged
    assert result.largest_force <= 1e-3
    energies = result.observables["energy [eV]"]
    assert energies[-1] < energies[0]
    ended = result.structure.atoms
    assert ended.get_chemical_symbols() == start.get_chemical_symbols()
    assert np.abs(ended.positions - start.positions).max() < 0.5
    assert "STAND-IN" in result.made_by["engine"]
    assert "STAND-IN" in row("01-vasp", result, None).engine
    found = list(frames(tmp_path / "run" / "relaxation.traj"))
    assert len(found) == len(energies)
    assert np.allclose(found[-1].get_forces(apply_constraint=False), result.forces, atol=1e-6)
    # three energies, apart by name
    assert result.energy == energies[-1]
    entropy = result.observables["energy without entropy [eV]"][-1]
    assert result.observables["energy for sigma -> 0 [eV]"][-1] == pytest.approx(
        (result.energy + entropy) / 2, abs=1e-6
    )


@pytest.mark.parametrize("mode", ["perimeter", "z-only", "hydrogen", "full"])
def test_what_is_held_does_not_move(mode: str, tmp_path: Path, library: Path) -> None:
    """The four constraint modes of the paper: forbidden components stay within 1e-6 Å, the others relax."""
    atoms = benzene()
    hydrogen = np.flatnonzero(atoms.numbers == 1)
    free = np.ones((12, 3), dtype=bool)
    options: dict[str, Any] = {}
    if mode == "perimeter":
        atoms.set_constraint(FixAtoms([0, 2]))
        free[[0, 2]] = False
    elif mode == "z-only":
        atoms.set_constraint(FixCartesian(range(12), mask=[True, True, False]))
        free[:, :2] = False
    elif mode == "hydrogen":
        atoms.set_constraint(FixAtoms(hydrogen))
        free[hydrogen] = False
    else:
        options["relax_cell"] = True
        options["max_steps"] = 60
    result = relax(atoms, tmp_path, library, fmax=0.02, **options)
    moved = np.abs(result.structure.atoms.positions - atoms.positions)
    assert moved[~free].max(initial=0) < 1e-6
    # what VASP itself wrote, not only what we make of it
    contcar = read(tmp_path / "CONTCAR").positions
    order = json.loads((tmp_path / "asked.json").read_text())["order"]
    assert np.abs(contcar - atoms.positions[order])[~free[order]].max(initial=0) < 1e-6
    assert moved[free].max() > 1e-3
    if mode == "full":
        assert "ISIF = 3" in (tmp_path / "INCAR").read_text()
        assert not np.allclose(result.structure.atoms.cell, atoms.cell, atol=1e-6)
    else:
        assert result.converged


def test_nvt_keeps_its_temperature_and_its_conserved_quantity(tmp_path: Path, library: Path) -> None:
    """Nosé at 300 K: the mean over 400 fs is within what 33 degrees of freedom allow, and ETOTAL is constant."""
    atoms = benzene(mixed=False)
    atoms = relax(atoms, tmp_path / "relaxed", library, fmax=1e-3).structure.atoms
    result = move(atoms, tmp_path / "run", library, 800, thermostat_period=60.0, interval=2)
    temperatures = np.array(result.observables["temperature [K]"])
    # the fluctuation of T is T sqrt(2 / f) = 74 K, its mean over some ten periods a third of that
    assert abs(temperatures[100:].mean() - 300) < 75
    assert 25 < temperatures[100:].std() < 200
    conserved = np.array(result.observables["conserved quantity [eV]"])
    assert np.ptp(conserved) < 0.05
    assert "SMASS = -3" not in (tmp_path / "run" / "dynamics-300K" / "INCAR").read_text()
    assert result.converged
    # momenta from positions agree with the kinetic energy that VASP prints, within what half a femtosecond blurs
    kinetic = result.structure.atoms.get_kinetic_energy()
    assert 2 * kinetic / (33 * 8.617333e-5) == pytest.approx(temperatures[-1], rel=0.15)


@pytest.mark.parametrize("fixed", [False, True])
def test_ten_steps_and_ten_more_are_twenty(fixed: bool, tmp_path: Path, library: Path) -> None:
    """CONTCAR goes byte for byte: same frames, none doubled or missing, same temperatures and conserved quantity."""
    atoms = benzene()
    if fixed:
        atoms.set_constraint(FixAtoms([0, 2]))
    move(atoms, tmp_path / "parts", library, 10)
    parts = move(atoms, tmp_path / "parts", library, 20)
    whole = move(atoms, tmp_path / "whole", library, 20)
    folder = tmp_path / "parts" / "dynamics-300K"
    assert (folder / "POSCAR").read_bytes() == (folder / "parts" / "001" / "CONTCAR").read_bytes()
    assert "NSW = 10\n" in (folder / "INCAR").read_text()
    assert parts.observables["time [fs]"] == whole.observables["time [fs]"] == [0.5 * k for k in range(20)]
    for name, values in whole.observables.items():
        assert np.allclose(parts.observables[name], values, atol=1e-5), name
    a, b = (list(frames(tmp_path / name / "dynamics-300K.traj")) for name in ("parts", "whole"))
    assert len(a) == len(b) == 20
    assert max(np.abs(x.positions - y.positions).max() for x, y in zip(a, b, strict=True)) < 1e-6


def test_ladders_and_replicas_are_runs_of_their_own(tmp_path: Path, library: Path) -> None:
    aimd = Aimd.model_validate(
        {"engine": engine(library), "temperature": (300.0, 900.0), "replicas": 2, "steps": 5, "time_step": 1.0}
    )
    results = list(aimd.simulate(Structure(atoms=benzene()), tmp_path))
    assert [result.label for result in results] == ["300K-1", "300K-2", "900K-1", "900K-2"]
    first = [result.observables["temperature [K]"][0] for result in results]
    assert first == pytest.approx([300, 300, 900, 900], rel=0.02)
    assert not np.allclose(results[0].structure.atoms.positions, results[1].structure.atoms.positions)
    for name in ("dynamics-300K", "dynamics-300K-2", "dynamics-900K", "dynamics-900K-2"):
        assert (tmp_path / name / "vasprun.xml").is_file()


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        ("zhegv@3", "ZHEGV"),
        ("zbrent@2", "ZBRENT"),
        ("kill@3", "killed by signal 9"),
        ("refuse", "VASP: it refused to continue: .*No initial positions"),
        ("segv@2", "SIGSEGV"),
        ("full@3", "disk is full"),
        ("hang@2", "VASP hangs"),
    ],
)
def test_a_failure_is_one_line_and_the_same_command_goes_on(
    failure: str, message: str, tmp_path: Path, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without custodian: what happened and what helps, no child left; run again, it ends at the same minimum."""
    monkeypatch.setenv("VASP_STANDIN_FAIL", failure)
    options = {"fmax": 1e-3, "patience": 0.02}
    with pytest.raises(StageFailed, match=message) as caught:
        relax(benzene(), tmp_path / "run", library, **options)
    assert "\n" not in str(caught.value)
    assert not working_in(tmp_path / "run")
    result = relax(benzene(), tmp_path / "run", library, **options)
    monkeypatch.delenv("VASP_STANDIN_FAIL")
    whole = relax(benzene(), tmp_path / "whole", library, **options)
    assert result.converged
    assert result.energy == pytest.approx(whole.energy, abs=1e-4)


def test_electrons_that_do_not_converge_are_told(
    tmp_path: Path, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """VASP 5 says that EDIFF is reached, VASP 6 that it was not: both are called unconverged, and which step."""
    for flavour in ("5", "6"):
        monkeypatch.setenv("VASP_STANDIN_FLAVOUR", flavour)
        monkeypatch.setenv("VASP_STANDIN_FAIL", "nelm@3")
        result = move(benzene(), tmp_path / flavour, library, 6)
        assert not result.converged
        assert any("electrons not converged in 1 of 6 steps (3)" in warning for warning in result.warnings)


def test_brmix_that_vasp_survives_is_told(tmp_path: Path, library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VASP_STANDIN_FAIL", "brmix@2")
    result = relax(benzene(), tmp_path, library, fmax=0.01)
    assert result.converged
    assert any("BRMIX" in warning for warning in result.warnings)


@pytest.mark.parametrize("failure", ["zhegv@3", "zbrent@2"])
def test_custodian_mends_a_relaxation(
    failure: str, tmp_path: Path, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on from CONTCAR, converges, and the result says which tag is not what was asked."""
    monkeypatch.setenv("VASP_STANDIN_FAIL", failure)
    result = relax(benzene(), tmp_path / "run", library, fmax=1e-3, recovery=True)
    monkeypatch.delenv("VASP_STANDIN_FAIL")
    whole = relax(benzene(), tmp_path / "whole", library, fmax=1e-3)
    assert result.converged
    assert result.energy == pytest.approx(whole.energy, abs=1e-4)
    assert any(warning.startswith("INCAR: ") for warning in result.warnings)


def test_custodian_mends_dynamics_without_touching_them(
    tmp_path: Path, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ZHEGV in step 5 of 12: the rest is run, not all of it anew, POTIM stays, and no frame is doubled."""
    monkeypatch.setenv("VASP_STANDIN_FAIL", "zhegv@5")
    result = move(benzene(), tmp_path / "run", library, 12, engine=engine(library, recovery=True))
    monkeypatch.delenv("VASP_STANDIN_FAIL")
    whole = move(benzene(), tmp_path / "whole", library, 12)
    assert np.allclose(result.observables["temperature [K]"], whole.observables["temperature [K]"], atol=1e-3)
    incar = (tmp_path / "run" / "dynamics-300K" / "INCAR").read_text()
    assert "POTIM = 0.5\n" in incar
    assert "NSW = 8\n" in incar


def test_custodian_may_not_change_what_is_computed(
    tmp_path: Path, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ZBRENT in dynamics would halve POTIM; it is reported instead. What never works ends after a few tries."""
    monkeypatch.setenv("VASP_STANDIN_FAIL", "zbrent@3")
    with pytest.raises(StageFailed, match="ZBRENT"):
        move(benzene(), tmp_path / "moved", library, 6, engine=engine(library, recovery=True))
    assert "POTIM = 0.5\n" in (tmp_path / "moved" / "dynamics-300K" / "INCAR").read_text()
    monkeypatch.setenv("VASP_STANDIN_FAIL", "zhegv@1")
    monkeypatch.setenv("VASP_STANDIN_FAIL_ALWAYS", "1")
    with pytest.raises(StageFailed, match="ZHEGV"):
        relax(benzene(), tmp_path / "never", library, recovery=True)


@pytest.fixture
def config(tmp_path: Path, library: Path) -> Path:
    """A run of dynamics that is slow enough to be killed."""
    Structure(atoms=benzene()).write(tmp_path / "start.extxyz")
    command = json.dumps(list(STANDIN))
    (tmp_path / "run.toml").write_text(
        f'structure = "start.extxyz"\n[[simulate]]\nuse = "aimd"\nsteps = 30\ninterval = 1\ntime_step = 0.5\n'
        f'engine = {{ use = "vasp", command = {command}, potentials = "{library}", recovery = false }}\n'
    )
    return tmp_path / "run.toml"


@pytest.mark.parametrize("killed", ["vasp", "stem2sim"])
def test_killed_in_the_middle_it_goes_on(
    killed: str, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`kill -9` of VASP, or of stem2sim: no child is left, the same command makes the rest, no frame is doubled."""
    monkeypatch.setenv("VASP_STANDIN_SLEEP", "0.05")
    command = [sys.executable, "-m", "stem2sim.cli", "simulate", str(config), "--out", str(tmp_path / "out")]
    folder = tmp_path / "out" / "01-aimd" / "dynamics-300K"
    for _ in range(2):
        before = steps_in(folder)
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            wait(lambda before=before: 3 < steps_in(folder) != before)
            victim = working_in(folder)[0] if killed == "vasp" else process.pid
            os.kill(victim, signal.SIGKILL)
            _, output = process.communicate(timeout=60)
        if killed == "vasp":
            assert process.returncode == 1
            assert "killed by signal 9" in output
        wait(lambda: not working_in(folder))
    monkeypatch.delenv("VASP_STANDIN_SLEEP")
    done = stem2sim("simulate", config, "--out", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    found = list(frames(tmp_path / "out" / "01-aimd" / "dynamics-300K.traj"))
    assert [frame.info["step"] for frame in found] == list(range(30))
    whole = tmp_path / "whole"
    assert stem2sim("simulate", config, "--out", whole).returncode == 0
    alone = list(frames(whole / "01-aimd" / "dynamics-300K.traj"))
    assert max(np.abs(a.positions - b.positions).max() for a, b in zip(found, alone, strict=True)) < 1e-5
    assert len(list((folder / "parts").iterdir())) == 2


def test_ctrl_c_ends_vasp_too(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VASP_STANDIN_SLEEP", "0.05")
    command = [sys.executable, "-m", "stem2sim.cli", "simulate", str(config), "--out", str(tmp_path / "out")]
    folder = tmp_path / "out" / "01-aimd" / "dynamics-300K"
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait(lambda: steps_in(folder) > 2)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert not working_in(folder)


def test_the_wall_clock_limit_stops_it_at_a_step(
    tmp_path: Path, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through a STOPCAR: VASP ends by itself, and what follows loses nothing."""
    monkeypatch.setenv("VASP_STANDIN_SLEEP", "0.1")
    with time_limit(11.5 / 3600), pytest.raises(OutOfTime, match="wall-clock limit"):
        move(benzene(), tmp_path / "cut", library, 60)
    folder = tmp_path / "cut" / "dynamics-300K"
    assert "General timing" in (folder / "OUTCAR").read_text()
    assert 1 < steps_in(folder) < 60
    monkeypatch.delenv("VASP_STANDIN_SLEEP")
    whole = move(benzene(), tmp_path / "whole", library, 60)
    cut = move(benzene(), tmp_path / "cut", library, 60)
    assert np.allclose(cut.observables["temperature [K]"], whole.observables["temperature [K]"], atol=1e-2)


def test_prepare_copy_run_elsewhere_collect(config: Path, tmp_path: Path) -> None:
    """Prepared without VASP, copied, run by the script there, copied back, collected; nothing of ours ran VASP."""
    out = tmp_path / "out"
    unset = ("--set", "simulate.0.engine.command=[]")
    done = stem2sim("simulate", config, "--out", out, "--prepare-only", *unset)
    assert done.returncode == 0, done.stderr
    assert "run it, copy the folder back" in done.stderr
    folder = out / "01-aimd" / "dynamics-300K"
    assert {"INCAR", "KPOINTS", "POSCAR", "POTCAR", "run-vasp.sh", "job.sh"} <= {p.name for p in folder.iterdir()}
    assert not (folder / "OUTCAR").exists()
    empty = stem2sim("collect", out)
    assert empty.returncode == 1
    assert "nothing to collect" in empty.stderr
    there = tmp_path / "cluster"
    shutil.copytree(folder, there)
    environment = {**os.environ, "VASP_COMMAND": " ".join(STANDIN), "VASP_STANDIN_FAIL": "kill@12"}
    cut = subprocess.run(["sh", "run-vasp.sh"], cwd=there, env=environment, capture_output=True, check=False)
    assert cut.returncode not in (0, 75)
    shutil.copytree(there, folder, dirs_exist_ok=True)
    partly = stem2sim("collect", out, "--json")
    assert partly.returncode == 0, partly.stderr
    (result,) = json.loads(partly.stdout)["results"]
    assert not result["converged"]
    # the script goes on by itself, where it was
    again = subprocess.run(["sh", there / "run-vasp.sh"], cwd="/", env=environment, capture_output=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "NSW = 19\n" in (there / "INCAR").read_text()
    shutil.copytree(there, folder, dirs_exist_ok=True)
    done = stem2sim("collect", out, "--json")
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)["results"]
    assert result["converged"]
    found = list(frames(out / "01-aimd" / "dynamics-300K.traj"))
    assert [frame.info["step"] for frame in found] == list(range(30))
    # done is done: nothing is run, and no potential is recorded but by its name and digest
    after = stem2sim("simulate", out, *unset)
    assert after.returncode == 0, after.stderr
    assert "already done" in after.stderr
    assert not any(file.name == "POTCAR" for file in Run(out).files())
    assert 'POTCAR"' not in (out / "ro-crate-metadata.json").read_text()


def test_the_job_is_queued_again_when_its_time_is_over(tmp_path: Path, library: Path) -> None:
    """The batch script tells VASP to stop on the signal of the queue, and submits itself; the next job ends it."""
    (tmp_path / "bin").mkdir()
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.write_text('#!/bin/sh\necho "$1" >> "$HOME/queued"\n')
    sbatch.chmod(0o755)
    folder = tmp_path / "run"
    folder.mkdir()
    aimd = Aimd.model_validate({"engine": engine(library), "steps": 30, "time_step": 0.5, "interval": 1})
    assert aimd.prepare(Structure(atoms=benzene()), folder).startswith("prepared in")
    there = folder / "dynamics-300K"
    environment = {**os.environ, "HOME": str(tmp_path), "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    slow = {**environment, "VASP_STANDIN_SLEEP": "0.1"}
    with subprocess.Popen(["bash", "job.sh"], cwd=there, env=slow) as job:
        wait(lambda: steps_in(there) > 3)
        job.send_signal(signal.SIGUSR1)
        assert job.wait(timeout=60) == 75
    assert (tmp_path / "queued").read_text() == "job.sh\n"
    assert subprocess.run(["bash", "job.sh"], cwd=there, env=environment, check=False).returncode == 0
    (result,) = aimd.collect(Structure(atoms=benzene()), folder)
    assert result.converged
    assert not result.unfinished
    assert len(result.observables["time [fs]"]) == 30
    text = (there / "job.sh").read_text()
    assert "#SBATCH --time=24:00:00" in text
    assert "--signal=B:USR1@600" in text


def test_a_run_that_somebody_else_starts_is_waited_for(tmp_path: Path, library: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    waiting = engine(library, launch="elsewhere", fmax=0.01)
    assert waiting.prepare(Structure(atoms=benzene()), folder).startswith("prepared in")
    with subprocess.Popen(["sh", "-c", "sleep 1; exec sh run-vasp.sh"], cwd=folder):
        (result,) = waiting.simulate(Structure(atoms=benzene()), folder)
    assert result.converged
    (tmp_path / "other").mkdir()
    with time_limit(10.4 / 3600), pytest.raises(OutOfTime, match="stopped waiting"):
        list(waiting.simulate(Structure(atoms=benzene()), tmp_path / "other"))


def test_changed_options_are_refused_while_there_is_work_to_lose(
    tmp_path: Path, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What decides what comes out is named; where and how it runs may change."""
    monkeypatch.setenv("VASP_STANDIN_FAIL", "kill@3")
    with pytest.raises(StageFailed):
        relax(benzene(), tmp_path, library)
    with pytest.raises(BadInput, match=r"encut was 400\.0, is 500\.0"):
        relax(benzene(), tmp_path, library, encut=500.0)
    assert relax(benzene(), tmp_path, library, ncore=2, command=list(STANDIN)).converged
    # finished work is replaced
    again = relax(benzene(), tmp_path, library, encut=500.0)
    assert again.converged
    assert "ENCUT = 500" in (tmp_path / "INCAR").read_text()
    assert not (tmp_path / "parts").exists()


def test_more_steps_go_on_from_the_last(tmp_path: Path, library: Path) -> None:
    """A relaxation that used up its steps says so, exits well, and goes on when it is given more."""
    short = relax(benzene(), tmp_path, library, fmax=1e-3, max_steps=3)
    assert not short.converged
    assert "not converged: NSW = 3 (max_steps) reached" in short.reason
    more = relax(benzene(), tmp_path, library, fmax=1e-3, max_steps=100)
    assert more.converged
    energies = more.observables["energy [eV]"]
    assert energies[:3] == short.observables["energy [eV]"]
    assert len(energies) == len(set(energies))


def test_wrong_potentials_are_found_before_and_after(tmp_path: Path, library: Path) -> None:
    """A POTCAR in another order: refused before the launch; run elsewhere, its numbers are refused."""
    mine = engine(library, potentials=None)
    mine.prepare(Structure(atoms=benzene()), tmp_path)
    assert (tmp_path / "POTCAR.spec").read_text() == "H\nC\n"
    with pytest.raises(BadInput, match="has no POTCAR: set potentials"):
        relax(benzene(), tmp_path, library, potentials=None)
    write_potcar(tmp_path / "POTCAR", ["C", "H"])
    with pytest.raises(BadInput, match="potentials of C H, but the POSCAR beside it has H C"):
        relax(benzene(), tmp_path, library, potentials=None)
    subprocess.run(["sh", "run-vasp.sh"], cwd=tmp_path, check=False)
    with pytest.raises(StageFailed, match="VASP took the atoms for"):
        list(mine.collect(Structure(atoms=benzene()), tmp_path))


def test_a_disk_that_is_full_loses_nothing(config: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands for a full disk: one line, and with room the same command goes on."""
    limited = ["sh", "-c", 'ulimit -f 40; exec "$0" "$@"', sys.executable, "-m", "stem2sim.cli"]
    out = tmp_path / "out"
    done = subprocess.run(
        [*limited, "simulate", str(config), "--out", str(out)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "disk is full" in done.stderr or "No space" in done.stderr
    assert "Traceback" not in done.stderr
    again = stem2sim("simulate", config, "--out", out)
    assert again.returncode == 0, again.stderr
    found = list(frames(out / "01-aimd" / "dynamics-300K.traj"))
    assert [frame.info["step"] for frame in found] == list(range(30))


def test_steps_that_are_not_its_own_start_vasp_each(tmp_path: Path, library: Path) -> None:
    """Langevin is no thermostat of VASP's here: its forces drive ours, and are minus the slope of the energy."""
    result = move(benzene(), tmp_path, library, 3, thermostat="langevin")
    assert result.converged
    assert len(result.observables["time [fs]"]) == 4
    with engine(library).calculator(Structure(atoms=benzene()), tmp_path) as calculator:
        atoms = benzene()
        atoms.calc = calculator
        force = atoms.get_forces()[3, 1]
        energies = []
        for sign in (1, -1):
            atoms.positions[3, 1] += sign * 0.005
            energies.append(atoms.get_potential_energy())
            atoms.positions[3, 1] -= sign * 0.005
    assert force == pytest.approx((energies[1] - energies[0]) / 0.01, abs=0.02)


@pytest.mark.parametrize("lost", ["vasprun.xml", "tail of vasprun.xml"])
def test_what_vasprun_lacks_is_read_from_the_others(lost: str, tmp_path: Path, library: Path) -> None:
    """Without vasprun.xml, or with one written late: OUTCAR's forces on XDATCAR's positions, and it is reported."""
    whole = move(benzene(), tmp_path, library, 12)
    folder = tmp_path / "dynamics-300K"
    text = (folder / "vasprun.xml").read_text()
    (folder / "vasprun.xml").unlink()
    if lost != "vasprun.xml":
        (folder / "vasprun.xml").write_text("</calculation>".join(text.split("</calculation>")[:8]))
    again = move(benzene(), tmp_path, library, 12)
    assert again.converged
    for name, values in whole.observables.items():
        assert np.allclose(again.observables[name], values, atol=1e-5), name
    assert np.allclose(again.forces, whole.forces, atol=1e-5)
    assert np.allclose(again.structure.atoms.positions, whole.structure.atoms.positions, atol=1e-6)
    if lost == "vasprun.xml":
        assert any("there is no vasprun.xml" in warning for warning in again.warnings)
