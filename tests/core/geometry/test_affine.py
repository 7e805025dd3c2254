"""Laws of affine maps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stem2sim.geometry.affine import Affine, fit_affine
from stem2sim.geometry.superposition import superposed

seeds = st.integers(0, 10**6)


def some_map(rng: np.random.Generator) -> Affine:
    return Affine(np.eye(2) + rng.uniform(-0.3, 0.3, (2, 2)), rng.uniform(-20, 20, 2))


@given(seed=seeds, count=st.integers(3, 40), robust=st.booleans())
def test_a_map_is_read_from_where_it_takes_points(seed: int, count: int, robust: bool) -> None:
    """Exactly, where enough of them span the plane; `undo` takes them back."""
    rng = np.random.default_rng(seed)
    points, true = rng.uniform(0, 30, (count, 2)), some_map(rng)
    fitted = fit_affine(points, true.apply(points), robust)
    if count >= 6 or not robust:
        assert np.allclose(fitted.matrix, true.matrix, atol=1e-6)
        assert np.allclose(fitted.apply(points), true.apply(points), atol=1e-6)
    assert np.allclose(fitted.undo(fitted.apply(points)), points)


@given(seed=seeds)
def test_a_few_outliers_do_not_bend_a_robust_fit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points, true = rng.uniform(0, 30, (40, 2)), some_map(rng)
    onto = true.apply(points)
    onto[:4] += rng.uniform(-3, 3, (4, 2))
    assert np.abs(fit_affine(points, onto, robust=True).apply(points[4:]) - onto[4:]).max() < 0.1


@pytest.mark.parametrize("robust", [False, True])
@given(seed=seeds, count=st.integers(1, 12))
def test_points_on_a_line_are_only_shifted(robust: bool, seed: int, count: int) -> None:
    """They do not say what becomes of the plane; and so for every user of the fit."""
    rng = np.random.default_rng(seed)
    points = np.outer(rng.uniform(0, 30, count), [0.6, 0.8]) + rng.uniform(0, 9, 2)
    fitted = fit_affine(points, 1.1 * points + 5, robust)
    assert (fitted.matrix == np.eye(2)).all()
    assert np.allclose(fitted.offset, (np.median if robust else np.mean)(0.1 * points + 5, axis=0))
    flat = np.column_stack([points, np.zeros(count)])
    assert np.allclose(
        superposed(flat, 1.1 * flat + 5, "affine")[:, :2], fit_affine(points, 1.1 * points + 5).apply(points)
    )


def test_a_map_has_a_scale_a_rotation_and_a_stretch() -> None:
    turn = np.radians(20)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    assert Affine(rotation @ np.diag([1.21, 1.0]), np.zeros(2)).parts() == pytest.approx((1.1, 20, 0.21))
