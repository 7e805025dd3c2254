"""DFTB+ for real: dynamics, interrupted work, and its processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase.build import graphene, molecule
from ase.constraints import FixAtoms
from tests.dftb.runs import NEEDS_DFTB, SET, benzene

from stem2sim.errors import BadInput, StageFailed
from stem2sim.structure import Structure
from stem2sim_aimd.aimd import Aimd
from stem2sim_dftb.dftb import Dftb
from stem2sim_dftb.results import energies_and_forces

if TYPE_CHECKING:
    from stem2sim.simulation import SimulationResult

pytestmark = NEEDS_DFTB


def test_dynamics_over_the_socket_resume_where_they_were_interrupted(tmp_path: Path) -> None:
    """Twenty steps in two parts are the twenty steps in one, to the bit: the engine starts anew at a checkpoint."""
    engine = Dftb.model_validate({"slater_koster": SET, "threads": 1})
    start = Structure(atoms=benzene())
    ends = {}
    for name, parts in (("whole", (20,)), ("parts", (10, 20))):
        (tmp_path / name).mkdir()
        for steps in parts:
            (ends[name],) = Aimd(engine=engine, steps=steps, checkpoint=10).simulate(start, tmp_path / name)
    assert np.array_equal(ends["whole"].structure.atoms.positions, ends["parts"].structure.atoms.positions)
    assert ends["whole"].observables == ends["parts"].observables


def test_its_own_dynamics_agree_and_resume_where_they_were_interrupted(tmp_path: Path) -> None:
    """NVE: the integrator is velocity Verlet either way. NVT: in two parts as in one; fixed atoms keep still."""
    engine = Dftb.model_validate({"slater_koster": SET, "threads": 1, "scc_tolerance": 1e-8})
    start = Structure(atoms=benzene())

    def end(name: str, *parts: int, structure: Structure = start, **options: object) -> SimulationResult:
        (tmp_path / name).mkdir(exist_ok=True)
        for steps in parts:
            aimd = Aimd.model_validate({"engine": engine, "steps": steps, "checkpoint": 10, **options})
            (result,) = aimd.simulate(structure, tmp_path / name)
        return result

    ours, theirs = end("ours", 20, ensemble="nve"), end("theirs", 20, ensemble="nve", native=True)
    apart = np.abs(ours.structure.atoms.positions - theirs.structure.atoms.positions).max()
    assert apart < 1e-5
    assert "conserved quantity constant to within" in theirs.reason
    whole, parts = end("whole", 20, native=True), end("parts", 10, 20, native=True)
    assert np.array_equal(whole.structure.atoms.positions, parts.structure.atoms.positions)
    assert whole.observables == parts.observables
    assert whole.energy == pytest.approx(whole.observables["potential energy [eV]"][-1], abs=1e-6)
    fixed = benzene()
    fixed.set_constraint(FixAtoms([0, 7]))
    moved = end("fixed", 10, structure=Structure(atoms=fixed), native=True).structure.atoms.positions - fixed.positions
    assert np.abs(moved[[0, 7]]).max() < 1e-8
    assert np.abs(moved).max() > 0.01
    with pytest.raises(BadInput, match="DFTB\\+ has no csvr thermostat"):
        end("csvr", 10, native=True, thermostat="csvr")


def test_its_own_thermostat_holds_the_temperature(tmp_path: Path) -> None:
    """DFTB+ counts 3N - 3 for an isolated molecule that does not turn; 10 % too hot for benzene if that were let be."""
    engine = Dftb.model_validate({"slater_koster": SET, "threads": 1})
    atoms = molecule("C6H6")
    aimd = Aimd(engine=engine, steps=1500, checkpoint=500, native=True, time_step=1.0, thermostat_period=20.0)
    (result,) = aimd.simulate(Structure(atoms=atoms), tmp_path)
    kelvin = np.array(result.observables["temperature [K]"])[150:]
    assert kelvin.mean() == pytest.approx(300, abs=15)


def test_a_native_relaxation_that_is_cut_twice_keeps_what_it_had(tmp_path: Path) -> None:
    """Cut in its first step, it still has the geometry of the try before."""
    (tmp_path / "work").mkdir()
    engine = Dftb.model_validate({"slater_koster": SET, "mode": "native", "max_steps": 3, "fmax": 1e-3})
    atoms = benzene()
    (first,) = engine.simulate(Structure(atoms=atoms), tmp_path / "work")
    assert not first.converged
    last = (tmp_path / "work" / "geo_end.xyz").read_text()
    (tmp_path / "work" / "geo_end.xyz").replace(tmp_path / "work" / "geo_earlier.xyz")  # as a cut in the first step
    more = engine.model_copy(update={"max_steps": 200})
    (second,) = more.simulate(Structure(atoms=atoms), tmp_path / "work")
    assert second.converged
    begun = (tmp_path / "work" / "geo_end.xyz").read_text().splitlines()[2].split()[1:4]
    assert begun == last.splitlines()[-12].split()[1:4]


def test_an_interrupt_does_not_wait_for_a_step(tmp_path: Path) -> None:
    """Ctrl-C in the middle of a self-consistent field ends dftb+ at once, and the command with it."""
    sheet = graphene(size=(10, 10, 1), vacuum=8)
    sheet.pbc = False
    Structure(atoms=sheet).write(tmp_path / "sheet.extxyz")
    command = [sys.executable, "-m", "stem2sim.cli", "simulate", str(tmp_path / "sheet.extxyz"), "--simulator", "dftb"]
    command += ["--set", f"simulate.0.slater_koster={SET}", "--out", str(tmp_path / "run")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    folder = tmp_path / "run" / "01-dftb"
    while not _processes(folder) and process.poll() is None:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    started = time.monotonic()
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert time.monotonic() - started < 8
    assert _processes(folder) == []


def test_charges_outlive_a_killed_binary(tmp_path: Path) -> None:
    """Out of memory is no fault of the charges: the next run starts from them, and reports it."""
    sheet = graphene(size=(8, 8, 1), vacuum=8)
    sheet.pbc = False
    engine = Dftb.model_validate({"slater_koster": SET, "task": "single-point", "electronic_temperature": 2000})
    reasons: list[str] = []

    def single() -> None:
        try:
            reasons.append(next(engine.simulate(Structure(atoms=sheet), tmp_path)).reason)
        except StageFailed as problem:
            reasons.append(str(problem))

    thread = threading.Thread(target=single)
    thread.start()
    while not (tmp_path / "charges.bin").is_file() and thread.is_alive():
        time.sleep(0.01)
    for number in _processes(tmp_path):
        os.kill(int(number), signal.SIGKILL)
    thread.join()
    assert "it was killed by signal 9, often because memory ran out" in reasons[0]
    single()
    assert "from the saved charges of an earlier run" in reasons[1]
    (tmp_path / "cold").mkdir()
    (cold,) = engine.simulate(Structure(atoms=sheet), tmp_path / "cold")
    warm = energies_and_forces(tmp_path / "results.tag")
    assert warm["energy"] == pytest.approx(cold.energy, abs=1e-4)


def test_no_process_is_left_behind(tmp_path: Path) -> None:
    """An error in the middle of a run ends dftb+ too."""
    engine = Dftb.model_validate({"slater_koster": SET})
    atoms = benzene()
    during = []

    def fail() -> None:
        with engine.calculator(Structure(atoms=atoms), tmp_path) as calculator:
            calculator.get_potential_energy(atoms)
            during.extend(_processes(tmp_path))
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        fail()
    assert len(during) == 1
    assert _processes(tmp_path) == []


def _processes(folder: Path) -> list[str]:
    """Numbers of the dftb+ that run in a folder now."""
    numbers = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if (entry / "comm").read_text().strip() == "dftb+" and (entry / "cwd").readlink() == folder:
                numbers.append(entry.name)
    return numbers
