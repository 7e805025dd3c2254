"""From an image to the next command: what was read, at which pixel size, where it went, and how it goes on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.conftest import flake, stem2sim, table_of
from typer.main import get_command

from stem2sim.cli.main import app
from stem2sim.testing import graphene_image

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def frame(tmp_path: Path) -> Path:
    """Return an image file that does not state its pixel size."""
    file = tmp_path / "frame.npy"
    np.save(file, graphene_image(16.0).pixels)
    return file


def test_each_command_prints_its_folder_and_the_next_one(frame: Path) -> None:
    """On standard error; the last line of standard output stays the path."""
    where = frame.parent
    done = stem2sim("segment", frame, "--segmenter", "peaks", "--pixel-size", "0.1", "--out", "a run", cwd=where)
    assert done.stdout == "a run\n"
    assert done.stderr.splitlines()[-2:] == ["run folder: a run", "next: stem2sim build 'a run'"]
    assert done.stderr.splitlines()[0] == "image frame.npy: 160 × 160 pixels, pixel size 0.1 Å, as given"
    smaller = ["--builder", "place", "--builder", "patch", "--builder", "hterm", "--set", "build.patch.size=10"]
    done = stem2sim("build", "a run", *smaller, cwd=where)
    assert done.stderr.splitlines()[-1] == "next: stem2sim simulate 'a run'"
    done = stem2sim("simulate", "a run", "--simulator", "xtb", "--set", "simulate.xtb.task=single-point", cwd=where)
    assert done.stderr.splitlines()[-1] == "next: stem2sim report 'a run'"
    done = stem2sim("report", "a run", cwd=where)
    assert done.stdout == "a run/report.html\n"
    assert done.stderr.splitlines()[-1].startswith("next: open 'a run'/report.html in a browser, or stem2sim export ")
    assert stem2sim("build", "a run", "--json", cwd=where).stderr.count("next: ") == 0


def test_doctor_and_estimate_take_an_image_and_a_run_folder(frame: Path) -> None:
    where = frame.parent
    known = json.loads(stem2sim("doctor", frame, "--pixel-size", "0.1", "--json").stdout)
    assert {"what": "image", "state": "ok", "found": "frame.npy: 160 × 160 pixels, pixel size 0.1 Å, as given",
            "fix": ""} in known  # fmt: skip
    done = stem2sim("doctor", frame, "--json")
    assert done.returncode == 1
    assert "frame.npy does not state its pixel size" in done.stdout
    flags = ["--set", "segment.use=peaks", "--set", "build.patch.size=10", "--simulator", "xtb", "--pixel-size", "0.1"]
    done = stem2sim("estimate", frame, *flags, "--out", "run", cwd=where)
    assert done.stdout.startswith("01-xtb of structure.extxyz: "), done.stderr
    assert stem2sim("doctor", "run", cwd=where).returncode == 0
    assert stem2sim("estimate", "run", cwd=where).stdout.startswith("01-xtb of structure.extxyz: ")


def test_a_pixel_size_needs_an_image(tmp_path: Path) -> None:
    (tmp_path / "atoms.csv").write_text(table_of(flake(12).atoms.positions[:, :2]).to_csv())
    done = stem2sim("build", tmp_path / "atoms.csv", "--pixel-size", "0.1")
    message = "--pixel-size is for images, and atoms.csv starts from atoms with positions in Å"
    assert (done.returncode, done.stderr) == (2, f"error: {message}\n")


def test_of_several_images_in_a_file_the_one_that_is_read_is_named(tmp_path: Path) -> None:
    frames = {f"image_{number}": graphene_image(16.0).pixels for number in range(3)}
    np.savez(tmp_path / "many.npz", pixel_size=0.1, **frames)
    flags = ["--segmenter", "peaks", "--out", tmp_path / "run"]
    done = stem2sim("segment", tmp_path / "many.npz", *flags)
    assert done.stderr.splitlines()[0] == (
        "image many.npz: 160 × 160 pixels, pixel size 0.1 Å, from the file; this is image_0, one of 3 images in the "
        "file (--set image.dataset=NAME reads another: image_1, image_2)"
    )
    done = stem2sim("segment", tmp_path / "many.npz", *flags, "--set", "image.dataset=image_2")
    assert "this is image_2, one of 3 images" in done.stderr


def test_every_command_shows_an_example() -> None:
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        assert f"Example: stem2sim {name}" in command.help, name
