"""Laws of the canonical grid, of materials, of the generator and of the locator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase.build import graphene, mx2
from ase.io import write
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.spatial import cKDTree

from stem2sim.errors import BadInput
from stem2sim.imaging.forward import Probe
from stem2sim.testing import graphene_image
from stem2sim_unet.canonical_grid import CANONICAL_PIXEL_SIZE, Grid, normalise
from stem2sim_unet.locate import locate, match
from stem2sim_unet.material import Material, column_atoms
from stem2sim_unet.prediction import Prediction, entropy
from stem2sim_unet.recipe import Impurity, Recipe
from stem2sim_unet.refine import fit
from stem2sim_unet.synthetic import draw_labels, training_frame

if TYPE_CHECKING:
    from pathlib import Path

GRAPHENE = Recipe()
MOS2 = Recipe(material="MoS2", impurities=(Impurity(species="V", on="Mo", mean=1),))


@settings(max_examples=20)
@given(
    xx=st.floats(0.04, 0.25), ratio=st.floats(0.85, 1.18), shear=st.floats(-0.05, 0.05), x=st.floats(6, 10),
    y=st.floats(6, 10),
)  # fmt: skip
def test_resampling_moves_no_atom(xx: float, ratio: float, shear: float, x: float, y: float) -> None:
    """An atom found on the canonical grid maps back to where it was, within a hundredth of an Å, stretched or not."""
    metric = np.array([[xx, shear * xx], [shear * xx, ratio * xx]])
    n = int(17 / (xx * min(1, ratio)))
    at = np.linalg.solve(metric, [x, y])
    frame = Probe(tail_weight=0, fwhm=1.4 / xx).render([at], [6], 1.0, (n, n))
    grid = Grid.over((n, n), metric)
    canonical = grid.resample(frame)
    rows, columns = np.indices(canonical.shape)
    centre = np.array([(canonical * columns).sum(), (canonical * rows).sum()]) / canonical.sum()
    assert grid.to_image(centre) @ metric.T == pytest.approx([x, y], abs=0.015)
    assert grid.from_image(grid.to_image(centre)) == pytest.approx(centre)


@given(gain=st.floats(0.01, 1000), offset=st.floats(-50, 50))
def test_gain_and_offset_of_the_detector_do_not_matter(gain: float, offset: float) -> None:
    pixels = training_frame(GRAPHENE, np.random.default_rng(5)).pixels
    first, noise = normalise(pixels)
    second, again = normalise((pixels * gain + offset).astype(np.float32))
    assert np.allclose(first, second, atol=0.02 + 1e-3 * abs(offset) / gain)
    assert again == pytest.approx(noise, rel=0.01, abs=1e-4 * abs(offset) / gain)


def test_hot_pixels_holes_and_contamination_leave_the_scale_alone() -> None:
    """Three hot pixels, vacuum over 40 %, or contamination over 20 % of a frame change the scale by under 30 %."""
    image = graphene_image(19.2, dose=1000)
    pixels = Grid.square(image.shape, image.pixel_size).resample(image.pixels)
    n = len(pixels)
    plain, _ = normalise(pixels)
    hot, holed, dirty = pixels.copy(), pixels.copy(), pixels.copy()
    hot.flat[[40, 4000, 9000]] += 50 * pixels.std()
    holed[: int(0.4 * n)] = pixels.min()
    dirty[: int(0.4 * n), : n // 2] += 8 * np.ptp(pixels)
    for spoilt in (hot, holed, dirty):
        scaled, _ = normalise(spoilt)
        part = (slice(int(0.6 * n), None), slice(None))
        assert scaled[part].std() == pytest.approx(plain[part].std(), rel=0.3)


def test_materials_are_what_the_beam_sees() -> None:
    """Graphene: one kind of column 1.42 Å apart. MoS2: Mo and S2, 1.82 Å apart in projection."""
    sheet = Material.named("graphene")
    assert (set(sheet.columns), sheet.lattice_constant) == ({"C"}, pytest.approx(2.46))
    assert sheet.bond_length == pytest.approx(1.42, abs=0.001)
    moly = Material.named("MoS2")
    assert set(moly.columns) == {"Mo", "S2"}
    assert moly.bond_length == pytest.approx(3.16 / np.sqrt(3), abs=1e-6)
    assert column_atoms("S2") == (16, 16)


@pytest.mark.parametrize("turn", [0, 25])
def test_a_cif_is_a_material(tmp_path: Path, turn: float) -> None:
    """Read from a file, and however its cell lies in space."""
    atoms = mx2("MoS2", a=3.18, thickness=3.13, vacuum=8)
    atoms.rotate(turn, "x", rotate_cell=True)
    write(tmp_path / "mos2.cif", atoms)
    material = Material.named(str(tmp_path / "mos2.cif"))
    assert set(material.columns) == {"Mo", "S2"}
    assert material.lattice_constant == pytest.approx(3.18, abs=1e-3)
    assert material.bond_length == pytest.approx(3.18 / np.sqrt(3), abs=1e-3)


def test_a_sheet_is_as_dense_as_its_material() -> None:
    for name in ("graphene", "MoS2"):
        material = Material.named(name)
        xy, columns = material.sheet(20)
        density = len(material.columns) / abs(np.linalg.det(material.cell))
        assert len(xy) == pytest.approx(1600 * density, rel=0.03)
        assert cKDTree(xy).query(xy, k=2)[0][:, 1].min() == pytest.approx(material.bond_length)
        assert len(columns) == len(xy)


def test_bad_materials_and_recipes_say_so(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no material 'graphen'.*graphene"):
        Material.named("graphen")
    (tmp_path / "no.cif").write_text("not a structure")
    with pytest.raises(BadInput, match=r"cannot read a structure from no\.cif"):
        Material.named(str(tmp_path / "no.cif"))
    with pytest.raises(BadInput, match="no cell in the plane"):
        Material.of(graphene(vacuum=1)[:1].__class__("C"))
    with pytest.raises(BadInput, match="'Xq' is not a column"):
        column_atoms("Xq")
    with pytest.raises(ValidationError, match="'W' is not in Mo, S2"):
        Recipe(material="MoS2", impurities=(Impurity(species="V", on="W"),))
    with pytest.raises(ValidationError, match="from the smaller to the larger"):
        Recipe(dose=(100, 10))


@pytest.mark.parametrize("recipe", [GRAPHENE, MOS2], ids=["graphene", "MoS2"])
def test_frames_repeat_with_their_seed_and_labels_fit_them(recipe: Recipe) -> None:
    for seed in range(8):
        one, other = (training_frame(recipe, np.random.default_rng(seed)) for _ in range(2))
        assert np.array_equal(one.pixels, other.pixels)
        assert one.pixels.shape == one.labels.shape == (128, 128)
        assert np.isfinite(one.pixels).all()
        assert set(np.unique(one.labels)) <= set(range(len(recipe.classes)))
        column, row = np.rint(one.positions).astype(int).reshape(-1, 2).T
        inside = (column >= 0) & (row >= 0) & (column < 128) & (row < 128)
        labelled = one.labels[row[inside], column[inside]]
        assert not len(labelled) or (labelled < len(recipe.species)).mean() > 0.95, "an atom's own pixel is an atom's"


def test_every_kind_of_defect_is_drawn() -> None:
    """Over many frames: every species, empty frames, holes, and neighbours closer and further than in the lattice."""
    seen, empty, counts = set(), 0, []
    for seed in range(60):
        made = training_frame(GRAPHENE, np.random.default_rng(seed), 96)
        seen |= set(made.species.tolist())
        empty += len(made.positions) == 0
        counts.append(len(made.positions))
    assert seen == {0, 1, 2}
    assert empty >= 1
    assert min(c for c in counts if c) < 0.7 * max(counts), "holes, edges or contamination"


def perfect(positions: np.ndarray, species: np.ndarray, members: int = 3, shift: float = 0) -> Prediction:
    """Return the maps of networks that see exactly the labels, each a pixel further along x if shifted."""
    maps = []
    for k in range(members):
        labels = draw_labels(positions + np.array([k * shift, 0]), species, (96, 96), np.arange(3))
        maps.append(np.stack([labels == kind for kind in range(4)]).astype(np.float32))
    every = np.array(maps)
    mean = every.mean(axis=0)
    information = entropy(mean) - np.mean([entropy(one) for one in every], axis=0)
    return Prediction(mean, every.std(axis=0), information)


@settings(max_examples=30)
@given(gap=st.floats(1.0, 1.6), angle=st.floats(0, 180), x=st.floats(40, 50))
def test_touching_atoms_are_two_atoms(gap: float, angle: float, x: float) -> None:
    """Discs of 0.42 Å that touch or nearly so are split, and each is found once, with its species."""
    turn = np.radians(angle)
    step = gap / CANONICAL_PIXEL_SIZE * np.array([np.cos(turn), np.sin(turn)])
    there = np.array([[x, 45.3], [x + step[0], 45.3 + step[1]]])
    found = locate(perfect(there, np.array([0, 1])), 0.8)
    assert len(found) == 2
    pairs = match(found.positions, there, 2.0)
    assert len(pairs) == 2
    off = found.positions[pairs[:, 0]] - there[pairs[:, 1]]
    assert np.abs(off).max() * CANONICAL_PIXEL_SIZE < 0.08
    species = found.shares[pairs[:, 0]].argmax(axis=1)
    assert species[np.argsort(pairs[:, 1])].tolist() == [0, 1]


def test_members_that_disagree_leave_spread_and_information() -> None:
    agreed = locate(perfect(np.array([[40.0, 40.0]]), np.array([0])), 0.9)
    differ = locate(perfect(np.array([[40.0, 40.0]]), np.array([0]), shift=2.0), 0.9)
    assert agreed.spread[0] == pytest.approx(0, abs=1e-6)
    assert agreed.information[0] == pytest.approx(0, abs=1e-6)
    assert differ.spread[0] > 0.01
    assert differ.information[0] > 0.01


def test_no_atoms_in_background() -> None:
    empty = np.zeros((4, 32, 32), dtype=np.float32)
    empty[-1] = 1
    assert len(locate(Prediction(empty, np.zeros_like(empty), np.zeros((32, 32), dtype=np.float32)), 0.9)) == 0


def test_matching_is_one_to_one() -> None:
    """Two detections of one atom: the nearer has it, the other is false."""
    assert match(np.array([[0.0, 0], [0.2, 0]]), np.array([[0.15, 0], [5, 5]]), 0.5).tolist() == [[1, 0]]


@pytest.mark.parametrize("dose", [1000, 10000])
def test_the_joint_fit_is_right_about_positions_and_their_errors(dose: float) -> None:
    """From starts 0.07 Å off: within 0.05 Å, more counts are better, and the error bars are of the right size."""
    from stem2sim.testing import graphene_sheet

    image = graphene_image(24, 0.1, dose)
    sheet = graphene_sheet(30).positions[:, :2] - 3
    inside = ((sheet > 1) & (sheet < 23)).all(axis=1)
    grid = Grid.square(image.shape, 0.1)
    frame, _ = normalise(grid.resample(image.pixels))
    true = grid.from_image(sheet / 0.1)
    within = ((true > -2) & (true < np.array(frame.shape[::-1]) + 1)).all(axis=1)
    true, inside = true[within], inside[within]
    start = true + np.random.default_rng(0).normal(0, 0.05 / CANONICAL_PIXEL_SIZE, true.shape)
    found = fit(frame, start)
    error = (found.positions - true)[inside] * CANONICAL_PIXEL_SIZE
    rms = float(np.sqrt((error**2).mean()))
    assert rms < (0.036 if dose == 1000 else 0.025)
    assert 0.4 < float(np.median(found.std[inside])) ** -1 * rms < 1.6
