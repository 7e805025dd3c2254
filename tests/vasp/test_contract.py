"""The folder contract: whatever is cut off, by whomever, no step is lost, doubled, or another calculation's."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase.constraints import FixAtoms
from tests.vasp.runs import benzene, engine, move, relax, steps_in, wait, working_in

from stem2sim.engines.trajectory import frames
from stem2sim.errors import BadInput, NotRun, StageFailed
from stem2sim.structure import Structure
from stem2sim_aimd.aimd import Aimd
from stem2sim_vasp import folder as contract
from stem2sim_vasp.outputs import read

if TYPE_CHECKING:
    from pathlib import Path

    from stem2sim.simulation import SimulationResult

pytestmark = pytest.mark.usefixtures("quick")

STEPS = 16


def dynamics(library: Path, steps: int = STEPS) -> Aimd:
    return Aimd.model_validate({"engine": engine(library), "steps": steps, "time_step": 0.5, "interval": 1})


def prepared(folder: Path, library: Path) -> Path:
    folder.mkdir(exist_ok=True)
    assert dynamics(library).prepare(Structure(atoms=benzene()), folder).startswith("prepared in")
    return folder / "dynamics-300K"


def script(folder: Path, fail: str = "") -> int:
    environment = {**os.environ, "VASP_STANDIN_FAIL": fail}
    return subprocess.run(
        ["sh", "run-vasp.sh"], cwd=folder, env=environment, capture_output=True, check=False
    ).returncode


def collected(folder: Path, library: Path) -> SimulationResult:
    (result,) = dynamics(library).collect(Structure(atoms=benzene()), folder)
    return result


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, library: Path) -> list[np.ndarray]:
    """Positions of the run that nobody cut."""
    os.environ["VASP_STANDIN_ENGINE"] = "springs"
    folder = tmp_path_factory.mktemp("whole")
    move(benzene(), folder, library, STEPS)
    return [frame.positions for frame in frames(folder / "dynamics-300K.traj")]


def check(folder: Path, library: Path, whole: list[np.ndarray]) -> None:
    """All steps are there, once each, and are those of the run that was not cut."""
    result = collected(folder, library)
    assert not result.unfinished
    found = list(frames(folder / "dynamics-300K.traj"))
    assert [frame.info["step"] for frame in found] == list(range(STEPS))
    assert max(np.abs(a.positions - b).max() for a, b in zip(found, whole, strict=True)) < 1e-6


@pytest.mark.parametrize("line", ["mv parts/.new", "rm -f $answers INCAR.ran", 'cp "$last/next.steps"', "{ grep -v"])
def test_the_script_may_be_cut_off_in_any_line(
    line: str,
    tmp_path: Path,
    library: Path,
    whole: list[np.ndarray],
) -> None:
    """Ended just before each of the lines that put a part away, it is started again and goes on as if it had not."""
    there = prepared(tmp_path, library)
    assert script(there, "kill@9") not in (0, 75)
    text = (there / "run-vasp.sh").read_text()
    assert sum(one.strip().startswith(line) for one in text.splitlines()) == 1
    cut = "\n".join("exit 9\n" + one if one.strip().startswith(line) else one for one in text.splitlines())
    (there / "cut.sh").write_text(cut)
    assert subprocess.run(["sh", "cut.sh"], cwd=there, check=False).returncode == 9
    if line.startswith("mv"):  # python finds the same
        assert len(collected(tmp_path, library).observables["time [fs]"]) == 8
    assert script(there) == 0
    check(tmp_path, library, whole)
    # done is done
    for _ in range(2):
        assert script(there) == 0
    check(tmp_path, library, whole)


def test_either_goes_on_with_what_the_other_left(
    tmp_path: Path,
    library: Path,
    whole: list[np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Script, stem2sim, script, stem2sim: three cuts and one run."""
    there = prepared(tmp_path, library)
    assert script(there, "kill@4") not in (0, 75)
    for marker in there.glob(".standin_*"):
        marker.unlink()
    monkeypatch.setenv("VASP_STANDIN_FAIL", "kill@4")
    with pytest.raises(StageFailed, match="signal 9"):
        list(dynamics(library).simulate(Structure(atoms=benzene()), tmp_path))
    monkeypatch.delenv("VASP_STANDIN_FAIL")
    (there / ".standin_kill").unlink()
    assert script(there, "kill@4") not in (0, 75)
    list(dynamics(library).simulate(Structure(atoms=benzene()), tmp_path))
    check(tmp_path, library, whole)
    assert [part.name for part in contract.earlier_parts(there)] == ["001", "002", "003"]


@pytest.mark.parametrize("by", ["script", "stem2sim"])
def test_a_contcar_that_is_torn_is_not_gone_on_from(
    by: str,
    tmp_path: Path,
    library: Path,
    whole: list[np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Cut within the predictor-corrector block, or just before it: the copy that was kept is taken."""
    monkeypatch.setenv("VASP_STANDIN_FAIL", "kill@9")
    monkeypatch.setenv("VASP_STANDIN_SLEEP", "0.1")
    with pytest.raises(StageFailed):
        list(dynamics(library).simulate(Structure(atoms=benzene()), tmp_path))
    monkeypatch.delenv("VASP_STANDIN_FAIL")
    monkeypatch.delenv("VASP_STANDIN_SLEEP")
    there = tmp_path / "dynamics-300K"
    lines = (there / "CONTCAR").read_text().splitlines(keepends=True)
    flag = next(k for k, line in enumerate(lines) if k > 9 and line.split() == ["1"])
    for count in (len(lines) - 9, flag - 1):
        (there / "CONTCAR").write_text("".join(lines[:count]))
        assert contract.complete_contcar(there) == there / "CONTCAR.kept"
    if by == "script":
        assert script(there) == 0
    else:
        list(dynamics(library).simulate(Structure(atoms=benzene()), tmp_path))
    check(tmp_path, library, whole)


def test_a_relaxation_without_any_contcar_goes_on_from_its_last_positions(
    tmp_path: Path,
    library: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Held in place as before; dynamics, which have velocities to lose, say so instead."""
    atoms = benzene()
    atoms.set_constraint(FixAtoms([0, 2]))
    monkeypatch.setenv("VASP_STANDIN_FAIL", "kill@5")
    for run in (lambda: relax(atoms, tmp_path, library, fmax=1e-3), lambda: move(atoms, tmp_path / "md", library, 9)):
        with pytest.raises(StageFailed, match="signal 9"):
            run()
    monkeypatch.delenv("VASP_STANDIN_FAIL")
    for folder in (tmp_path, tmp_path / "md" / "dynamics-300K"):
        for name in ("CONTCAR", "CONTCAR.kept"):
            (folder / name).unlink()
    result = relax(atoms, tmp_path, library, fmax=1e-3)
    assert result.converged
    assert len(read(tmp_path / "parts" / "001").steps) == 4
    assert np.array_equal(result.structure.atoms.positions[[0, 2]], atoms.positions[[0, 2]])
    with pytest.raises(StageFailed, match="no complete CONTCAR, from whose velocities"):
        move(atoms, tmp_path / "md", library, 9)


def test_collecting_changes_nothing(tmp_path: Path, library: Path) -> None:
    """Finished with other options it is refused, and stays what it is; what replaces it is computed, and it is kept."""
    first = relax(benzene(), tmp_path, library, fmax=0.05)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir() if file.is_file()}
    with pytest.raises(BadInput, match=r"made with other inputs \(encut was 400\.0, is 500\.0\)"):
        list(engine(library, fmax=0.05, encut=500.0).collect(Structure(atoms=benzene()), tmp_path))
    (again,) = engine(library, fmax=0.05).collect(Structure(atoms=benzene()), tmp_path)
    assert again.energy == first.energy
    traces = {"relaxation.traj"}
    assert {n: b for n, b in before.items() if n not in traces} == {
        file.name: file.read_bytes() for file in tmp_path.iterdir() if file.is_file() and file.name not in traces
    }
    assert engine(library, fmax=0.02).prepare(Structure(atoms=benzene()), tmp_path).startswith("prepared in")
    kept = tmp_path / "replaced-001"
    assert (kept / "vasprun.xml").read_bytes() == before["vasprun.xml"]
    assert (kept / "INCAR").read_bytes() == before["INCAR"]
    assert not (tmp_path / "OUTCAR").exists()


def test_of_a_ladder_what_is_there_is_collected(tmp_path: Path, library: Path) -> None:
    """One temperature has run, the other waits: the first is yielded before the other is reported."""
    aimd = Aimd.model_validate(
        {"engine": engine(library), "steps": 5, "time_step": 0.5, "temperature": (300.0, 600.0), "interval": 1}
    )
    structure = Structure(atoms=benzene())
    assert re.search(r"dynamics-300K.*dynamics-600K", aimd.prepare(structure, tmp_path))
    assert script(tmp_path / "dynamics-600K") == 0
    found: list[SimulationResult] = []
    with pytest.raises(NotRun, match="nothing to collect in dynamics-300K"):
        found.extend(aimd.collect(structure, tmp_path))
    assert [result.label for result in found] == ["600K"]
    # what is complete is left alone, and only the other is prepared again
    before = (tmp_path / "dynamics-600K" / "OUTCAR").read_bytes()
    assert "dynamics-600K" not in aimd.prepare(structure, tmp_path)
    assert (tmp_path / "dynamics-600K" / "OUTCAR").read_bytes() == before


def test_steps_that_are_not_vasp_s_own_cannot_be_prepared(tmp_path: Path, library: Path) -> None:
    """They need VASP here, step by step: nothing is run when they are to be prepared or collected."""
    aimd = Aimd.model_validate({"engine": engine(library), "native": False, "steps": 2})
    for ask in (aimd.prepare, lambda structure, workdir: list(aimd.collect(structure, workdir))):
        with pytest.raises(NotRun):
            ask(Structure(atoms=benzene()), tmp_path)
    assert not list(tmp_path.iterdir())


def test_fewer_steps_than_there_are_is_refused(tmp_path: Path, library: Path) -> None:
    move(benzene(), tmp_path, library, 8)
    with pytest.raises(BadInput, match="has 8 steps already; steps = 4 is less than that"):
        move(benzene(), tmp_path, library, 4)


def test_what_vasp_calls_converged_and_is_not_ends_as_not_converged(tmp_path: Path, library: Path) -> None:
    """EDIFFG loosened by hand on the cluster: done, not converged, and the echo says why."""
    calculation = engine(library, fmax=1e-3)
    calculation.prepare(Structure(atoms=benzene()), tmp_path)
    text = (tmp_path / "INCAR").read_text()
    (tmp_path / "INCAR").write_text(text.replace("EDIFFG = -0.001", "EDIFFG = -0.2"))
    assert script(tmp_path) == 0
    (result,) = calculation.collect(Structure(atoms=benzene()), tmp_path)
    assert not result.converged
    assert not result.unfinished
    assert "not converged: VASP stopped before EDIFFG = -0.001" in result.reason
    assert any("EDIFFG = -0.001 was requested, VASP used -0.2" in warning for warning in result.warnings)


def test_what_blew_up_may_be_tried_otherwise(
    tmp_path: Path,
    library: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The advice is a shorter time step; it is not refused as a change of unfinished work."""
    monkeypatch.setattr("stem2sim_aimd.trajectory.BLOWN_UP", 1.05)
    hot = move(benzene(), tmp_path, library, 30, time_step=1.0)
    assert "blew up" in hot.reason
    assert not hot.converged
    assert "STAND-IN" in hot.made_by["engine"]["engine"]
    monkeypatch.undo()
    monkeypatch.setenv("VASP_STANDIN_ENGINE", "springs")
    assert move(benzene(), tmp_path, library, 6, time_step=0.5).converged


def test_two_do_not_run_in_one_folder(tmp_path: Path, library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the script runs stem2sim refuses, without touching anything; the script that is ended ends VASP with it."""
    there = prepared(tmp_path, library)
    slow = {**os.environ, "VASP_STANDIN_SLEEP": "0.2"}
    with subprocess.Popen(["sh", "run-vasp.sh"], cwd=there, env=slow) as running:
        wait(lambda: steps_in(there) > 2)
        with pytest.raises(BadInput, match=r"writes in .* already; wait for it, or kill"):
            list(dynamics(library).simulate(Structure(atoms=benzene()), tmp_path))
        assert not contract.earlier_parts(there)
        running.terminate()
        assert running.wait(timeout=20) == 143
    wait(lambda: not working_in(there))
    assert script(there) == 0
    assert not collected(tmp_path, library).unfinished


def test_a_cut_while_old_work_is_set_aside_mixes_nothing(
    tmp_path: Path, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The claim is written last: until then the old answers are the old calculation's."""
    relax(benzene(), tmp_path, library, fmax=0.05)
    (tmp_path / "replaced-002").mkdir()

    def cut(folder: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(contract, "set_aside", cut)
        with pytest.raises(KeyboardInterrupt):
            relax(benzene(), tmp_path, library, fmax=0.05, encut=500.0)
    result = relax(benzene(), tmp_path, library, fmax=0.05, encut=500.0)
    assert not [warning for warning in result.warnings if "ENCUT" in warning]
    assert "ENCUT = 500" in (tmp_path / "INCAR").read_text()
    assert "ENCUT = 400" in (tmp_path / "replaced-003" / "INCAR").read_text()


def test_ctrl_c_while_a_frame_is_written_ends_vasp(
    tmp_path: Path, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VASP_STANDIN_SLEEP", "0.2")

    def cut(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("stem2sim.engines.trajectory.TrajectoryFile.append", cut)
        with pytest.raises(KeyboardInterrupt):
            list(dynamics(library).simulate(Structure(atoms=benzene()), tmp_path))
        assert not working_in(tmp_path / "dynamics-300K")


def test_a_part_that_never_came_to_a_step_is_made_again(
    tmp_path: Path,
    library: Path,
    whole: list[np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Killed in its first electrons, twice: nothing is put away, nothing is lost."""
    for _ in range(2):
        monkeypatch.setenv("VASP_STANDIN_FAIL", "kill@1")
        shutil.rmtree(tmp_path / "dynamics-300K" / ".standin_kill", ignore_errors=True)
        with pytest.raises(StageFailed):
            list(dynamics(library).simulate(Structure(atoms=benzene()), tmp_path))
        (tmp_path / "dynamics-300K" / ".standin_kill").unlink()
    monkeypatch.delenv("VASP_STANDIN_FAIL")
    list(dynamics(library).simulate(Structure(atoms=benzene()), tmp_path))
    check(tmp_path, library, whole)
    assert not contract.earlier_parts(tmp_path / "dynamics-300K")
