"""No verb uses anything but what its object holds: whatever became of the files it came from."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from ase.build import molecule
from tests.conftest import flake

import stem2sim as s2s
from stem2sim.testing import graphene_image

if TYPE_CHECKING:
    from pathlib import Path

    from ase import Atoms

CHAIN: tuple[Any, ...] = ("place", ("patch", {"size": 10}), "hterm")


def distances(atoms: Atoms) -> np.ndarray:
    return np.sort(atoms.get_all_distances().ravel())


@pytest.fixture
def built(tmp_path: Path) -> tuple[Path, s2s.Segmentation, s2s.Structure]:
    """Return an image file, and what was made of it."""
    file = tmp_path / "frame.npz"
    np.savez(file, image=graphene_image(16.0).pixels, pixel_size=0.1)
    atoms = s2s.segment(s2s.read(file), "peaks")
    return file, atoms, s2s.build(atoms, *CHAIN)


@pytest.mark.parametrize("gone", [False, True])
def test_another_image_in_the_same_file_changes_nothing(
    built: tuple[Path, s2s.Segmentation, s2s.Structure], gone: bool
) -> None:
    """Nor does it matter that the file is gone: the object in memory counts."""
    file, atoms, structure = built
    relaxed = s2s.simulate(structure, "xtb", max_steps=2)
    file.unlink()
    if not gone:
        np.savez(file, image=graphene_image(20.0).pixels, pixel_size=0.1)
    again = s2s.simulate(structure, "xtb", task="single-point")
    assert np.allclose(distances(again.atoms), distances(structure.atoms), atol=1e-6)
    on = s2s.simulate(relaxed, "xtb", task="single-point")
    assert on.energy == pytest.approx(relaxed.energy, abs=1e-5)
    assert len(s2s.build(atoms, "place").atoms) == len(atoms.atoms)


def test_a_config_that_was_changed_since_does_not_count(tmp_path: Path) -> None:
    """A result that the present config of its run would not make starts a new run as it is."""
    first = s2s.simulate(molecule("CH4"), "xtb", fmax=1.5, out=tmp_path / "run")
    config = tmp_path / "run" / "run.toml"
    config.write_text(config.read_text().replace("fmax = 1.5", "fmax = 0.001"))
    loose = s2s.Run(tmp_path / "run").results["01-xtb"]
    assert s2s.simulate(loose, "xtb", task="single-point").energy == pytest.approx(first.energy, abs=1e-5)


def test_a_call_that_fails_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    """A mistake writes nothing; another start in the same folder replaces no file of the one before."""
    out = tmp_path / "run"
    with pytest.raises(s2s.BadInput, match="did you mean 'fmax'"):
        s2s.simulate(molecule("NH3"), "xtb", fmx=0.1, out=out)
    assert not out.exists()
    methane = s2s.simulate(molecule("CH4"), "xtb", task="single-point", out=out)
    s2s.simulate(molecule("NH3"), "xtb", task="single-point", out=out)
    on = s2s.simulate(methane, "xtb", task="single-point")
    assert on.energy == pytest.approx(methane.energy, abs=1e-6)


def test_builders_go_on_from_what_was_relaxed(built: tuple[Path, s2s.Segmentation, s2s.Structure]) -> None:
    """A result, and its structure, are built on as they are; a structure keeps the builders before it."""
    *_, structure = built
    relaxed = s2s.simulate(structure, "xtb", fmax=0.2)
    for start in (relaxed, relaxed.structure):
        boxed = s2s.build(start, ("cell", {"vacuum": 12}))
        assert np.allclose(distances(boxed.atoms), distances(relaxed.atoms), atol=1e-6)
    capped = s2s.build(flake(6.0), "hterm")
    boxed = s2s.build(capped, ("cell", {"vacuum": 12}))
    assert boxed.atoms.get_chemical_formula() == capped.atoms.get_chemical_formula()
    assert [step["use"] for step in boxed.history] == ["hterm", "cell"]


def test_only_results_of_the_call_are_returned(tmp_path: Path) -> None:
    """Not those that another simulator left in the same folder; and a trajectory is that of its result."""
    out = tmp_path / "run"
    first = s2s.simulate(molecule("CH4"), "xtb", fmax=0.3, out=out)
    hot = s2s.simulate(molecule("CH4"), "aimd", engine="xtb", steps=4, temperature=100, out=out)
    assert hot.made_by["use"] == "aimd"
    assert list(s2s.simulate_all(molecule("CH4"), "xtb", fmax=0.2, out=out)) == ["01-xtb"]
    with pytest.raises(s2s.BadInput, match="holds another result by now"):
        first.frames()
    assert len(hot.frames()) == 3


def test_the_working_directory_may_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object finds its files from anywhere, and goes on from them."""
    monkeypatch.chdir(tmp_path)
    relaxed = s2s.simulate(molecule("CH4"), "xtb", fmax=0.3, out="run")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert len(relaxed.frames()) > 0
    s2s.simulate(relaxed, "xtb", task="single-point", out="on")
    assert list(s2s.Run("on").results) == ["01-xtb", "02-xtb"]


def test_an_archive_that_is_read_only_is_gone_on_from(tmp_path: Path) -> None:
    """Its modes are not copied, links are not followed, and the temporary folder can be removed."""
    result = s2s.simulate(molecule("CH4"), "xtb", fmax=0.3, out=tmp_path / "run")
    (tmp_path / "secret").write_text("a key")
    (tmp_path / "run" / "01-xtb" / "link").symlink_to(tmp_path / "secret")
    for file in (tmp_path / "run").rglob("*"):
        if not file.is_symlink():
            os.chmod(file, 0o500 if file.is_dir() else 0o400)
    on = s2s.simulate(result, "xtb", task="single-point")
    assert on.file is not None
    copy = on.file.parent.parent
    assert list(s2s.Run(copy).results) == ["01-xtb", "02-xtb"]
    assert not (copy / "01-xtb" / "link").exists()
    assert all(os.stat(file).st_mode & 0o200 for file in copy.rglob("*"))


def test_results_of_the_same_simulation_are_equal() -> None:
    """However long each took."""
    first, second = (s2s.simulate(molecule("CH4"), "xtb", fmax=0.3) for _ in range(2))
    assert first == second.model_copy(update={"seconds": second.seconds + 1})
    with pytest.raises(s2s.BadInput, match=r"energy is fixed; .model_copy"):
        first.energy = 0.0  # type: ignore[misc]


def test_charges_of_atoms_are_not_dropped_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    """The engine takes its charge from its option."""
    atoms = molecule("CH4")
    atoms.set_initial_charges([1, 0, 0, 0, 0])
    s2s.simulate(atoms, "xtb", task="single-point")
    assert "charges and magnetic moments of the atoms are not used" in caplog.text


WRONG: list[tuple[Any, str]] = [
    (lambda out: s2s.simulate({}), "not from dict"),
    (lambda out: s2s.simulate(s2s.segment(graphene_image(12.0), "peaks")), r"s2s.build\(atoms\)"),
    (lambda out: s2s.build(None, "place"), "not from NoneType"),
    (lambda out: s2s.build(molecule("CH4"), ("patch", 3)), "a stage is given by its name"),
    (lambda out: s2s.build(molecule("CH4"), ("patch", {"use": "ripple"})), "'use' is not an option"),
    (lambda out: s2s.segment(np.eye(20)), "an array becomes an image by Image"),
    (lambda out: s2s.read(None), "not NoneType"),
    (lambda out: s2s.run(3), "not int"),
    (lambda out: s2s.simulate(molecule("CH4"), "xtb", out=out / "file" / "x"), "Not a directory"),
    (lambda out: s2s.build(molecule("CH4"), "hterm", allow="closs"), "no check named 'closs'"),
    (lambda out: s2s.run(out / "frame.npy", builders="plaace"), "no builder named 'plaace'"),
]


@pytest.mark.parametrize(("call", "message"), WRONG)
def test_a_wrong_type_is_one_clear_line(call: Any, message: str, tmp_path: Path) -> None:
    """It says what was given and what would work."""
    (tmp_path / "file").write_text("")
    np.save(tmp_path / "frame.npy", graphene_image(12.0).pixels)
    with pytest.raises(s2s.BadInput, match=message) as caught:
        call(tmp_path)
    assert "\n" not in str(caught.value)
