"""A run reads its folder once, and only when asked."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from tests.conftest import ROOT, small_run

from stem2sim.engines.trajectory import Trajectory
from stem2sim.errors import BadInput
from stem2sim.runs.run import Run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run folder with an image, a relaxation and a trajectory."""
    return small_run(tmp_path_factory.mktemp("run"))


def test_results_have_the_names_of_their_steps(folder: Path) -> None:
    run = Run(folder)
    assert list(run.results) == ["01-xtb", "02-aimd"]
    assert run.results["01-xtb"].structure.atoms.get_chemical_formula() == "C10H8"
    assert run.start(run.results["02-aimd"]) is run.results["01-xtb"].structure
    assert run.built(run.results["02-aimd"]) is run.structures["structure.extxyz"]
    assert run.waiting == []
    assert run.failure == ""
    assert repr(run).startswith(f"Run({folder}; ")


@pytest.mark.parametrize(
    "text",
    [
        "simulate = 3", "build = true", "simulate = [3]", 'image = "x"', "segment = 3", "structure = 3",
        'segment = "peaks"', 'simulate = "xtb"', "image = { path = 3 }", "[simulate]\na = 1", "x = " + "[" * 3000,
    ],
)  # fmt: skip
def test_a_config_of_wrong_types_breaks_nothing(tmp_path: Path, text: str) -> None:
    """It may come from anyone: what can be said is said, and else it is one line."""
    (tmp_path / "run.toml").write_text(text + "\n")
    (tmp_path / "state.json").write_text('{"01-xtb": {"inputs": "x", "files": ["run.toml"]}}')
    run = Run(tmp_path)
    with suppress(BadInput):  # for the command line to print
        assert run.title
        assert len(run.steps) == 1
        assert run.waiting == []
        assert run.results == {}


@pytest.mark.parametrize("files", ['["/etc/passwd"]', '["../other/run.toml"]', "[]", "3"])
def test_a_record_that_leads_elsewhere_is_damaged(tmp_path: Path, files: str) -> None:
    (tmp_path / "run.toml").write_text("")
    (tmp_path / "state.json").write_text(f'{{"structure": {{"inputs": "x", "files": {files}}}}}')
    with pytest.raises(BadInput, match="is damaged"):
        _ = Run(tmp_path).steps


def test_steps_that_follow_themselves_are_not_done(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("")
    pairs = (("01-a", "02-b"), ("02-b", "01-a"))
    records = {k: {"inputs": "x", "after": after, "after_inputs": "x", "files": ["run.toml"]} for k, after in pairs}
    (tmp_path / "state.json").write_text(json.dumps(records))
    assert Run(tmp_path).steps == {}


def test_a_folder_without_a_config_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"is not a run folder: it has no run\.toml"):
        Run(tmp_path)


@pytest.mark.parametrize("command", ["report", "agreement", "cite", "compare", "diff"])
def test_each_file_is_read_once(folder: Path, tmp_path: Path, command: str) -> None:
    """At most, by each command that reads a run; `benchmarks/house.py --reads` prints the counts of a whole run."""
    spec = importlib.util.spec_from_file_location("house", ROOT / "benchmarks" / "house.py")
    assert spec is not None
    assert spec.loader is not None
    house = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(house)
    table = tmp_path / "reads.json"
    other = [str(small_run(tmp_path))] if command == "diff" else []
    watched = [sys.executable, "-c", house.COUNTED, str(folder), str(table), command, str(folder), *other]
    done = subprocess.run(watched, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    reads = json.loads(table.read_text())
    assert reads
    assert {name: number for name, number in reads.items() if number > 1} == {}


def test_what_was_written_again_is_read_again(folder: Path) -> None:
    run = Run(folder)
    before, result = run.trajectory("02-aimd"), run.results["02-aimd"]
    run.contents.forget([], folder / "02-aimd")
    run.refresh()
    assert run.results["02-aimd"] is not result
    assert run.trajectory("02-aimd") is not before


def test_any_number_of_trajectories_can_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that were opened first are closed for it, and opened again where they are needed."""
    monkeypatch.setattr("stem2sim.engines.trajectory.MOST_OPEN", 2)
    several = [Trajectory(folder / "02-aimd" / str(Run(folder).results["02-aimd"].trajectory)) for _ in range(4)]
    lengths = [len(list(one.frames())) for one in (*several, *several)]
    assert len(set(lengths)) == 1
    assert lengths[0] > 0
