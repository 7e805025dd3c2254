"""A step is known by its name, and done from its run folder and that name alone."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
from ase.build import molecule
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import stem2sim
from tests.made_runs import run

from stem2sim.config.config import Config
from stem2sim.errors import BadInput, StageFailed
from stem2sim.run.names import REPORT, StepName
from stem2sim.run.plan import step_of, steps
from stem2sim.run.run import Run
from stem2sim.structure import Structure
from stem2sim_aimd.aimd import Aimd
from stem2sim_xtb.xtb import Xtb

if TYPE_CHECKING:
    from pathlib import Path

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


@pytest.mark.parametrize("text", ["", "03-xtb", "01-xtba", "build/01-xtb", "1-xtb", "01-", "result", "00-xtb"])
def test_what_is_no_step_of_a_config_has_no_name(text: str) -> None:
    assert StepName.parse(text, ["place"], ["xtb", "aimd"]) is None


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
    """One after the other, each in a fresh process: every number is that of the pipeline, which then does nothing."""
    apart, together = (shutil.copytree(built, tmp_path / name) for name in ("apart", "together"))
    assert stem2sim("simulate", together).returncode == 0
    for name in ("01-xtb", "02-aimd"):
        done = stem2sim("step", apart, name, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["step"] == name
        one, other = (json.loads((folder / name / "result.json").read_text()) for folder in (apart, together))
        assert (one["energy"], one["forces"]) == (other["energy"], other["forces"])
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
