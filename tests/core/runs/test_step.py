"""A step is known by its name, and done from its run folder and that name alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import stem2sim
from tests.made_runs import run

from stem2sim.builtin.atoms_table import AtomsTableSegmenter
from stem2sim.config.config import Config
from stem2sim.errors import BadInput, StageFailed
from stem2sim.runs.names import REPORT, StepName
from stem2sim.runs.plan import step_of, steps
from stem2sim.runs.run import Run
from stem2sim.runs.staleness import rows
from stem2sim.runs.step import inputs_of
from stem2sim.structure import Structure
from stem2sim_aimd.aimd import Aimd
from stem2sim_xtb.xtb import Xtb

words = st.from_regex(r"[a-z]+(-[a-z]+)?", fullmatch=True)
labels = st.just("") | st.from_regex(r"[a-z0-9]+(-[A-Za-z0-9]+){0,3}", fullmatch=True)


@given(
    builders=st.lists(words, min_size=1, max_size=4), simulators=st.lists(words, min_size=1, max_size=4), data=st.data()
)
def test_a_name_reads_back(builders: list[str], simulators: list[str], data: st.DataObject) -> None:
    """Whatever stages and variants are called: where a stage's name ends, the config says."""
    kind = data.draw(st.sampled_from(["segment", "build", "structure", "simulate", "report"]))
    stages = {"build": builders, "simulate": simulators}.get(kind, [""])
    number = data.draw(st.integers(1, len(stages))) if kind in ("build", "simulate") else 0
    stage = stages[number - 1] if number else ""
    label = data.draw(labels) if kind not in ("segment", "report") else ""
    name = StepName(kind, number, stage, label)
    assert StepName.parse(str(name), builders, simulators) == name


@pytest.mark.parametrize("text", ["", "1-xtb", "01-", "result", "build/", "structures"])
def test_what_is_no_step_has_no_name(text: str) -> None:
    assert StepName.parse(text, ["place"], ["xtb", "aimd"]) is None


@pytest.mark.parametrize("text", ["03-xtb", "01-xtba", "build/01-xtb", "00-xtb", "01-lammps-top"])
def test_a_step_of_an_earlier_config_keeps_its_whole_name(text: str) -> None:
    name = StepName.parse(text, ["place"], ["xtb", "aimd"])
    assert name is not None
    assert str(name) == name.short == text


def test_the_label_of_a_variant_follows_the_simulator() -> None:
    names = (StepName.parse(text, [], ["xtb"]) for text in ("01-xtb", "01-xtb-patch-2-hollow"))
    assert [name.label for name in names if name is not None] == ["", "patch-2-hollow"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run folder with a structure and nothing simulated."""
    folder = tmp_path_factory.mktemp("step")
    atoms = molecule("C6H6", vacuum=5)
    atoms.rattle(0.02, seed=1)
    Structure(atoms=atoms).write(folder / "benzene.extxyz")
    config = Config(structure=folder / "benzene.extxyz", simulate=(Xtb(fmax=0.05), Aimd(engine=Xtb(), steps=4)))
    run(config, folder / "run", until="build")
    return folder / "run"


def test_a_step_is_done_in_a_process_of_its_own(built: Path, tmp_path: Path) -> None:
    """One after the other, each in a fresh process: the numbers are those of the pipeline, which then does nothing."""
    apart, together = (shutil.copytree(built, tmp_path / name) for name in ("apart", "together"))
    assert stem2sim("simulate", together).returncode == 0
    for name in ("01-xtb", "02-aimd"):
        done = stem2sim("step", apart, name, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["step"] == name
        one, other = (json.loads((folder / name / "result.json").read_text()) for folder in (apart, together))
        assert one["energy"] == pytest.approx(other["energy"], abs=1e-6)  # threads add in any order
        assert np.array(one["forces"]) == pytest.approx(np.array(other["forces"]), abs=1e-4)
    again = json.loads(stem2sim("simulate", apart, "--json").stdout)
    assert set(again["steps"].values()) == {"already done"}
    assert stem2sim("step", apart, REPORT).stdout.strip() == str(apart / REPORT)


def test_a_step_waits_for_the_one_before_it(built: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(built, tmp_path / "run")
    early = stem2sim("step", folder, "02-aimd")
    assert early.returncode == 2
    assert "no step '02-aimd'" in early.stderr
    assert "more follow once 01-xtb is done" in early.stderr
    assert early.stderr.count("\n") == 1
    wrong = stem2sim("step", folder, "01-xtc")
    assert wrong.returncode == 2
    assert "did you mean '01-xtb'?" in wrong.stderr


def test_a_step_knows_how_far_it_has_come(built: Path, tmp_path: Path) -> None:
    """Waiting, running while its folder is locked, failed, unfinished once its work has begun, done."""
    folder = shutil.copytree(built, tmp_path / "run")
    assert [(str(one.name), one.condition) for one in steps(Run(folder))] == [
        ("structure", "done"),
        ("01-xtb", "waiting"),
    ]
    now = Run(folder)
    now.session_log.begin("01-xtb")
    with now.state.locked():
        assert step_of(Run(folder), "01-xtb").condition == "running"
    assert step_of(Run(folder), "01-xtb").condition == "waiting"
    now.session_log.end("01-xtb: the self-consistent field failed")
    assert step_of(Run(folder), "01-xtb").condition == "failed"
    step = step_of(Run(folder), "01-xtb")
    now.session_log.end("interrupted")
    step.run.state.workdir("01-xtb", step.inputs)
    assert step_of(Run(folder), "01-xtb").condition == "unfinished"
    step_of(Run(folder), "01-xtb").execute()
    assert step_of(Run(folder), "01-xtb").condition == "done"


def test_a_step_that_fails_names_itself(built: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(built, tmp_path / "run")
    config = (folder / "run.toml").read_text().replace("max_iterations = 250", "max_iterations = 1")
    assert config != (folder / "run.toml").read_text()
    (folder / "run.toml").write_text(config)
    with pytest.raises((StageFailed, BadInput), match=r"^01-xtb: "):
        step_of(Run(folder), "01-xtb").execute()


def test_a_step_takes_the_options_that_the_config_has_now(built: Path, tmp_path: Path) -> None:
    """What was done with other options is done again; what it builds on is taken as it is."""
    folder = shutil.copytree(built, tmp_path / "run")
    config = (folder / "run.toml").read_text()
    step_of(Run(folder), "01-xtb").execute()
    assert step_of(Run(folder), "01-xtb").condition == "done"
    (folder / "run.toml").write_text(config.replace("fmax = 0.05", "fmax = 0.04"))
    assert step_of(Run(folder), "01-xtb").condition == "waiting"
    assert step_of(Run(folder), "structure").condition == "done"


def test_the_first_step_of_a_folder_with_a_config_alone(built: Path, tmp_path: Path) -> None:
    """Steps by hand leave what the pipeline leaves: it finds them done."""
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(built / "run.toml", folder)
    for name in ("structure", "01-xtb", "02-aimd"):
        assert stem2sim("step", folder, name).returncode == 0
    again = json.loads(stem2sim("simulate", folder, "--json").stdout)
    assert set(again["steps"].values()) == {"already done"}


@pytest.fixture(scope="module")
def stale(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run from a table of atoms, of which a builder was done again, and its structure not."""
    folder = tmp_path_factory.mktemp("stale") / "run"
    table = folder.parent / "atoms.csv"
    table.write_text("x,y,species\n" + "".join(f"{1.42 * k},{1.42 * (k % 2)},C\n" for k in range(6)))
    (folder.parent / "a.toml").write_text(
        'segment = { use = "atoms-table", path = "atoms.csv" }\nbuild = [{ use = "place" }]\nsimulate = ["xtb"]\n'
    )
    assert stem2sim("build", folder.parent / "a.toml", "--out", folder).returncode == 0
    config = (folder / "run.toml").read_text()
    changed = config.replace("least_probability = 0.5", "least_probability = 0.4")
    assert changed != config
    (folder / "run.toml").write_text(changed)
    assert stem2sim("step", folder, "build/01-place").returncode == 0
    return folder


def test_nothing_is_simulated_of_a_structure_that_is_out_of_date(stale: Path) -> None:
    early = stem2sim("step", stale, "01-xtb")
    assert early.returncode == 2
    assert "more follow once structure is done" in early.stderr
    collected = stem2sim("collect", stale)
    assert collected.returncode == 2
    assert "structure is not done" in collected.stderr
    assert stem2sim("step", stale, "structure").returncode == 0
    assert [str(one.name) for one in steps(Run(stale), as_recorded=True)][-1] == "01-xtb"


def test_a_simulator_may_stand_in_a_config_by_its_name_alone(stale: Path) -> None:
    text = (stale / "run.toml").read_text()
    (stale / "run.toml").write_text('simulate = ["xtb"]\n' + text.partition("[[simulate]]")[0])
    assert Run(stale).waiting == ["01-xtb"]


def test_a_run_knows_what_its_steps_leave(built: Path, tmp_path: Path) -> None:
    """What was asked before a step is asked anew after it."""
    folder = shutil.copytree(built, tmp_path / "run")
    now = Run(folder)
    assert now.results == {}
    step_of(now, "01-xtb").execute()
    assert list(now.results) == ["01-xtb"]
    energy = now.results["01-xtb"].energy
    config = (folder / "run.toml").read_text()
    (folder / "run.toml").write_text(config.replace('task = "relax"', 'task = "single-point"'))
    again = Run(folder)
    again.contents = now.contents  # has read the result as it was
    again.contents.forget([folder / "run.toml"])
    step_of(again, "01-xtb").execute()
    assert again.results["01-xtb"].energy > energy + 0.01


def test_results_of_two_simulators_stand_side_by_side(built: Path, tmp_path: Path) -> None:
    """The second is run by a config that no longer has the first."""
    folder = shutil.copytree(built, tmp_path / "run")
    step_of(Run(folder), "01-xtb").execute()
    assert (
        stem2sim("simulate", folder, "--simulator", "aimd", "--engine", "xtb", "--set", "simulate.0.steps=2").returncode
        == 0
    )
    run = Run(folder)
    assert list(run.results) == ["01-aimd", "01-xtb"]
    assert [r.step for r, _ in rows(run)] == ["01-aimd", "01-xtb"]


def test_paths_in_the_config_of_a_run_count_from_its_folder(built: Path, tmp_path: Path) -> None:
    """As somebody writes them who passes a folder on."""
    folder = shutil.copytree(built, tmp_path / "run")
    shutil.copy(built.parent / "benzene.extxyz", folder / "mine.extxyz")
    text = (folder / "run.toml").read_text().replace(str(built.parent / "benzene.extxyz"), "mine.extxyz")
    (folder / "run.toml").write_text(text)
    assert Run(folder).config.structure == folder / "mine.extxyz"
    assert json.loads(stem2sim("build", folder, "--json").stdout)["steps"] == {"structure": "already done"}


def test_relative_paths_of_a_config_made_in_python_are_recorded_as_absolute(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(built.parent)
    run(Config(structure=Path("benzene.extxyz"), simulate=(Xtb(),)), tmp_path / "run", until="build")
    monkeypatch.chdir(tmp_path)
    assert Run(tmp_path / "run").config.structure == built.parent / "benzene.extxyz"
    assert step_of(Run(tmp_path / "run"), "structure").condition == "done"


def test_a_step_that_cannot_start_loses_nothing(built: Path, tmp_path: Path) -> None:
    """The file that the run started from is gone; what was made of it stays."""
    folder = shutil.copytree(built, tmp_path / "run")
    text = (folder / "run.toml").read_text().replace("benzene.extxyz", "gone.extxyz")
    (folder / "run.toml").write_text(text)
    refused = stem2sim("step", folder, "structure")
    assert refused.returncode == 2
    assert "gone.extxyz to start from" in refused.stderr
    assert step_of(Run(folder), "01-xtb").condition == "waiting"
    assert stem2sim("step", folder, "01-xtb").returncode == 0


def test_a_report_follows_what_was_done_again(built: Path, tmp_path: Path) -> None:
    """Even with the very same inputs."""
    folder = shutil.copytree(built, tmp_path / "run")
    assert stem2sim("run", folder).returncode == 0
    state = json.loads((folder / "state.json").read_text())
    state["01-xtb"]["partial"] = True
    (folder / "state.json").write_text(json.dumps(state))
    again = json.loads(stem2sim("run", folder, "--json").stdout)
    assert again["steps"] == {
        "structure": "already done", "01-xtb": "done", "02-aimd": "already done", REPORT: "done",
    }  # fmt: skip


def test_where_a_file_lies_is_no_input_of_a_step(tmp_path: Path) -> None:
    """Its content is: the same table elsewhere is the same step, another table is not."""
    (tmp_path / "a").mkdir()
    tables = [tmp_path / "t.csv", tmp_path / "a" / "t.csv"]
    for table in tables:
        table.write_text("x,y,species\n0,0,C\n")
    first, second = (inputs_of(AtomsTableSegmenter(path=table)) for table in tables)
    assert first == second
    tables[1].write_text("x,y,species\n0,0,Si\n")
    assert inputs_of(AtomsTableSegmenter(path=tables[1])) != first
