"""Laws of the canonical grid, of the generator and of the locator."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stem2sim.forward import Probe
from stem2sim.testing import graphene_image
from stem2sim_unet.canonical import CANONICAL_PIXEL_SIZE, normalise, resample, to_frame
from stem2sim_unet.locate import locate, match
from stem2sim_unet.synthetic import CLASSES, draw_labels, training_frame


@settings(max_examples=20)
@given(pixel_size=st.floats(0.04, 0.3), x=st.floats(6, 10), y=st.floats(6, 10))
def test_resampling_moves_no_atom(pixel_size: float, x: float, y: float) -> None:
    """An atom found on the canonical grid maps back to where it was, within a hundredth of an Å."""
    n = int(16 / pixel_size)
    frame = Probe(tail_weight=0, fwhm=1.4).render([[x, y]], [6], pixel_size, (n, n))
    canonical = resample(frame, pixel_size)
    rows, columns = np.indices(canonical.shape)
    centre = np.array([(canonical * columns).sum(), (canonical * rows).sum()]) / canonical.sum()
    assert to_frame(centre, pixel_size) * pixel_size == pytest.approx([x, y], abs=0.012)


@given(gain=st.floats(0.01, 1000), offset=st.floats(-50, 50))
def test_gain_and_offset_of_the_detector_do_not_matter(gain: float, offset: float) -> None:
    pixels = training_frame(np.random.default_rng(5)).pixels
    first, noise = normalise(pixels)
    second, again = normalise((pixels * gain + offset).astype(np.float32))
    assert np.allclose(first, second, atol=0.02 + 1e-3 * abs(offset) / gain)
    assert again == pytest.approx(noise, rel=0.01, abs=1e-4 * abs(offset) / gain)


def test_hot_pixels_and_holes_leave_the_scale_alone() -> None:
    """Three hot pixels, or vacuum over 40 % of the frame, change the lattice's scale by under a fifth."""
    pixels = resample(graphene_image(19.2, dose=1000).pixels, 0.1)
    plain, _ = normalise(pixels)
    hot = pixels.copy()
    hot.flat[[40, 4000, 9000]] += 50 * pixels.std()
    holed = pixels.copy()
    holed[:50] = pixels.min()
    for spoilt in (hot, holed):
        scaled, _ = normalise(spoilt)
        part = (slice(70, None), slice(None))
        assert scaled[part].std() == pytest.approx(plain[part].std(), rel=0.2)


def test_frames_repeat_with_their_seed_and_labels_fit_them() -> None:
    for seed in range(6):
        one, other = (training_frame(np.random.default_rng(seed)) for _ in range(2))
        assert np.array_equal(one.pixels, other.pixels)
        assert one.pixels.shape == one.labels.shape == (128, 128)
        assert np.isfinite(one.pixels).all()
        assert set(np.unique(one.labels)) <= set(range(len(CLASSES)))
        column, row = np.rint(one.positions).astype(int).T
        inside = (column >= 0) & (row >= 0) & (column < 128) & (row < 128)
        labelled = one.labels[row[inside], column[inside]]
        assert (labelled < 2).mean() > 0.97, "an atom's own pixel is labelled as an atom"


def perfect_maps(positions: np.ndarray, numbers: np.ndarray, members: int = 3) -> np.ndarray:
    """Return the maps of networks that see exactly the labels."""
    labels = draw_labels(positions, numbers, (96, 96))
    one = np.stack([labels == k for k in range(3)]).astype(np.float32)
    return np.stack([one] * members)


@settings(max_examples=30)
@given(gap=st.floats(0.95, 1.6), angle=st.floats(0, 180), x=st.floats(40, 50))
def test_touching_atoms_are_two_atoms(gap: float, angle: float, x: float) -> None:
    """Discs of 0.42 Å that touch or nearly so are split, and each is found once, with its species."""
    turn = np.radians(angle)
    step = gap / CANONICAL_PIXEL_SIZE * np.array([np.cos(turn), np.sin(turn)])
    there = np.array([[x, 45.3], [x + step[0], 45.3 + step[1]]])
    found = locate(perfect_maps(there, np.array([6, 14])), 0.8)
    assert len(found) == 2
    pairs = match(found.positions, there, 2.0)
    assert len(pairs) == 2
    off = found.positions[pairs[:, 0]] - there[pairs[:, 1]]
    assert np.abs(off).max() * CANONICAL_PIXEL_SIZE < 0.06
    species = found.species[pairs[:, 0]].argmax(axis=1)
    assert species[np.argsort(pairs[:, 1])].tolist() == [0, 1]


def test_members_that_disagree_spread() -> None:
    """Members that see the atom at 0.15 Å from each other: the spread is of that size, and nil where they agree."""
    one = perfect_maps(np.array([[40.0, 40.0]]), np.array([6]), 1)
    two = perfect_maps(np.array([[41.0, 40.0]]), np.array([6]), 1)
    assert locate(np.concatenate([one, one]), 0.9).spread[0] == pytest.approx(0, abs=1e-6)
    assert locate(np.concatenate([one, two]), 0.9).spread[0] == pytest.approx(0.05, abs=0.03)


def test_no_atoms_in_background() -> None:
    empty = np.zeros((2, 3, 32, 32), dtype=np.float32)
    empty[:, -1] = 1
    assert len(locate(empty, 0.9)) == 0


def test_matching_is_one_to_one() -> None:
    """Two detections of one atom: the nearer has it, the other is false."""
    assert match(np.array([[0.0, 0], [0.2, 0]]), np.array([[0.15, 0], [5, 5]]), 0.5).tolist() == [[1, 0]]
