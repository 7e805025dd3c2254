from __future__ import annotations

import base64
import copy
import io
import pickle
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase.build import molecule
from ase.constraints import FixAtoms
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.collections import EllipseCollection
from matplotlib.figure import Figure
from PIL import Image as Picture
from tests.conftest import flake, table_of

from stem2sim.errors import BadInput
from stem2sim.image import Image
from stem2sim.segmentation import Segmentation
from stem2sim.simulation import SimulationResult
from stem2sim.structure import Structure

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from matplotlib.axes import Axes

    from stem2sim.noun import Noun

HOSTILE = '<script>alert("x")</script>'


def nouns() -> list[Noun]:
    """Return one of each kind, its texts hostile where it has any."""
    pixels = np.random.default_rng(0).random((20, 30))
    table = table_of(np.array([[0.5, 1.0], [1.5, 0.5], [2.0, 1.8]]))
    image = Image(pixels=pixels, pixel_size=0.1, source=HOSTILE, warnings=(HOSTILE,))
    atoms = molecule("C2H4")
    structure = Structure(atoms=atoms, label=HOSTILE, findings=(HOSTILE,))
    result = SimulationResult(
        structure=structure, energy=-1.5, forces=np.full((6, 3), 0.1), converged=True, reason=HOSTILE,
        observables={"time [fs]": [0.0, 1.0], "temperature [K]": [300.0, 310.0]}, made_by={"use": HOSTILE},
    )  # fmt: skip
    maps = np.random.default_rng(1).random((2, 20, 30)).astype(np.float32)
    found = Segmentation(atoms=table, mean=maps, class_names=("C", "background"), warnings=(HOSTILE,))
    return [image, table, found.found_in(image), structure, result]


def axes() -> Axes:
    return Figure().add_subplot()


@pytest.mark.parametrize("noun", nouns(), ids=lambda noun: type(noun).__name__)
def test_a_noun_equals_its_copies_and_nothing_else(noun: Noun) -> None:
    """Comparing never raises; a copy, a pickle and a round through `model_copy` are equal to it."""
    assert noun == copy.deepcopy(noun) == pickle.loads(pickle.dumps(noun)) == noun.model_copy()
    for other in (None, 3, "text", np.zeros(3), *(one for one in nouns() if type(one) is not type(noun))):
        assert noun != other


@given(st.integers(0, 19), st.integers(0, 29), st.floats(0.01, 1))
def test_one_pixel_makes_another_image(row: int, column: int, by: float) -> None:
    """Frames are equal where every pixel and the pixel size are."""
    pixels = np.random.default_rng(0).random((20, 30))
    other = pixels.copy()
    other[row, column] += by
    assert Image(pixels=pixels, pixel_size=0.1) == Image(pixels=pixels, pixel_size=0.1)
    assert Image(pixels=pixels, pixel_size=0.1) != Image(pixels=other, pixel_size=0.1)
    assert Image(pixels=pixels, pixel_size=0.1) != Image(pixels=pixels, pixel_size=0.1 + by)


def test_an_image_keeps_its_pixels() -> None:
    """Whoever made it may go on changing the array it was made of."""
    pixels = np.random.default_rng(0).random((20, 30)).astype(np.float32)
    image = Image(pixels=pixels, pixel_size=0.1)
    before = image.fingerprint()
    pixels[:] = 0
    assert image.fingerprint() == before


def test_structures_compare_atoms_cells_and_constraints() -> None:
    """Whatever an engine would see makes a difference; an unknown position error equals another."""
    first = flake()
    first.atoms.arrays["position_std"][:] = np.nan
    changes = [
        lambda atoms: atoms.rattle(0.01),
        lambda atoms: atoms.set_cell([20, 20, 20]),
        lambda atoms: atoms.set_constraint(FixAtoms([0])),
        lambda atoms: atoms.arrays["probability"].__setitem__(0, 0.5),
    ]
    assert first == first.model_copy(update={"atoms": first.atoms.copy()})
    for change in changes:
        atoms = first.atoms.copy()
        change(atoms)
        assert first != first.model_copy(update={"atoms": atoms})


def test_what_is_read_equals_what_was_written(tmp_path: Path) -> None:
    """Files keep everything that equality looks at, and a noun knows the file it came from."""
    _, _, found, structure, result = nouns()
    structure.write(tmp_path / "s.extxyz")
    assert Structure.read(tmp_path / "s.extxyz") == structure
    assert Structure.read(tmp_path / "s.extxyz").file == tmp_path / "s.extxyz"
    result.write(tmp_path)
    assert SimulationResult.read(tmp_path / "result.json") == result
    rounded = found.model_copy(update={"mean": found.mean.astype(np.float16).astype(np.float32)})
    rounded.save(tmp_path / "found.npz")
    assert Segmentation.load(tmp_path / "found.npz") == rounded


@pytest.mark.parametrize("noun", nouns(), ids=lambda noun: type(noun).__name__)
def test_a_noun_shows_itself(noun: Noun) -> None:
    """Its repr is one line with its class; its HTML holds a picture, and no markup from a stranger's text."""
    assert repr(noun).startswith(f"{type(noun).__name__}(")
    assert "\n" not in repr(noun)
    html = noun._repr_html_()
    (png,) = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    picture = Picture.open(io.BytesIO(base64.b64decode(png)))
    assert len({*np.asarray(picture.convert("L")).flat}) > 10, "the picture is empty"
    assert "<script" not in html


def test_plots_lie_where_the_data_do() -> None:
    """Pixels and atoms are drawn at their place in Å, y down; the axes that are given are used and returned."""
    image, table, found, structure, _ = nouns()
    ax = axes()
    assert image.plot(ax) is ax
    assert ax.get_xlim() == pytest.approx((-0.05, 2.95))
    assert ax.get_ylim() == pytest.approx((1.95, -0.05))
    for noun, places in ((table, table.positions), (found, table.positions), (structure, structure.atoms.positions)):
        ax = axes()
        assert noun.plot(ax) is ax
        (drawn,) = (one for one in ax.collections if isinstance(one, EllipseCollection))
        order = np.lexsort(places[:, :2].T), np.lexsort(np.asarray(drawn.get_offsets()).T)
        assert np.allclose(places[order[0], :2], np.asarray(drawn.get_offsets())[order[1]])
        assert ax.yaxis_inverted()
    assert len(found.plot(axes()).images) == 1, "the frame that the atoms were found in lies under them"


def test_a_result_plots_its_observables() -> None:
    """Over time, by name with or without the unit; an unknown name gets the nearest."""
    *_, result = nouns()
    for name in ("temperature", "temperature [K]"):
        (line,) = result.plot(axes(), name).lines
        assert line.get_xydata().tolist() == [[0, 300], [1, 310]]
    with pytest.raises(BadInput, match=r"did you mean 'temperature \[K\]'"):
        result.plot(axes(), "temprature")
    with pytest.raises(BadInput, match="no trajectory"):
        result.frames()


def test_tables_become_data_frames() -> None:
    """One row for each atom, or for each recorded step."""
    pandas = pytest.importorskip("pandas")
    _, table, found, _, result = nouns()
    pandas.testing.assert_frame_equal(found.to_pandas(), table.to_pandas())
    assert list(table.to_pandas()[["x", "species"]].iloc[1]) == [1.5, "C"]
    assert result.to_pandas()["temperature [K]"].mean() == 305


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Image(pixels=np.eye(20), pixel_size=-1), r"^pixel size must be positive, got -1.0 Å$"),
        (lambda: Image(pixels=np.eye(20), pixel_sise=0.1), r"unknown option.*did you mean 'pixel_size'"),
        (lambda: Structure(atoms=3), r"^Structure.atoms: "),
    ],
)
def test_data_that_are_no_such_noun_are_refused_in_one_line(make: Callable[[], Noun], message: str) -> None:
    """The error is BadInput, and has none of pydantic's text."""
    with pytest.raises(BadInput, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
    assert "pydantic" not in str(caught.value)
