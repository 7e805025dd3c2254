"""Which structure of a run goes out or on, and what is said of results that the present config would not make."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase.io import read
from tests.conftest import small_run, stem2sim

from stem2sim.config.config import parse
from stem2sim.errors import BadInput
from stem2sim.files import write_text
from stem2sim.records.citations import cited
from stem2sim.records.methods import methods
from stem2sim.report.report import write_again
from stem2sim.runs import pipeline
from stem2sim.runs.origin import started_from
from stem2sim.runs.run import Run
from stem2sim.runs.selection import select
from stem2sim.runs.staleness import replaced, rows, stale
from stem2sim.simulation import SimulationResult, with_used

if TYPE_CHECKING:
    from pathlib import Path

SINGLE = ("--set", "simulate.0.task=single-point")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run with an image, a relaxation and a trajectory."""
    return small_run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """Return a copy of it to change."""
    return shutil.copytree(whole, tmp_path / "run")


@pytest.fixture(scope="module")
def changed(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of it that was simulated with another simulator since, its report written again."""
    folder = shutil.copytree(whole, tmp_path_factory.mktemp("changed") / "run")
    done = stem2sim("simulate", folder, "--simulator", "aimd", "--engine", "xtb", "--set", "simulate.0.steps=2")
    assert done.returncode == 0, done.stderr
    write_again(folder)
    return folder


def test_export_writes_the_last_result_and_says_which(whole: Path, tmp_path: Path) -> None:
    run = Run(whole)
    wanted = {
        "": (run.results["02-aimd"].structure, "writing 02-aimd\n"),
        "01-xtb": (run.results["01-xtb"].structure, "writing 01-xtb (not converged)\n"),
        "structure": (run.structures["structure.extxyz"], "writing structure (as built)\n"),
    }
    for name, (structure, line) in wanted.items():
        done = stem2sim("export", whole, tmp_path / f"x{name}.extxyz", *(("--result", name) if name else ()))
        assert done.returncode == 0, done.stderr
        assert done.stderr == line
        assert read(tmp_path / f"x{name}.extxyz").positions == pytest.approx(structure.atoms.positions, abs=1e-6)
    assert np.abs(wanted[""][0].atoms.positions - wanted["structure"][0].atoms.positions).max() > 0.01


def test_a_name_that_is_unknown_or_not_needed_is_one_line(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(
        BadInput, match=r"no result '01-xbt'; results: structure, 01-xtb, 02-aimd; did you mean '01-xtb'"
    ):
        select(Run(whole), "01-xbt")
    for target, message in (("x.zip", "chooses a structure of a run folder"), ("x.vasp", "has no result '03-x'")):
        done = stem2sim("export", whole, tmp_path / target, "--result", "03-x")
        assert done.returncode == 2
        assert message in done.stderr


def test_several_variants_are_for_the_user_to_choose(folder: Path) -> None:
    """Two temperatures are two variants; without any result the structure as built is what there is."""
    assert stem2sim("simulate", folder, "--set", "simulate.1.temperature=[300, 500]").returncode == 0
    with pytest.raises(BadInput, match=r"has 2 variants \(02-aimd 300K, 02-aimd 500K\); choose one"):
        select(Run(folder))
    assert select(Run(folder), "02-aimd 500K").file == folder / "02-aimd" / "result-500K.extxyz"
    for step in ("01-xtb", "02-aimd"):
        shutil.rmtree(folder / step)
    assert select(Run(folder)).name == "structure"


def test_a_run_starts_from_a_result_of_another(whole: Path, tmp_path: Path) -> None:
    """The same atoms; the new run records folder, result and hash of the file, and Methods names them."""
    start = ("simulate", whole, "--result", "01-xtb", "--simulator", "xtb", *SINGLE)
    for out in ((), ("--out", whole)):
        refused = stem2sim(*start, *out)
        assert refused.returncode == 2
        assert "--result 01-xtb starts a new run; add --out NEW" in refused.stderr
    assert stem2sim(*start, "--out", tmp_path / "new").returncode == 0
    before, new = Run(whole), Run(tmp_path / "new")
    assert new.tree["structure"] == str((whole / "01-xtb" / "result.extxyz").resolve())
    assert "image" not in new.tree
    (structure,) = new.structures.values()
    assert structure.atoms.positions == pytest.approx(before.results["01-xtb"].structure.atoms.positions)
    record = structure.history[-1]
    assert (record["run"], record["result"]) == (str(whole.resolve()), "01-xtb")
    assert record["sha256"] == before.contents.sha256(whole / "01-xtb" / "result.extxyz")
    assert new.results["01-xtb"].energy == pytest.approx(before.results["01-xtb"].energy, abs=1e-3)
    assert "The initial structure is 01-xtb of the run run." in methods(new)
    write_again(tmp_path / "new")
    assert '"start.result"' in (tmp_path / "new" / "ro-crate-metadata.json").read_text()


def test_a_start_in_the_run_folder_itself_is_no_result_of_another_run(whole: Path, tmp_path: Path) -> None:
    """Nor is a file that lies in no run folder; a folder in place of a file is refused in one line."""
    start = Run(whole).structures["structure.extxyz"]
    for file in (tmp_path / "run" / "start.extxyz", tmp_path / "elsewhere.extxyz"):
        start.write(file)
        chain = parse({"structure": str(file), "simulate": [{"use": "xtb", "task": "single-point"}]})
        (tmp_path / "run").mkdir(exist_ok=True)
        pipeline.run(chain, tmp_path / "run", "build")
        (structure,) = Run(tmp_path / "run").structures.values()
        assert started_from(structure) is None
    with pytest.raises(BadInput, match=r"is a folder; give the file of a structure, such as 01-xtb/result\.extxyz"):
        pipeline.run(parse({"structure": str(whole), "simulate": []}), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_results_keep_their_methods_and_citations(changed: Path) -> None:
    """After another simulator ran in the folder: each result is described as it was made, earlier ones apart."""
    run = Run(changed)
    assert list(run.results) == ["01-aimd", "01-xtb", "02-aimd"]
    assert {"grimme2017gfn1", "tblite", "nose1984"} <= set(cited(run))
    now, _, earlier = methods(run).partition("Results of an earlier configuration are kept as well (01-xtb, 02-aimd):")
    assert "for 2 steps" in now
    assert "relaxed" not in now
    assert "Atomic positions were relaxed with the GFN1-xTB" in earlier
    assert "for 6 steps" in earlier


def test_stale_results_are_marked_everywhere(changed: Path, tmp_path: Path) -> None:
    run = Run(changed)
    why = "its step is not in the present config"
    assert stale(run) == {"01-xtb": why, "02-aimd": why}
    assert [bool(one.stale) for one, _ in rows(run)] == [False, True, True]
    assert select(run).name == "01-aimd"
    page = (changed / "report.md").read_text()
    assert f"01-xtb is stale: {why}" in page
    assert page.count("### 02-aimd (stale)") == 3  # the simulation, its geometry, its trajectory
    assert "### After 01-xtb (stale)" in page
    crate = json.loads((changed / "ro-crate-metadata.json").read_text())["@graph"]
    assert [one["@id"] for one in crate if str(one.get("description")).startswith("stale: ")] == ["#01-xtb", "#02-aimd"]
    assert "02-aimd (stale)" in stem2sim("compare", changed).stdout
    assert f"02-aimd is stale ({why})" in stem2sim("cite", changed).stderr


def test_options_that_change_make_a_result_stale_and_what_follows_it(folder: Path) -> None:
    """A config that is written and not yet run: results count for what they were made with."""
    run = Run(folder)
    assert stale(run) == {}
    tree = {**run.tree, "simulate": [{**run.tree["simulate"][0], "fmax": 0.5}, run.tree["simulate"][1]]}
    write_text(folder / "run.toml", parse(tree).to_toml())
    assert stale(Run(folder)) == {
        "01-xtb": "its options have changed: fmax",
        "02-aimd": "it started from a result of 01-xtb, which is stale",
    }
    assert "below 0.01 eV/Å" in methods(Run(folder))
    assert "below 0.5 eV/Å" not in methods(Run(folder))


def test_results_of_a_start_that_is_gone_are_reported(folder: Path) -> None:
    """The relaxation is made again, otherwise: the trajectory that went on from it is not shown, and that is said."""
    assert stem2sim("simulate", folder, "--simulator", "xtb", *SINGLE).returncode == 0
    assert replaced(Run(folder)) == ["02-aimd"]
    write_again(folder)
    assert "02-aimd has results that are not shown" in (folder / "report.md").read_text()


def test_methods_print_the_value_that_was_used(whole: Path) -> None:
    """A default that depends on the structure: hydrogen moves here, so 0.5 fs."""
    run = Run(whole)
    assert "with a time step of 0.5 fs;" in methods(run)
    assert run.results["02-aimd"].details == {"used": {"time_step": 0.5}}
    assert run.results["02-aimd"].made_by["time_step"] is None


def test_values_of_an_engine_within_a_simulator_stay_the_engines(whole: Path) -> None:
    result: SimulationResult = Run(whole).results["02-aimd"]
    details = with_used({"tags": {}, "used": {"kpoints": [2, 2, 1]}}, time_step=1.0)
    options = result.model_copy(update={"details": details}).options
    assert options["time_step"] == 1.0
    assert options["engine"]["kpoints"] == [2, 2, 1]
    assert options["engine"]["use"] == "xtb"
