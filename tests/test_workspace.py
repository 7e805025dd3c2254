"""Habits of the workspace, kept as tests."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from stem2sim import __version__, hookspecs
from tests.conftest import ROOT

FOLDERS = {
    "stem2sim": "core",
    "stem2sim_hterm": "plugins/stem2sim_hterm",
    "stem2sim_aimd": "plugins/stem2sim_aimd",
    "stem2sim_xtb": "plugins/stem2sim_xtb",
    "stem2sim_lammps": "plugins/stem2sim_lammps",
    "stem2sim_dftb": "stem2sim_dftb",
    "stem2sim_vasp": "stem2sim_vasp",
    "stem2sim_unet": "stem2sim_unet",
}


@pytest.mark.parametrize("package", FOLDERS)
def test_packages_are_packages(package: str) -> None:
    """A folder of the same name seen from the root must not become an empty namespace package."""
    file = importlib.import_module(package).__file__
    assert file is not None
    assert (Path(file).parent / "py.typed").is_file()


def test_one_version_for_all() -> None:
    for folder in FOLDERS.values():
        project = tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]
        assert project["version"] == __version__
        own = [d for d in project["dependencies"] if d.startswith("stem2sim")]
        own += project.get("optional-dependencies", {}).get("all", [])
        assert all(d.endswith(f"=={__version__}") for d in own)
        assert project["license"] == "MIT"
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()
    assert f"version: {__version__}" in (ROOT / "CITATION.cff").read_text()


def test_constraints_name_no_host_and_pin_everything() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert pins
    assert all(re.fullmatch(r"[A-Za-z0-9_.\-]+==[^\s/]+", pin) for pin in pins)


def test_hooks_are_documented() -> None:
    page = (ROOT / "docs" / "plugins.md").read_text()
    for name in vars(hookspecs):
        if name.startswith("stem2sim_"):
            assert name in page


def test_the_example_in_the_docs_is_the_one_that_runs() -> None:
    page = (ROOT / "docs" / "plugins.md").read_text()
    assert (ROOT / "docs" / "example_plugin" / "stem2sim_peaks.py").read_text() in page


@pytest.mark.slow
def test_wheels_install_alone(tmp_path: Path) -> None:
    """Core, hterm and xtb from their wheels into a fresh environment; unet without torch is listed as broken."""
    wheels = tmp_path / "wheels"
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(wheels)]
    subprocess.run([*build, *(str(ROOT / folder) for folder in FOLDERS.values())], check=True)
    assert len(list(wheels.glob("*.whl"))) == len(FOLDERS)
    fresh = tmp_path / "fresh"
    subprocess.run([sys.executable, "-m", "venv", str(fresh)], check=True)
    python = fresh / "bin" / "python"

    def install(*what: str) -> None:
        constraints = ["-c", str(ROOT / "constraints.txt")]
        files = [str(next(wheels.glob(f"{name}-*.whl"))) for name in what]
        subprocess.run([python, "-m", "pip", "install", "-q", *constraints, *files], check=True)

    install("stem2sim", "stem2sim_hterm", "stem2sim_xtb")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def plugins() -> str:
        done = subprocess.run(
            [fresh / "bin" / "stem2sim", "plugins"],
            capture_output=True,
            text=True,
            env=environment,
            cwd=tmp_path,
            check=True,
        )
        return done.stdout

    told = plugins()
    for name in ("atoms-table", "place", "patch", "hterm", "xtb", f"stem2sim-xtb {__version__}"):
        assert name in told
    assert "broken" not in told
    unet = str(next(wheels.glob("stem2sim_unet-*.whl")))
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", unet], check=True)
    told = plugins()
    assert "xtb" in told
    assert (
        f"plugin 'unet' (stem2sim-unet {__version__}) failed to load (ModuleNotFoundError: No module named 'torch')"
        in told
    )
    asked = subprocess.run(
        [fresh / "bin" / "stem2sim", "explain", "unet"], capture_output=True, text=True, env=environment, check=False
    )
    assert asked.returncode == 2
    assert "No module named 'torch'" in asked.stderr
