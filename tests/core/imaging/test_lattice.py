"""What the lattice says about a frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stem2sim.geometry.honeycomb import fit_honeycomb
from stem2sim.geometry.metric import metric_by_neighbours
from stem2sim.imaging.forward import Probe, Scan
from stem2sim.imaging.lattice import find_lattice, measured_pixel_size
from stem2sim.lattice import lattice_of
from stem2sim.testing import graphene_sheet

if TYPE_CHECKING:
    from pathlib import Path

BOND = 2.46 / np.sqrt(3)


def scanned(metric: np.ndarray, n: int = 256, dose: float = 2000, angle: float = 10) -> np.ndarray:
    """Return a frame of graphene whose pixels lie as this metric [Å] says."""
    true = graphene_sheet(1.5 * n * float(metric.max()), angle).positions[:, :2] - 2
    clean = Probe().render(0.1 * true @ np.linalg.inv(metric).T, np.full(len(true), 6), 0.1, (n, n))
    return Scan(dose=dose).expose(clean, 0.1, np.random.default_rng(1))


metrics = st.tuples(st.floats(0.085, 0.11), st.floats(-0.005, 0.005), st.floats(0.085, 0.11))


@settings(max_examples=12, deadline=None)
@given(parts=metrics, stated=st.floats(0.8, 1.25), angle=st.floats(0, 60))
def test_the_spectrum_gives_scale_and_stretch_from_starts_that_are_wrong(
    parts: tuple[float, float, float], stated: float, angle: float
) -> None:
    """Pixel size within 1 % and every part of the metric within 1.5 %, whatever was stated within 20 %."""
    xx, xy, yy = parts
    metric = np.array([[xx, xy], [xy, yy]])
    size = np.sqrt(np.linalg.det(metric))
    lattice = find_lattice(scanned(metric, angle=angle), float(size * stated))
    assert lattice is not None
    assert lattice.pixel_size == pytest.approx(size, rel=0.01)
    assert np.abs(lattice.matrix - metric).max() < 0.015 * size


@settings(max_examples=30, deadline=None)
@given(parts=metrics, start=st.floats(0.87, 1.15), noise=st.floats(0, 0.05))
def test_neighbours_give_the_metric(parts: tuple[float, float, float], start: float, noise: float) -> None:
    """From positions alone, with 0.05 Å of noise on each, one atom in twenty missing: the metric within 1.5 %."""
    xx, xy, yy = parts
    metric = np.array([[xx, xy], [xy, yy]])
    rng = np.random.default_rng(3)
    true = graphene_sheet(24).positions[:, :2]
    true = true[rng.random(len(true)) > 0.05] + 0
    pixels = (true + rng.normal(0, noise, true.shape)) @ np.linalg.inv(metric).T
    size = float(np.sqrt(np.linalg.det(metric)))
    found = metric_by_neighbours(pixels, start * size * np.eye(2), BOND)
    assert found is not None
    assert np.abs(found - metric).max() < 0.015 * size


@settings(max_examples=20, deadline=None)
@given(parts=metrics, aside=st.floats(0, 0.08), turn=st.floats(0, 360), angle=st.floats(0, 60))
def test_one_kind_of_site_seen_aside_is_no_stretch(
    parts: tuple[float, float, float], aside: float, turn: float, angle: float
) -> None:
    """As a tilted column of S2 beside Mo: three bonds would take a shift by 0.08 Å for a stretch of 7 %."""
    xx, xy, yy = parts
    metric = np.array([[xx, xy], [xy, yy]])
    true = graphene_sheet(24, angle).positions[:, :2]
    lattice = fit_honeycomb(true, true.mean(axis=0), 2.46)
    assert lattice is not None
    second = lattice.sites(true)[0][:, 2] == 1
    shifted = true + aside * second[:, None] * [np.cos(np.radians(turn)), np.sin(np.radians(turn))]
    size = float(np.sqrt(np.linalg.det(metric)))
    found = metric_by_neighbours(shifted @ np.linalg.inv(metric).T, size * np.eye(2), BOND)
    assert found is not None
    largest, smallest = np.linalg.svd(found @ np.linalg.inv(metric), compute_uv=False)
    assert largest / smallest - 1 < 0.002


def test_too_few_atoms_say_nothing() -> None:
    assert metric_by_neighbours(graphene_sheet(4).positions[:, :2], np.eye(2), BOND) is None
    assert metric_by_neighbours(np.zeros((1, 2)), np.eye(2), BOND) is None
    in_a_row = BOND * np.column_stack([np.arange(40), np.zeros(40)])
    assert metric_by_neighbours(in_a_row, np.eye(2), BOND) is None


@pytest.mark.parametrize("pixel_size", [0.04, 0.1, 0.2])
def test_a_missing_pixel_size_is_read_off_the_lattice(pixel_size: float) -> None:
    """Also where the spots of second order are brighter than the first ones, as they are in graphene."""
    n = int(26 / pixel_size)
    true = graphene_sheet(32).positions[:, :2] - 3
    clean = Probe().render(true, np.full(len(true), 6), pixel_size, (n, n))
    frame = Scan(dose=2000).expose(clean, pixel_size, np.random.default_rng(0))
    assert measured_pixel_size(frame, 2.46) == pytest.approx(pixel_size, rel=0.01)


def test_noise_has_no_pixel_size() -> None:
    rng = np.random.default_rng(0)
    assert all(measured_pixel_size(rng.normal(size=(200, 200)).astype(np.float32), 2.46) is None for _ in range(3))


def test_larger_pixels_are_the_same_lattice() -> None:
    lattice = lattice_of(np.array([[0.1, 0.01], [0.01, 0.12]]), 2.46)
    assert np.allclose(lattice.magnified(2).matrix, 2 * lattice.matrix)
    assert lattice.magnified(2).pixel_size == pytest.approx(2 * lattice.pixel_size)
    assert lattice.magnified(2).anisotropy == lattice.anisotropy


@settings(max_examples=15)
@given(angle=st.floats(0, 60), error=st.floats(0.8, 1.25), stretch=st.floats(0, 0.15), along=st.floats(0, 180))
def test_the_lattice_gives_the_true_pixel_size(angle: float, error: float, stretch: float, along: float) -> None:
    """Whatever the turn, the stretch of the scan and the error of the stated size."""
    sheet = graphene_sheet(40, angle)
    turn = np.radians(along)
    u = np.array([np.cos(turn), np.sin(turn)])
    strain = np.sqrt(1 + stretch) * (np.eye(2) - np.outer(u, u) * stretch / (1 + stretch))
    xy = (sheet.positions[:, :2] - 20) @ strain.T + 12.5
    frame = Probe().render(xy, sheet.numbers, 0.1, (250, 250))
    pixels = Scan(dose=500).expose(frame, 0.1, np.random.default_rng(0))
    lattice = find_lattice(pixels, 0.1 * error)
    assert lattice is not None
    assert lattice.pixel_size == pytest.approx(0.1, rel=0.01)
    assert lattice.anisotropy == pytest.approx(1 + stretch, abs=0.02)


def test_noise_has_no_lattice() -> None:
    for seed in range(40):
        noise = np.random.default_rng(seed).normal(size=(220, 220)).astype(np.float32)
        assert find_lattice(noise, 0.09) is None


def test_real_lattices_are_found(stem: Path) -> None:
    """Within 1 % of what was measured on these files before; MoS2 is stretched by 19 %."""
    silicon = find_lattice(np.load(stem / "graphene_si_2nm.npy"), 0.0781)
    boundary = find_lattice(np.load(stem / "graphene_grain_boundary_4nm.npy"), 0.0781)
    mos2 = find_lattice(np.load(stem / "mos2_v_doped.npy"), 0.1758, 3.16)
    assert silicon is not None
    assert boundary is not None
    assert mos2 is not None
    assert silicon.pixel_size == pytest.approx(0.0761, rel=0.01)
    assert boundary.pixel_size == pytest.approx(0.0785, rel=0.01)
    assert mos2.pixel_size == pytest.approx(0.1753, rel=0.01)
    assert mos2.anisotropy == pytest.approx(1.19, abs=0.02)
