"""The contract of the command line: exit codes, one-line errors, JSON, and what `--help` may cost."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from rich.console import Console
from tests.conftest import ROOT, flake, stem2sim, table_of

from stem2sim.config.explain import options
from stem2sim.progress import shown, track
from stem2sim.registry import installed
from stem2sim.runs.request import RunRequest
from stem2sim.testing import graphene_image

if TYPE_CHECKING:
    from pathlib import Path


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from stem2sim.cli.main import app\n"
        "result = CliRunner().invoke(app, ['--help'])\n"
        "assert result.exit_code == 0 and 'simulate' in result.output\n"
        "heavy = {'torch', 'ase', 'numpy', 'pydantic', 'scipy', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_entry_point_and_module_are_one() -> None:
    script = ROOT / ".venv" / "bin" / "stem2sim"
    if not script.exists():
        pytest.skip("the tests run outside the project's own environment")
    said = subprocess.run([script, "--version"], capture_output=True, text=True, check=True).stdout
    assert said == stem2sim("--version").stdout


def inputs(folder: Path) -> None:
    """Write one file per kind of bad input."""
    good = graphene_image(8.0).pixels
    np.save(folder / "good.npy", good)
    np.save(folder / "empty.npy", np.zeros((0, 0)))
    np.save(folder / "stack.npy", np.stack([good, good]))
    with_nan = good.copy()
    with_nan[3, 4] = np.nan
    np.save(folder / "nan.npy", with_nan)
    np.save(folder / "noise.npy", np.random.default_rng(0).normal(size=(64, 64)))
    (folder / "overlap.csv").write_text("x,y,species\n0,0,C\n0.4,0,C\n1.4,0,C\n")
    (folder / "overlap.xyz").write_text("2\n\nC 0 0 0\nC 0.4 0 0\n")
    (folder / "broken.toml").write_text("[image\n")
    (folder / "notes.txt").write_text("hello")


PIXELS = ("--set", "image.pixel_size=0.1")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "missing.npy", *PIXELS), "no file or folder at missing.npy"),
        (("run", "empty.npy", *PIXELS), "image is empty: shape (0, 0)"),
        (("run", "nan.npy", *PIXELS), "1 of 6400 pixels are NaN or infinite"),
        (("run", "stack.npy", *PIXELS), "choose one with image.frame (0 to 1)"),
        (("run", "good.npy"), "give it with --pixel-size 0.1"),
        (("run", "good.npy", "--set", "image.pixel_size=0"), "image.pixel_size: input should be greater than 0, got 0"),
        (
            ("segment", "good.npy", *PIXELS, "--segmenter", "peaks", "--set", "segment.blur=9"),
            "no peaks above the mean",
        ),
        (("build", "overlap.csv", "--builder", "place"), "atoms closer than 0.9 Å: C 0–C 1 (0.40 Å)"),
        (("simulate", "overlap.xyz", "--simulator", "xtb"), "atoms closer than 0.9 Å: C 0–C 1 (0.40 Å)"),
        (("run", "broken.toml"), "broken.toml is not valid TOML"),
        (("run", "notes.txt"), "cannot start from notes.txt"),
        (("run", "good.npy", *PIXELS, "--segmenter", "unnet"), "no segmenter named 'unnet'; installed: "),
        (("simulate", "good.npy", "--simulator", "xtb"), "cannot read a structure from good.npy"),
        (("report", "."), "is not a run folder"),
        (("explain", "xtbb"), "did you mean 'xtb'"),
        (("run", "good.npy", *PIXELS, "--out", "good.npy/sub"), "Not a directory"),
        (("segment", "good.npy", "--set", "image.pixel_size=7.81"), "do not resolve atoms 1.42 Å apart"),
        (("segment", "good.npy", "--set", "image.pixel_size=0.0001"), "under 5.0 Å"),
        (("run", "good.npy", *PIXELS, "--engine", "xtb", "--set", "simulate=3"), "write [[simulate]]"),
        (("run", "good.npy", *PIXELS, "--set", 'simulate.1.engine={use=["xtb"]}'), "say which simulator"),
        (("init", "--engine", "nosuch"), "no simulator named 'nosuch'"),
        (("run",), "Missing argument"),
        (("run", "good.npy", "--no-such-flag"), "No such option"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    inputs(tmp_path)
    done = stem2sim(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    *progress, error = done.stderr.splitlines()
    assert error.startswith("error: ")
    assert message in error
    assert all(line.startswith(("image ", "segment: ", "warning: ")) for line in progress), done.stderr


@pytest.mark.slow
def test_a_frame_of_nothing_has_no_atoms(tmp_path: Path) -> None:
    """The default segmenter on a bare gradient: no atoms found, exit code 2."""
    np.save(tmp_path / "bare.npy", np.add.outer(np.arange(96.0), np.arange(96.0)))
    done = stem2sim("segment", "bare.npy", *PIXELS, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "no atoms found" in done.stderr.splitlines()[-1]


def test_plugins_lists_what_is_installed() -> None:
    told = json.loads(stem2sim("plugins", "--json").stdout)
    assert {s["name"] for s in told["stages"]} >= {
        "unet",
        "atoms-table",
        "peaks",
        "place",
        "patch",
        "hterm",
        "xtb",
        "aimd",
    }
    assert told["broken"] == []
    table = stem2sim("plugins").stdout
    for stage in told["stages"]:
        assert stage["name"] in table
        assert f"{stage['distribution']} {stage['version']}" in table


def test_explain_knows_every_stage() -> None:
    for offer in installed().offers:
        assert {option.name for option in options(offer.stage)} == set(offer.stage.model_fields)
    (xtb,) = json.loads(stem2sim("explain", "xtb", "--json").stdout)
    fmax = next(o for o in xtb["options"] if o["name"] == "fmax")
    assert (fmax["type"], fmax["default"], fmax["unit"]) == ("number", "0.01", "eV/Å")
    shown = stem2sim("explain", "periodic").stdout
    assert "[integer, integer]" in shown, "brackets are a type, not markup"


def test_schema_is_json() -> None:
    assert json.loads(stem2sim("schema").stdout)["title"] == "stem2sim config"


def test_the_verbs_follow_each_other(tmp_path: Path) -> None:
    """Segment with the example plugin, build, simulate from the run folder, report: one folder, nothing twice."""
    np.save(tmp_path / "f.npy", graphene_image(16.0).pixels)
    config = tmp_path / "c.toml"
    config.write_text(
        '[image]\npath = "f.npy"\npixel_size = 0.1\n[segment]\nuse = "peaks"\n'
        '[[build]]\nuse = "place"\n[[build]]\nuse = "patch"\nsize = 10\n[[build]]\nuse = "hterm"\n'
        '[[simulate]]\nuse = "xtb"\ntask = "single-point"\n'
    )
    found = json.loads(stem2sim("segment", config, "--out", "run", "--json", cwd=tmp_path).stdout)
    assert found["steps"] == {"segment": "done"}
    assert found["atoms"]["C"] > 70
    built = json.loads(stem2sim("build", "run", "--json", cwd=tmp_path).stdout)
    assert built["steps"]["segment"] == "already done"
    (structure,) = built["structures"]
    assert structure["path"] == "run/structure.extxyz"
    assert any("patch around" in finding for finding in structure["findings"])
    assert {check["check"] for check in structure["checks"]} >= {"coordination"}
    simulated = json.loads(stem2sim("simulate", "run", "--json", cwd=tmp_path).stdout)
    assert simulated["steps"]["structure"] == "already done"
    assert simulated["results"][0]["energy_eV"] < 0
    whole = json.loads(stem2sim("run", "run", "--json", cwd=tmp_path).stdout)
    assert [s for s, how in whole["steps"].items() if how == "done"] == ["report.html"]
    assert stem2sim("report", "run", cwd=tmp_path).stdout.strip() == "run/report.html"


def test_simulate_takes_a_structure_file(tmp_path: Path) -> None:
    flake(8).in_a_cell().write(tmp_path / "s.extxyz")
    done = stem2sim("simulate", "s.extxyz", "--simulator", "xtb", "--set", "simulate.0.task=single-point", "--out",
                    "run", "--json", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["results"][0]["path"] == "run/01-xtb/result.json"


def test_without_out_the_folder_is_named_after_the_input(tmp_path: Path) -> None:
    (tmp_path / "flake.csv").write_text(table_of(flake(12).atoms.positions[:, :2]).to_csv())
    one = stem2sim("build", "flake.csv", cwd=tmp_path).stdout.strip()
    other = stem2sim("build", "flake.csv", "--set", "build.1.size=20", cwd=tmp_path).stdout.strip()
    assert one.startswith("runs/flake-")
    assert one != other


def test_a_run_folder_goes_on_from_verb_to_verb(tmp_path: Path) -> None:
    """`segment IMAGE`, then `build` of its folder with the default builders; a relative path given by --set holds."""
    (tmp_path / "frames").mkdir()
    np.save(tmp_path / "frames" / "f.npy", graphene_image(16.0).pixels)
    config = tmp_path / "c.toml"
    config.write_text('[image]\npath = "gone.npy"\npixel_size = 0.1\n[segment]\nuse = "peaks"\n')
    stem2sim("segment", config, "--set", "image.path=frames/f.npy", "--out", "v", cwd=tmp_path)
    built = json.loads(stem2sim("build", "v", "--json", cwd=tmp_path).stdout)
    assert built["steps"]["segment"] == "already done"
    assert list(built["steps"])[1:] == [
        "build/01-place",
        "build/02-patch",
        "build/03-hterm",
        "build/04-ripple",
        "structure",
    ]


def test_without_arguments_it_helps() -> None:
    done = stem2sim()
    assert done.returncode == 0
    assert "simulate" in done.stdout


def test_verbose_shows_the_log(tmp_path: Path) -> None:
    (tmp_path / "flake.csv").write_text(table_of(flake(12).atoms.positions[:, :2]).to_csv())
    quiet = stem2sim("build", "flake.csv", "--out", "a", cwd=tmp_path).stderr
    loud = stem2sim("build", "flake.csv", "--out", "b", "-v", cwd=tmp_path).stderr
    assert "build/01-place: 0." not in quiet
    assert "build/01-place: 0." in loud


def test_long_work_shows_how_far_it_is() -> None:
    """The bar names the work, counts its steps, and is gone at the end; without a console there is none."""
    stream = io.StringIO()
    with shown(Console(file=stream, force_terminal=True, width=100)), track("relaxation", 5) as advance:
        advance(2, note="0.1 eV/Å")
        time.sleep(0.4)  # the bar is drawn a few times a second
    assert "relaxation 0.1 eV/Å" in stream.getvalue()
    assert "2/5" in stream.getvalue()
    with track("relaxation", 5) as advance:
        advance(2)


def test_init_does_not_overwrite(tmp_path: Path) -> None:
    done = stem2sim("init", "--out", "c.toml", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "c.toml\n", "next: stem2sim run c.toml\n")
    assert 'use = "unet"' in (tmp_path / "c.toml").read_text()
    assert stem2sim("init", "--out", "c.toml", cwd=tmp_path).returncode == 2


def test_force_reaches_the_segmenter_that_has_it_and_stops_no_other(tmp_path: Path) -> None:
    """It is a flag, not text: a segmenter without the option runs, with a warning that the flag has no effect."""
    np.save(tmp_path / "frame.npy", graphene_image(10.0).pixels)
    options = ["--set", "image.pixel_size=0.1", "--force", "--out", tmp_path / "run"]
    done = stem2sim("segment", tmp_path / "frame.npy", "--segmenter", "peaks", *options)
    assert done.returncode == 0, done.stderr
    assert "warning: --force has no effect: the segmenter 'peaks' has no such option" in done.stderr
    assert RunRequest(tmp_path / "frame.npy", segmenter="unet", force=True).config("segment").segment.force  # type: ignore[union-attr]
    flake(8).in_a_cell().write(tmp_path / "s.extxyz")
    with_structure = RunRequest(tmp_path / "s.extxyz", simulators=["xtb"], force=True).config("simulate")
    assert with_structure.segment is None
