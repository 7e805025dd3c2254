"""The light installation: OpenVINO alone runs the networks, and what needs PyTorch says how to get it."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.conftest import ROOT, stem2sim

from stem2sim.errors import BadInput
from stem2sim.image import Image
from stem2sim.imaging.readers import read_image
from stem2sim_unet import SHIPPED, runtimes
from stem2sim_unet.runtimes import TRAIN, runtime_for
from stem2sim_unet.unet import Unet

if TYPE_CHECKING:
    from pathlib import Path

DEMO = ROOT / "docs" / "demo" / "graphene_si_edge.npz"

WITHOUT = """
import sys

class Hiding:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in HIDDEN else self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)

HIDDEN = sys.argv.pop(1).split(",")
sys.meta_path[:] = [Hiding(finder) for finder in sys.meta_path]
from stem2sim.cli.main import main
main()
"""
"""Runs the command as if some packages were not installed."""


def without(packages: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT, packages, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def species(folder: Path) -> list[str]:
    with (folder / "atoms.csv").open() as file:
        return [row["species"] for row in csv.DictReader(file)]


def test_a_frame_is_segmented_without_torch_and_atomai(tmp_path: Path) -> None:
    """The default options import neither, and find what they find with both."""
    done = without("torch,atomai,six", "segment", DEMO, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert species(tmp_path / "run") == Unet().segment(read_image(DEMO)).atoms.species.tolist()


def test_a_real_frame_is_segmented_without_torch_and_atomai(stem: Path, tmp_path: Path) -> None:
    frame, size = stem / "graphene_si_2nm.npy", "image.pixel_size=0.0781"
    done = without("torch,atomai,six", "segment", frame, "--set", size, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert species(tmp_path / "run").count("Si") == 1


def test_without_any_runtime_the_error_names_both(tmp_path: Path) -> None:
    done = without("torch,openvino", "segment", DEMO, "--out", tmp_path / "run")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "neither OpenVINO nor PyTorch is installed" in done.stderr
    assert f"pip install stem2sim-unet (OpenVINO), or {TRAIN} (PyTorch)" in done.stderr


def test_without_openvino_torch_runs_the_networks(tmp_path: Path) -> None:
    done = without("openvino", "segment", DEMO, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    done = without("openvino", "segment", DEMO, "--set", "segment.backend=openvino", "--out", tmp_path / "other")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "needs OpenVINO, which is not installed (pip install stem2sim-unet)" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "purpose"),
    [
        (("train", "--out", "OUT"), "training needs PyTorch and AtomAI, which are"),
        (("unet", "adapt", DEMO, "--out", "OUT"), "adapting an ensemble needs PyTorch, which is"),
        (("unet", "import", "m.tar", "--classes", "C", "--out", "OUT"), "AtomAI's model files needs PyTorch, which is"),
        (("unet", "export", "ensemble", "OUT"), "AtomAI's model files needs PyTorch, which is"),
        (("segment", DEMO, "--set", "segment.backend=torch", "--out", "OUT"), 'backend = "torch" needs PyTorch'),
        (("segment", DEMO, "--set", "segment.compat=atomai", "--out", "OUT"), 'compat = "atomai" needs PyTorch'),
    ],
    ids=lambda value: " ".join(map(str, value[:2])) if isinstance(value, tuple) else "",
)
def test_what_needs_torch_says_how_to_install_it(arguments: tuple[object, ...], purpose: str, tmp_path: Path) -> None:
    """In one line with the command that installs it."""
    done = without("torch,atomai", *(tmp_path / "out" if one == "OUT" else one for one in arguments))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert purpose in done.stderr
    assert "not installed" in done.stderr
    assert TRAIN in done.stderr


@pytest.mark.parametrize("arguments", [("train", "--help"), ("unet", "--help"), ("unet", "card"), ("explain", "unet")])
def test_help_and_model_cards_need_no_runtime(arguments: tuple[str, ...]) -> None:
    assert without("torch,atomai,openvino", *arguments).returncode == 0


def test_doctor_names_what_runs_the_networks() -> None:
    """Without PyTorch there is a note, without any runtime a fault, each with the command that fixes it."""
    light = without("torch,atomai", "doctor", "--json")
    assert "OpenVINO 20" in light.stdout
    assert '"note"' in light.stdout.partition("GPUs need PyTorch")[0].rpartition("{")[2]
    assert without("torch,openvino", "doctor").returncode == 1
    assert "slower on a CPU without OpenVINO" in without("openvino", "doctor", "--json").stdout
    assert next(iter(Unet(compat="atomai").diagnose([]))).found.startswith("PyTorch")


def test_by_default_torch_runs_the_networks_only_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "gpu", lambda: "")
    assert runtime_for("auto") == "openvino"
    monkeypatch.setattr(runtimes, "gpu", lambda: "a GPU")
    assert runtime_for("auto") == "torch"
    assert runtime_for("openvino") == "openvino"


@pytest.mark.parametrize("name", ["demo", "graphene_si_2nm", "graphene_grain_boundary_4nm"])
def test_both_runtimes_give_the_same_atoms(name: str, request: pytest.FixtureRequest) -> None:
    """In single precision: the same atoms, and probabilities, of atoms and of pixels, within 0.001."""
    if name == "demo":
        image = read_image(DEMO)
    else:
        image = Image(pixels=np.load(request.getfixturevalue("stem") / f"{name}.npy"), pixel_size=0.0781)
    one, other = (Unet(backend=backend, precision="single").segment(image) for backend in ("openvino", "torch"))
    assert one.atoms.species.tolist() == other.atoms.species.tolist()
    assert np.abs(one.atoms.positions - other.atoms.positions).max() < 1e-3
    assert np.abs(one.atoms.probability - other.atoms.probability).max() < 1e-3
    assert one.mean is not None
    assert other.mean is not None
    assert np.abs(one.mean - other.mean).max() < 1e-3


def test_a_missing_runtime_comes_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "find_spec", lambda _: None)
    with pytest.raises(BadInput, match="neither OpenVINO nor PyTorch"):
        Unet(weights=tmp_path).segment(read_image(DEMO))


def test_the_card_is_text_that_fits_a_terminal() -> None:
    """Material, classes, members, training, calibration, limits and scores, and what to do next."""
    done = stem2sim("unet", "card")
    lines = done.stdout.splitlines()
    assert len(lines) < 30
    for start in (
        "material    graphene",
        "classes     C, Si, Cr",
        "members     20 U-Nets",
        "calibrated  on",
        "limits  ",
    ):
        assert any(line.startswith(start) for line in lines), start
    assert "recall                                                          0.9918    0.9223" in lines
    assert done.stderr == "next: stem2sim segment IMAGE\n"


@pytest.mark.parametrize("command", [("train",), *(("unet", name) for name in ("import", "export", "adapt", "card"))])
def test_help_shows_an_example(command: tuple[str, ...]) -> None:
    assert f"Example: stem2sim {' '.join(command)} " in stem2sim(*command, "--help").stdout


def test_an_exported_ensemble_names_the_command_that_uses_it(tmp_path: Path) -> None:
    """With shell quotes, so that it can be pasted."""
    done = stem2sim("unet", "export", SHIPPED, tmp_path / "model.tar")
    assert done.stdout == f"{tmp_path / 'model.tar'}\n"
    assert done.stderr.startswith("next: stem2sim segment IMAGE --set=segment.compat=atomai --set=segment.weights=")


def test_training_options_are_explained() -> None:
    """Those of the tables in the config too, and the help of the command lists all of them."""
    tables = json.loads(stem2sim("explain", "train", "--json").stdout)
    assert [one["name"] for one in tables] == ["train", "[recipe]", "[[recipe.impurities]]", "[[labelled]]"]
    options = {option["name"]: option for table in tables for option in table["options"]}
    assert options["starts"]["default"] == "5"
    assert options["thermal"]["unit"] == "Å"
    assert options["recipe"]["type"] == "table"
    text = stem2sim("train", "--help").stdout
    assert all(name in text for name in options)
