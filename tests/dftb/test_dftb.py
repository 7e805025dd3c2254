"""DFTB+ for real, where its binary is on PATH and the Slater-Koster set beside the project."""

from __future__ import annotations

import os
import shutil
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
from ase import Atoms
from ase.build import graphene, molecule
from ase.constraints import FixAtoms, FixedLine
from tests.conftest import SHARED, built, flake

from stem2sim.errors import BadInput, StageFailed
from stem2sim.structure import Structure
from stem2sim.testing import check_simulator
from stem2sim_aimd.aimd import Aimd
from stem2sim_dftb.dftb import Dftb
from stem2sim_dftb.results import energies_and_forces
from stem2sim_hterm.hterm import Hterm
from stem2sim_hterm.patch import Patch

if TYPE_CHECKING:
    from stem2sim.simulation import SimulationResult

SET = SHARED / "data" / "slater_koster" / "pbc-0-3"

pytestmark = [
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


@pytest.mark.parametrize("mode", ["socket", "file"])
def test_it_conforms(mode: str, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    engine = Dftb.model_validate({"slater_koster": SET, "mode": mode, "scc_tolerance": 1e-8})
    check_simulator(engine, Structure(atoms=benzene()), tmp_path / "work")


def test_three_ways_to_the_same_flake(tmp_path: Path) -> None:
    """42 C and 16 H: same energy within 1e-4 eV, same positions within 1e-3 Å, C-C 1.42 and C-H 1.10 Å within 0.01."""
    sheet = built(flake(16), Patch(size=42, contains="any"), Hterm()).in_a_cell().atoms
    assert sheet.get_chemical_formula() == "C42H16"
    ended = {mode: run(sheet, tmp_path / mode, mode=mode, fmax=1e-3) for mode in ("socket", "file", "native")}
    first = ended["socket"]
    for result in ended.values():
        assert result.converged
        assert result.largest_force <= 1e-3
        assert result.energy == pytest.approx(first.energy, abs=1e-4)
        assert np.abs(result.structure.atoms.positions - first.structure.atoms.positions).max() < 1e-3
        lengths = result.structure.bonds.lengths()
        assert lengths["C-C"].mean() == pytest.approx(1.42, abs=0.01)
        assert lengths["C-H"].mean() == pytest.approx(1.10, abs=0.01)


@pytest.mark.parametrize("mode", ["socket", "file"])
@pytest.mark.parametrize("kelvin", [300, 5000])
def test_forces_are_the_slope_of_the_energy(mode: str, kelvin: int, tmp_path: Path) -> None:
    """The Mermin free energy, also where electrons are hot: the internal energy is 39 % off at 5000 K."""
    options = {"mode": mode, "electronic_temperature": kelvin, "scc_tolerance": 1e-9}
    engine = Dftb.model_validate({"slater_koster": SET, "threads": 1, **options})
    atoms = benzene()
    with engine.calculator(Structure(atoms=atoms), tmp_path) as calculator:
        atoms.calc = calculator
        force, energies = atoms.get_forces()[0, 0], []
        for shift in (0.002, -0.004):
            atoms.positions[0, 0] += shift
            energies.append(atoms.get_potential_energy())
    assert -(energies[0] - energies[1]) / 0.004 == pytest.approx(force, abs=2e-3)


def test_constraints_hold_or_are_refused_by_name(tmp_path: Path) -> None:
    """Fixed atoms on every path; to a line through ASE, since DFTB+'s own driver would drop that."""
    for mode in ("socket", "file", "native"):
        atoms = benzene()
        atoms.set_constraint(FixAtoms([0, 7]))
        moved = run(atoms, tmp_path / mode, mode=mode).structure.atoms.positions - atoms.positions
        assert np.abs(moved[[0, 7]]).max() == pytest.approx(0, abs=1e-8)
        assert np.abs(np.delete(moved, [0, 7], axis=0)).max() > 0.01
    atoms = benzene()
    atoms.set_constraint(FixedLine(range(12), [0, 0, 1]))
    moved = run(atoms, tmp_path / "z", mode="socket").structure.atoms.positions - atoms.positions
    assert np.abs(moved[:, :2]).max() < 1e-12
    assert np.abs(moved[:, 2]).max() > 0.01
    with pytest.raises(BadInput, match=r"cannot hold FixedLine .* use mode = 'socket'"):
        run(atoms, tmp_path / "z-native", mode="native")


@pytest.mark.parametrize("mode", ["socket", "file"])
def test_the_stress_relaxes_a_cell(mode: str, tmp_path: Path) -> None:
    """Graphene from a cell 2.4 % too small: 2.47 Å within 0.01, and the vacuum as it was."""
    sheet = graphene(size=(4, 4, 1), a=2.40, vacuum=8)
    sheet.pbc = True
    result = run(sheet, tmp_path, mode=mode, relax_cell=True, fmax=0.02, kpoints=(2, 2, 1))
    assert result.structure.atoms.cell.lengths()[:2] / 4 == pytest.approx([2.47, 2.47], abs=0.01)
    assert result.structure.atoms.cell.lengths()[2] == sheet.cell.lengths()[2]


def test_single_points_and_dispersion(tmp_path: Path) -> None:
    """All ways give the same energy; dispersion binds; a charge costs."""
    atoms = benzene()
    plain = run(atoms, tmp_path / "a", task="single-point")
    with Dftb.model_validate({"slater_koster": SET}).calculator(Structure(atoms=atoms), tmp_path) as calculator:
        assert plain.energy == pytest.approx(calculator.get_potential_energy(atoms), abs=1e-6)
    assert run(atoms, tmp_path / "b", task="single-point", dispersion="d4").energy < plain.energy - 0.05
    assert run(atoms, tmp_path / "c", task="single-point", charge=1).energy > plain.energy + 5
    made = plain.made_by
    assert made["parameters"].startswith("pbc-0-3 (")
    assert str(made["engine"]).startswith("DFTB+ ")


def test_dynamics_over_the_socket_go_on_where_they_were_cut(tmp_path: Path) -> None:
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


def test_its_own_dynamics_agree_and_go_on_where_they_were_cut(tmp_path: Path) -> None:
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
    assert "conserved quantity within" in theirs.reason
    whole, parts = end("whole", 20, native=True), end("parts", 10, 20, native=True)
    assert np.array_equal(whole.structure.atoms.positions, parts.structure.atoms.positions)
    assert whole.observables == parts.observables
    assert whole.energy == pytest.approx(whole.observables["potential energy [eV]"][-1], abs=1e-6)
    held = benzene()
    held.set_constraint(FixAtoms([0, 7]))
    moved = end("held", 10, structure=Structure(atoms=held), native=True).structure.atoms.positions - held.positions
    assert np.abs(moved[[0, 7]]).max() < 1e-8
    assert np.abs(moved).max() > 0.01
    with pytest.raises(BadInput, match="DFTB\\+ has no thermostat csvr"):
        end("csvr", 10, native=True, thermostat="csvr")


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"binary": "no-dftb"}, BadInput, "no 'no-dftb' on PATH: install DFTB"),
        ({"binary": "/bin/true"}, BadInput, "/bin/true is not DFTB"),
        ({"slater_koster": "/nowhere"}, BadInput, "slater_koster: no folder at /nowhere"),
        ({"slater_koster": "/"}, BadInput, r"no .skf files in /"),
        ({"max_iterations": 1}, StageFailed, r"charges did not converge.*electronic_temperature.*log: .*/dftb.out"),
        ({"max_iterations": 1, "mode": "file"}, StageFailed, "charges did not converge"),
        ({"max_iterations": 1, "mode": "native"}, StageFailed, "charges did not converge"),
        ({"max_iterations": 1, "task": "single-point"}, StageFailed, "charges did not converge"),
        ({"dispersion": "d3"}, BadInput, "no published damping"),
    ],
)
def test_what_cannot_be_is_one_line(
    options: dict[str, object], error: type[Exception], said: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=said) as caught:
        run(benzene(), tmp_path, **options)
    assert "\n" not in str(caught.value)


def test_elements_without_parameters_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"lacks C-Cr.skf, Cr-C.skf, Cr-Cr.skf; no common set has C, Cr together"):
        run(Atoms("CCr", positions=[[0, 0, 0], [0, 0, 2]]), tmp_path)
    with pytest.raises(BadInput, match=r"lacks C-N.skf, .*mio-1-1 and pbc-0-3 and 3ob-3-1 have C, N"):
        run(Atoms("CN", positions=[[0, 0, 0], [0, 0, 1.2]]), tmp_path)
    with pytest.raises(BadInput, match=r"atoms closer than 0\.9 Å"):
        run(Atoms("C2", positions=[[0, 0, 0], [0, 0, 0.3]]), tmp_path)


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
    """Out of memory is no fault of the charges: the next try goes on from them, and says so."""
    sheet = graphene(size=(8, 8, 1), vacuum=8)
    sheet.pbc = False
    engine = Dftb.model_validate({"slater_koster": SET, "task": "single-point", "electronic_temperature": 2000})
    ended: list[str] = []

    def single() -> None:
        try:
            ended.append(next(engine.simulate(Structure(atoms=sheet), tmp_path)).reason)
        except StageFailed as problem:
            ended.append(str(problem))

    thread = threading.Thread(target=single)
    thread.start()
    while not (tmp_path / "charges.bin").is_file() and thread.is_alive():
        time.sleep(0.01)
    for number in _processes(tmp_path):
        os.kill(int(number), signal.SIGKILL)
    thread.join()
    assert "was ended by signal 9, as happens when memory runs out" in ended[0]
    single()
    assert "from charges of an earlier try" in ended[1]
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
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if (entry / "comm").read_text().strip() == "dftb+" and (entry / "cwd").readlink() == folder:
                found.append(entry.name)
    return found
