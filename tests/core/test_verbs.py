from __future__ import annotations

import doctest
import gc
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from ase.build import molecule
from tests.conftest import ROOT, small_run, stem2sim

import stem2sim as s2s
from stem2sim.testing import graphene_image

if TYPE_CHECKING:
    from collections.abc import Iterator

CHAIN: tuple[Any, ...] = ("place", ("patch", {"size": 10}), "hterm")


@pytest.fixture
def image(tmp_path: Path) -> s2s.Image:
    """Return a frame of graphene that lies in a file."""
    np.savez(tmp_path / "frame.npz", image=graphene_image(16.0).pixels, pixel_size=0.1)
    return s2s.read(tmp_path / "frame.npz")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run folder with a relaxation and a trajectory."""
    return small_run(tmp_path_factory.mktemp("finished"))


def front_door() -> Iterator[tuple[str, FunctionType]]:
    every = (getattr(s2s, name) for name in s2s.__all__)
    verbs = [one for one in every if isinstance(one, FunctionType)]
    yield from ((one.__name__, one) for one in sorted(verbs, key=lambda one: one.__code__.co_firstlineno))


def test_every_verb_has_an_example_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The examples in the docstrings print what they say, on the frame of the demo."""
    shutil.copy(ROOT / "docs/demo/graphene_si_edge.npz", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert {"read", "segment", "build", "build_all", "simulate", "simulate_all", "run"} == {n for n, _ in front_door()}
    names: dict[str, Any] = {"s2s": s2s, "molecule": molecule}
    for name, verb in front_door():
        (example,) = doctest.DocTestFinder(recurse=False).find(verb, name, globs=names)
        assert example.examples, f"{name} has no example"
        said: list[str] = []
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
        assert runner.run(example, out=said.append, clear_globs=False).failed == 0, "".join(said)
        names |= example.globs  # an example goes on from those before it


def test_importing_it_imports_nothing_heavy() -> None:
    """Neither numpy nor anything that takes longer is imported before a name is used."""
    heavy = ("numpy", "ase", "pydantic", "matplotlib", "scipy", "torch", "rich", "typer")
    code = f"import stem2sim, sys; print([name for name in {heavy!r} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_verb_does_what_the_command_does(image: s2s.Image, tmp_path: Path) -> None:
    """The same atoms, structure, and config as the command line leaves for the same options."""
    command = ["build", image.source, "--out", tmp_path / "command", "--segmenter", "peaks"]
    stages = [flag for name in ("place", "patch", "hterm") for flag in ("--builder", name)]
    done = stem2sim(*command, *stages, "--set", "build.1.size=10", "--json")
    assert done.returncode == 0, done.stderr
    atoms = s2s.segment(image, "peaks", out=tmp_path / "verbs")
    structure = s2s.build(atoms, *CHAIN, out=tmp_path / "verbs")
    other = s2s.Run(tmp_path / "command")
    assert atoms == other.segmentation
    assert [structure] == list(other.structures.values())
    assert json.loads(done.stdout)["structures"][0]["formula"] == structure.atoms.get_chemical_formula("hill")
    assert (tmp_path / "verbs/run.toml").read_text() == (tmp_path / "command/run.toml").read_text()


def test_each_verb_goes_on_from_the_run_of_its_object(image: s2s.Image, tmp_path: Path) -> None:
    """In a folder of its own the last verb has every step before it, and none of them runs again there."""
    atoms = s2s.segment(image, "peaks")
    structure = s2s.build(atoms, *CHAIN)
    relaxed = s2s.simulate(structure, "xtb", max_steps=2)
    for _ in range(2):  # the second time nothing is left to do
        hot = s2s.simulate(relaxed, "aimd", engine="xtb", steps=4, out=tmp_path / "hot")
        run = s2s.Run(tmp_path / "hot")
        assert run.segmentation == atoms
        assert list(run.structures.values()) == [structure]
        assert list(run.results) == ["01-xtb", "02-aimd"]
        assert run.results["01-xtb"] == relaxed
        assert run.results["02-aimd"] == hot
        assert len(hot.frames()) == len(hot.observables["time [fs]"])
    assert [session.steps for session in run.sessions] == [["02-aimd"]]
    assert stem2sim("report", tmp_path / "hot").returncode == 0


def test_what_was_changed_in_memory_is_what_counts(image: s2s.Image, tmp_path: Path) -> None:
    """A frame, atoms or a structure that is no longer what its file holds starts a run as it is now."""
    darker = image.model_copy(update={"pixels": image.pixels[:-10]})
    assert s2s.Run(_folder(s2s.segment(darker, "peaks"))).image.shape == darker.shape
    atoms = s2s.segment(image, "peaks")
    fewer = atoms.model_copy(update={"atoms": atoms.atoms.chosen(atoms.atoms.x < 10)})
    structure = s2s.build(fewer, "place")
    assert len(structure.atoms) == len(fewer.atoms) < len(s2s.build(atoms, "place").atoms)
    small = s2s.build(atoms, *CHAIN)
    small.atoms.rattle(0.05, seed=3)
    result = s2s.simulate(small, "xtb", task="single-point", out=tmp_path / "rattled")
    assert np.allclose(result.atoms.positions, small.atoms.positions, atol=1e-6)


def test_a_run_of_the_command_line_goes_on_from_python(finished: Path) -> None:
    """A result is taken with its history, by whatever way its run was made; the run itself stays as it was."""
    before = (finished / "run.toml").read_text()
    result = s2s.Run(finished).results["01-xtb"]
    again = s2s.simulate(result, "xtb", task="single-point")
    assert list(s2s.Run(_folder(again)).results) == ["01-xtb", "02-xtb"]
    assert again.energy == pytest.approx(result.energy, abs=1e-6)
    assert (finished / "run.toml").read_text() == before


def test_structures_of_ase_are_structures() -> None:
    """Atoms of ASE are simulated as they are."""
    assert s2s.simulate(molecule("H2O"), "xtb", task="single-point").atoms.get_chemical_formula() == "H2O"


def test_several_variants_are_never_cut_to_one(image: s2s.Image) -> None:
    """Where one thing is promised and several come, the error names them and the verb that returns them all."""
    atoms = s2s.segment(image, "peaks")
    atoms = atoms.model_copy(
        update={"atoms": atoms.atoms.model_copy(update={"position_std": np.full(len(atoms.atoms), 0.05)})}
    )
    chain = ("place", ("patch", {"size": 10}), ("sample", {"count": 2}), "hterm")
    with pytest.raises(s2s.BadInput, match=r"2 variants, not one: structure-sample-1, .*build_all returns all"):
        s2s.build(atoms, *chain)
    variants = s2s.build_all(atoms, *chain)
    assert [one.label for one in variants.values()] == ["sample-1", "sample-2"]
    one = s2s.simulate(variants["structure-sample-2"], "xtb", task="single-point")
    assert one.atoms.get_chemical_symbols() == variants["structure-sample-2"].atoms.get_chemical_symbols()
    assert one.structure.history[-1]["result"] == "structure-sample-2", "where it came from is recorded"
    with pytest.raises(s2s.BadInput, match=r"simulate_all returns all of them; they are in (\S+) until") as several:
        s2s.simulate(one, "aimd", engine="xtb", steps=2, temperature=[100, 200])
    folder = Path(str(several.value).partition("they are in ")[2].partition(" until")[0])
    assert folder.is_dir(), "work that was done is not lost"


MISTAKES = [
    (lambda image: s2s.read("nowhere.npy"), "nowhere.npy"),
    (lambda image: s2s.read(image.source, pixel_size=-1), "pixel_size"),
    (lambda image: s2s.segment(image, "peeks"), "did you mean 'peaks'"),
    (lambda image: s2s.segment(image, "unet", least_probabilty=0.5), "did you mean 'least_probability'"),
    (lambda image: s2s.build(s2s.segment(image, "peaks"), ("patch", {"sise": 3})), "did you mean 'size'"),
    (lambda image: s2s.build(molecule("CH4")), "name the builders"),
    (lambda image: s2s.simulate(molecule("CH4"), "xtb", fmaks=1), "did you mean 'fmax'"),
    (lambda image: s2s.simulate(molecule("CH4"), "xtb", fmax="small"), "fmax"),
    (lambda image: s2s.simulate(molecule("CH4"), out=image.source), "not a folder"),
    (lambda image: s2s.simulate(molecule("CH4"), out=""), "not a folder"),
]


@pytest.mark.parametrize(("mistake", "message"), MISTAKES)
def test_mistakes_are_one_line(image: s2s.Image, mistake: Any, message: str) -> None:
    """A mistake raises BadInput with one line that says what would work, and nothing of pydantic's."""
    with pytest.raises(s2s.BadInput, match=message) as caught:
        mistake(image)
    assert "\n" not in str(caught.value)
    assert "pydantic" not in str(caught.value)


def test_temporary_runs_go_with_their_objects(image: s2s.Image) -> None:
    """A folder stays as long as something that came from it is in use, and not longer."""
    atoms = s2s.segment(image, "peaks")
    folder = _folder(atoms)
    structure = s2s.build(atoms, *CHAIN)
    del atoms
    gc.collect()
    assert not folder.exists()
    assert s2s.simulate(structure, "xtb", task="single-point").converged
    assert _folder(structure).is_dir()


def _folder(noun: s2s.Segmentation | s2s.Structure | s2s.SimulationResult) -> Path:
    """The run folder of an object."""
    assert noun.file is not None
    return Path(os.fspath(noun.file)).parent.parent if noun.file.suffix == ".json" else noun.file.parent
