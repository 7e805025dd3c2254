"""What is done is skipped, what changed is done again from there, and nothing finished is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pytest
from ase.constraints import FixAtoms
from pydantic import Field
from tests.conftest import flake, table_of
from tests.made_runs import run

from stem2sim.atoms_table import AtomsTable
from stem2sim.builtin.atoms_table import AtomsTableSegmenter
from stem2sim.config.config import Config
from stem2sim.errors import BadInput, StageFailed
from stem2sim.imaging.readers import ImageSource
from stem2sim.report.report import Report
from stem2sim.runs.run import Run
from stem2sim.runs.state import State
from stem2sim.segmentation import Segmentation
from stem2sim.simulation import SimulationResult
from stem2sim.stages import Builder, Segmenter, Simulator
from stem2sim.testing import graphene_image
from stem2sim_hterm.hterm import Hterm
from stem2sim_hterm.patch import Patch
from stem2sim_hterm.place import Place
from stem2sim_xtb.xtb import Xtb

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stem2sim.image import Image
    from stem2sim.structure import Structure


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Return an atoms table of a perfect flake."""
    path = tmp_path / "atoms.csv"
    path.write_text(table_of(flake(16).atoms.positions[:, :2]).to_csv())
    return path


def config(table: Path, **xtb: object) -> Config:
    return Config(
        segment=AtomsTableSegmenter(path=table),
        build=(Place(), Patch(size=10), Hterm()),
        simulate=(Xtb(task="single-point"), Xtb(max_steps=3, **xtb)),  # type: ignore[arg-type]
    )


def test_a_second_run_does_nothing(table: Path, tmp_path: Path) -> None:
    first = run(config(table), tmp_path / "run")
    assert set(first.steps.values()) == {"done"}
    assert list(first.steps)[-3:] == ["01-xtb", "02-xtb", "report.html"]
    touched = {f: f.stat().st_mtime_ns for f in (tmp_path / "run").rglob("result*")}
    second = run(config(table), tmp_path / "run")
    assert set(second.steps.values()) == {"already done"}
    assert {f: f.stat().st_mtime_ns for f in (tmp_path / "run").rglob("result*")} == touched
    assert second.results[1][1].energy == first.results[1][1].energy


def test_a_changed_option_runs_again_from_there(table: Path, tmp_path: Path) -> None:
    run(config(table), tmp_path / "run")
    steps = run(config(table, method="GFN2-xTB"), tmp_path / "run").steps
    assert [step for step, how in steps.items() if how == "done"] == ["02-xtb", "report.html"]


def test_a_changed_table_runs_all_again(table: Path, tmp_path: Path) -> None:
    """The file's content counts, not its name or date."""
    run(config(table), tmp_path / "run", until="build")
    table.touch()
    assert set(run(config(table), tmp_path / "run", until="build").steps.values()) == {"already done"}
    table.write_text(table_of(flake(16, angle=20).atoms.positions[:, :2]).to_csv())
    assert set(run(config(table), tmp_path / "run", until="build").steps.values()) == {"done"}


def test_a_lost_file_is_made_again(table: Path, tmp_path: Path) -> None:
    run(config(table), tmp_path / "run", until="build")
    (tmp_path / "run" / "build" / "02-patch.extxyz").unlink()
    steps = run(config(table), tmp_path / "run", until="build").steps
    assert [step for step, how in steps.items() if how == "done"] == ["build/02-patch"]


def test_not_converged_is_a_result_that_says_so(table: Path, tmp_path: Path) -> None:
    result = run(config(table), tmp_path / "run", until="simulate").results[1][1]
    assert not result.converged
    assert "not converged: max_steps = 3 reached" in result.reason
    assert result.largest_force > 0.01


def test_what_was_cut_off_is_not_taken_for_done(table: Path, tmp_path: Path) -> None:
    """A run, another one with other atoms that stops in the middle, and the first again: nothing is mixed."""
    good = table.read_text()
    run(config(table), tmp_path / "run")
    table.write_text(table_of(flake(9).atoms.positions[:, :2]).to_csv())
    broken = config(table).model_copy(update={"build": (Place(), Bang())})
    with pytest.raises(StageFailed, match="build/02-bang"):
        run(broken, tmp_path / "run", until="build")
    table.write_text(good)
    again = run(config(table), tmp_path / "run")
    assert again.steps["segment"] == "done"
    assert again.steps["02-xtb"] == "already done"
    assert again.segmentation is not None
    assert len(again.segmentation.atoms) == good.count("\n") - 1


def test_a_report_holds_only_what_belongs_together(table: Path, tmp_path: Path) -> None:
    """After new atoms, the old structure and its energies are not shown beside them."""
    run(config(table), tmp_path / "run")
    assert len(Run(tmp_path / "run").results) == 2
    table.write_text(table_of(flake(9).atoms.positions[:, :2]).to_csv())
    run(config(table), tmp_path / "run", until="segment")
    again = Run(tmp_path / "run")
    assert (again.structures, again.results) == ({}, {})
    Report(again).write()


def test_a_constraint_in_a_structure_file_counts(tmp_path: Path) -> None:
    """The same atoms, one of them now fixed: another start, so it runs again."""
    whole = flake(6).in_a_cell()
    start = Config(structure=tmp_path / "s.extxyz", simulate=(Xtb(task="single-point"),))
    whole.write(tmp_path / "s.extxyz")
    run(start, tmp_path / "run", until="simulate")
    assert set(run(start, tmp_path / "run", until="simulate").steps.values()) == {"already done"}
    whole.atoms.set_constraint(FixAtoms([0]))
    whole.write(tmp_path / "s.extxyz")
    outcome = run(start, tmp_path / "run", until="simulate")
    assert outcome.steps["01-xtb"] == "done"
    assert outcome.results[0][1].forces[0].tolist() == [0, 0, 0]


def test_other_peoples_folders_are_left_alone(table: Path, tmp_path: Path) -> None:
    mine = tmp_path / "run" / "01-xtb" / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("precious")
    with pytest.raises(BadInput, match="was not made by a run"):
        run(config(table), tmp_path / "run")
    assert mine.read_text() == "precious"


@pytest.mark.parametrize("file", ["state.json", "segmentation.npz", "02-xtb/result.json"])
def test_damage_is_one_line_that_says_what_to_delete(table: Path, tmp_path: Path, file: str) -> None:
    run(config(table), tmp_path / "run")
    damaged = tmp_path / "run" / file
    damaged.write_bytes(b"")
    with pytest.raises(BadInput, match="is damaged; delete it"):
        run(config(table), tmp_path / "run")
    damaged.unlink()
    run(config(table), tmp_path / "run")


def test_the_charge_is_carried_on(table: Path, tmp_path: Path) -> None:
    """A cation that is relaxed stays a cation in the next simulation."""
    chain = config(table)
    chain = chain.model_copy(update={"simulate": (Xtb(task="single-point", charge=1), Xtb(task="single-point"))})
    one, two = (result for _, result in run(chain, tmp_path / "run", until="simulate").results)
    assert two.structure.charge == 1
    assert two.energy == pytest.approx(one.energy, abs=1e-4)


class Bang(Builder):
    """Fail in the middle of a chain."""

    name: ClassVar[str] = "bang"

    def build(self, structure: Structure, segmentation: Segmentation) -> Iterator[Structure]:
        raise RuntimeError("bang")
        yield


class Both(Builder):
    """Yield the structure, and the same turned by 90 degrees."""

    name: ClassVar[str] = "both"

    def build(self, structure: Structure, segmentation: Segmentation) -> Iterator[Structure]:
        for angle in (0, 90):
            turned = structure.atoms.copy()
            turned.rotate(angle, "z")
            yield structure.after(self.provenance(), turned)


class Fan(Simulator):
    """Fan out: one result per temperature, with made-up physics (the law is in the bookkeeping)."""

    name: ClassVar[str] = "fan"
    temperatures: tuple[int, ...] = Field((300, 500), description="[K]")

    def simulate(self, structure: Structure, workdir: Path) -> Iterator[SimulationResult]:
        for kelvin in self.temperatures:
            forces = np.zeros((len(structure.atoms), 3))
            yield SimulationResult(
                structure=structure, energy=kelvin, forces=forces, converged=True, reason="as asked", label=f"{kelvin}K"
            )


def test_every_variant_is_followed(table: Path, tmp_path: Path) -> None:
    """Two variants, two temperatures each, and what follows starts from all four."""
    chain = Config(
        segment=AtomsTableSegmenter(path=table),
        build=(Place(), Patch(size=10), Both(), Hterm()),
        simulate=(Fan(), Xtb(task="single-point")),
    )
    outcome = run(chain, tmp_path / "run")
    assert [path.name for path, _ in outcome.structures] == ["structure-0.extxyz", "structure-1.extxyz"]
    energies = [result.energy for path, result in outcome.results if path.parts[-2].startswith("02-xtb")]
    assert len(energies) == 4
    # turning a molecule does not change its energy
    assert energies == pytest.approx([energies[0]] * 4, abs=1e-3)
    starts = {result.started_from for path, result in outcome.results if path.parts[-2].startswith("02-xtb")}
    assert len(starts) == 4
    assert set(run(chain, tmp_path / "run").steps.values()) == {"already done"}


class Bomb(Simulator):
    """Fail like foreign code does."""

    name: ClassVar[str] = "bomb"

    def simulate(self, structure: Structure, workdir: Path) -> Iterator[SimulationResult]:
        raise ZeroDivisionError("in somebody's plugin")
        yield


def test_a_failing_stage_is_one_line_and_loses_nothing(table: Path, tmp_path: Path) -> None:
    good = config(table)
    bad = good.model_copy(update={"simulate": (good.simulate[0], Bomb())})
    with pytest.raises(
        StageFailed, match=r"^02-bomb: ZeroDivisionError: in somebody's plugin \(traceback in run.log\)$"
    ):
        run(bad, tmp_path / "run")
    assert "Traceback" in (tmp_path / "run" / "run.log").read_text()
    page = (tmp_path / "run" / "report.html").read_text()
    assert "This run did not finish: 02-bomb: ZeroDivisionError" in page
    assert "01-xtb" in page
    assert run(good, tmp_path / "run").steps["01-xtb"] == "already done"
    page = (tmp_path / "run" / "report.html").read_text()
    assert "did not finish" not in page
    assert "This run was resumed" in page
    assert "failed: 02-bomb: ZeroDivisionError" in page


class Blind(Segmenter):
    """Sees nothing."""

    name: ClassVar[str] = "blind"

    def segment(self, image: Image) -> Segmentation:
        return Segmentation(atoms=AtomsTable.empty())


def test_a_frame_in_which_nothing_is_found_has_a_page_that_says_so(tmp_path: Path) -> None:
    np.save(tmp_path / "frame.npy", graphene_image(8.0).pixels)
    blind = Config(image=ImageSource(path=tmp_path / "frame.npy", pixel_size=0.1), segment=Blind(), build=(Place(),))
    with pytest.raises(BadInput, match="segment: no atoms found"):
        run(blind, tmp_path / "run")
    page = (tmp_path / "run" / "report.html").read_text()
    assert "This run did not finish: segment: no atoms found" in page
    assert "no atoms were detected" in page


def test_bad_input_never_loses_earlier_results(table: Path, tmp_path: Path) -> None:
    run(config(table), tmp_path / "run")
    energy = (tmp_path / "run" / "02-xtb" / "result.json").read_text()
    table.write_text("x,y,species\n0,0,C\n0.4,0,C\n")
    with pytest.raises(BadInput, match=r"build/01-place: atoms closer than 0\.9 Å: C 0–C 1 \(0\.40 Å\)"):
        run(config(table), tmp_path / "run")
    assert (tmp_path / "run" / "02-xtb" / "result.json").read_text() == energy


def test_one_run_at_a_time_in_a_folder(table: Path, tmp_path: Path) -> None:
    with State(tmp_path / "run").locked(), pytest.raises(BadInput, match="another run is under way"):
        run(config(table), tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_was_cut_off_goes_on(table: Path, tmp_path: Path, how: signal.Signals) -> None:
    """`kill -9` or Ctrl-C during dynamics: the next run repeats no earlier stage, and ends as if nothing had been."""
    out = tmp_path / "run"
    command = [
        *(sys.executable, "-m", "stem2sim.cli", "run", str(table), "--out", str(out)),
        *("--set", "build.1.size=10", "--set", "simulate.1.steps=600", "--set", "simulate.0.fmax=0.05"),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    listens = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a job in the background ignores Ctrl-C
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment, preexec_fn=listens) as process:
        trajectory = out / "02-aimd" / "dynamics-300K.traj"
        deadline = time.monotonic() + 120
        while not (trajectory.exists() and trajectory.stat().st_size > 8000) and time.monotonic() < deadline:
            assert process.poll() is None, "the run ended before it could be cut off"
            time.sleep(0.02)
        process.send_signal(how)
        _, said = process.communicate(timeout=60)
    assert not (out / "02-aimd" / "result.json").exists()
    if how is signal.SIGINT:
        assert process.returncode == 130
        assert b"repeats nothing that was finished" in said
    again = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True, env=environment)
    assert '"01-xtb": "already done"' in again.stdout
    assert '"segment": "already done"' in again.stdout
    assert '"02-aimd": "done"' in again.stdout
    page = (out / "report.html").read_text()
    assert "This run was resumed" in page
    assert ("stopped abruptly in 02-aimd" if how is signal.SIGKILL else "interrupted in 02-aimd") in page
