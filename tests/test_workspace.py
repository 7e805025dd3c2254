"""Habits of the workspace, kept as tests."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from stem2sim import __version__, hookspecs
from tests.conftest import ROOT

WORKSPACE = tomllib.loads((ROOT / "pyproject.toml").read_text())
MEMBERS = [
    file.parent
    for place in WORKSPACE["tool"]["uv"]["workspace"]["members"]
    for file in ROOT.glob(f"{place}/pyproject.toml")
]
FOLDERS = {"stem2sim" if folder.name == "core" else folder.name: folder.relative_to(ROOT) for folder in MEMBERS}
"""Package -> folder of its distribution."""

INSTALLED = {package: folder for package, folder in FOLDERS.items() if importlib.util.find_spec(package)}
"""Those that are installed here."""


def test_every_distribution_is_where_tools_look_for_it() -> None:
    """Adding one needs its name in these places; all others read the folders."""
    names = {
        tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]["name"] for folder in FOLDERS.values()
    }
    assert set(WORKSPACE["tool"]["uv"]["sources"]) == names
    assert set(WORKSPACE["tool"]["importlinter"]["root_packages"]) == set(FOLDERS)
    _, beside, cycles = WORKSPACE["tool"]["importlinter"]["contracts"]
    assert set(beside["layers"][0].split(" | ")) == set(FOLDERS) - {"stem2sim"}
    assert set(cycles["ancestors"]) == {"stem2sim.**", *FOLDERS} - {"stem2sim"}
    assert set(FOLDERS) - set(INSTALLED) <= {"stem2sim_abtem"}


@pytest.mark.parametrize("package", INSTALLED)
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
        extras = project.get("optional-dependencies", {})
        own += [*extras.get("all", []), *(d for d in extras.get("train", []) if d.startswith("stem2sim"))]
        assert all(d.endswith(f"=={__version__}") for d in own)
        assert project["license"] == "MIT"
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()
    assert f"version: {__version__}" in (ROOT / "CITATION.cff").read_text()


def test_the_demo_installs_what_the_extra_all_names() -> None:
    """No more: the heavy distributions and PyTorch are extras of their own, and come with `make test`."""
    heavy = re.findall(r"^LIGHT := \$\(filter-out (.*),", (ROOT / "Makefile").read_text(), re.MULTILINE)[0].split()
    light = {package.replace("_", "-") for package, folder in FOLDERS.items() if str(folder) not in heavy}
    extras = tomllib.loads((ROOT / "core" / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {requirement.partition("==")[0] for requirement in extras["all"]} == light - {"stem2sim"}
    assert extras["train"] == [f"stem2sim-unet[train]=={__version__}"]


def test_constraints_name_no_host_and_pin_everything() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert pins
    assert all(re.fullmatch(r"[A-Za-z0-9_.\-]+==[^\s/]+", pin) for pin in pins)


def rooms() -> set[str]:
    """Return the rooms of the core: its subpackages."""
    return {file.parent.name for file in (ROOT / "core" / "stem2sim").glob("*/__init__.py")}


def test_the_architecture_lists_the_rooms_that_there_are() -> None:
    """In the order of the import contract; every room says in one sentence what lives there."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    listed = re.findall(r"^\| `(\w+)` \| ", page.partition("## Rooms")[2].partition("## The way")[0], re.MULTILINE)
    assert set(listed) == rooms()
    layers = [
        name for layer in WORKSPACE["tool"]["importlinter"]["contracts"][0]["layers"] for name in layer.split(" | ")
    ]
    assert [name for name in layers if name in rooms()] == listed
    for name in rooms():
        sentence = importlib.import_module(f"stem2sim.{name}").__doc__ or ""
        assert sentence.endswith(".")
        assert "\n" not in sentence


def test_modules_without_a_room_are_listed() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    modules = {file.stem for file in (ROOT / "core" / "stem2sim").glob("*.py")} - {"__init__"}
    section = page.partition("stand in no room")[2].partition("## The way")[0]
    assert set(re.findall(r"`(\w+)`", section)) - rooms() == modules


def code() -> dict[Path, ast.Module]:
    """Return the modules of all distributions."""
    folders = [ROOT / folder / package for package, folder in FOLDERS.items()]
    return {file: ast.parse(file.read_text()) for folder in folders for file in sorted(folder.rglob("*.py"))}


def test_no_two_classes_have_one_name() -> None:
    """Whoever reads a name knows which it is, wherever it stands."""
    names = Counter(node.name for tree in code().values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    assert [name for name, count in names.items() if count > 1] == []


def test_a_file_and_a_function_hold_one_idea() -> None:
    """Up to 300 lines, up to 60 lines and 6 parameters; a command has as many parameters as flags."""
    for file, tree in code().items():
        assert len(file.read_text().splitlines()) <= 300, file
        commands = file.parent.name == "cli" or file.name == "commands.py"
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno is not None
                assert node.end_lineno - node.lineno < 60, (file, node.name)
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                parameters = [one.arg for one in arguments if one.arg not in ("self", "cls")]
                assert len(parameters) <= 6 or commands, (file, node.name, parameters)


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
    """Core, hterm and xtb from their wheels into a fresh environment; unet brings no torch, and is broken by itself."""
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
    reason = "failed to load (ModuleNotFoundError: No module named 'safetensors')"
    assert f"plugin 'unet' (stem2sim-unet {__version__}) {reason}" in told
    asked = subprocess.run(
        [fresh / "bin" / "stem2sim", "explain", "unet"], capture_output=True, text=True, env=environment, check=False
    )
    assert asked.returncode == 2
    assert "No module named 'safetensors'" in asked.stderr
    install("stem2sim_unet")
    told = plugins()
    assert "unet" in told
    assert "broken" not in told
    packages = {file.name for file in (fresh / "lib").glob("python*/site-packages/*")}
    assert "openvino" in packages
    assert not {"torch", "atomai"} & packages
