"""Laws of the joint fit of peaks and of what its models share."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from stem2sim.imaging.forward import Probe
from stem2sim.imaging.gauss_newton import NormalEquations, Windows, correlation_factor, gauss_newton
from stem2sim.imaging.peaks import fit
from stem2sim.testing import graphene_sheet

PROBE = Probe(fwhm=1.2, tail_weight=0.1)
PIXEL_SIZE = 0.12


def frame(noise: float, blur: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return a frame of graphene with a slope behind it, and the atoms in it [Å]; noise in peaks, after any blur."""
    xy = graphene_sheet(26.0, 11.0).positions[:, :2] - 3
    xy = xy[((xy > -0.5) & (xy < 20.5)).all(axis=1)]
    shape = (168, 168)
    pixels = PROBE.draw(xy, np.full(len(xy), 3.0), PIXEL_SIZE, shape) + np.linspace(0, 2, shape[1])
    white = np.random.default_rng(3).normal(size=shape)
    white = ndimage.gaussian_filter(white, blur) if blur else white
    return pixels + 3 * noise * white / white.std(), xy


def test_a_frame_without_noise_gives_back_what_it_was_made_of() -> None:
    """Positions, heights, probe and background, from starts 0.05 Å off and another probe."""
    pixels, xy = frame(0.0)
    start = xy + np.random.default_rng(0).normal(0, 0.05, xy.shape)
    peaks = fit(pixels, PIXEL_SIZE, start, Probe(), np.ones(len(xy), dtype=bool), settle=True)
    inside = ((xy > 1) & (xy < 19)).all(axis=1)
    assert np.abs(peaks.positions - xy)[inside].max() < 0.01
    assert np.abs(peaks.heights / 3 - 1)[inside].max() < 0.03
    assert (peaks.probe.fwhm, peaks.probe.tail_weight) == (pytest.approx(1.2, abs=0.03), pytest.approx(0.1, abs=0.03))
    assert np.abs(peaks.left).max() < 0.15


@pytest.mark.parametrize("blur", [0.0, 0.5])
def test_error_bars_hold_two_thirds_of_the_errors(blur: float) -> None:
    """Of positions, whether pixels have their own noise or share it with the next ones; of heights nearly as many.

    The error bars of heights leave out that neighbours overlap.
    """
    pixels, xy = frame(0.15, blur)
    peaks = fit(pixels, PIXEL_SIZE, xy, PROBE, np.ones(len(xy), dtype=bool))
    inside = ((xy > 1) & (xy < 19)).all(axis=1)
    off = np.abs(peaks.positions - xy)[inside]
    assert 0.55 < float((off < peaks.position_std[inside, None]).mean()) < 0.8
    assert 0.45 < float((np.abs(peaks.heights - 3) < peaks.height_std)[inside].mean()) < 0.85


def test_atoms_that_are_not_free_stay() -> None:
    pixels, xy = frame(0.1)
    free = np.arange(len(xy)) % 2 == 0
    peaks = fit(pixels, PIXEL_SIZE, xy + 0.05, PROBE, free)
    assert np.array_equal(peaks.positions[~free], xy[~free] + 0.05)
    assert np.isinf(peaks.position_std[~free]).all()
    assert np.isfinite(peaks.position_std[free]).all()
    assert (np.abs(peaks.positions - xy - 0.05)[free].max(axis=1) > 0).all()


def test_shared_noise_counts_more() -> None:
    """1 for white noise; the ratio of variances of sums for a moving average, up to the limit."""
    white = np.random.default_rng(0).normal(size=(400, 400))
    assert correlation_factor(white, 10) == pytest.approx(1, abs=0.05)
    averaged = ndimage.uniform_filter(white, 2, mode="wrap")
    assert correlation_factor(averaged, 10) == pytest.approx(4, rel=0.05)
    assert correlation_factor(averaged, 3) == 3
    assert correlation_factor(np.zeros((8, 8)), 10) == 1


def test_windows_hold_the_pixels_within_their_radius() -> None:
    windows = Windows.around((10, 12), np.array([[0.0, 0.0], [3.1, 2.0]]), 1.0, 0.5)
    assert windows.total(np.ones(len(windows.peaks))).tolist() == [6, 13]
    dx, dy = windows.offsets(np.array([[0.0, 0.0], [3.1, 2.0]]))
    assert (np.hypot(dx, dy) <= 1.0 + 0.1 + 1e-9).all()
    assert windows.columns(dx).shape == (120, 2)
    assert np.array_equal(windows.pixels, windows.at[:, 1] * 12 + windows.at[:, 0])


def test_a_linear_model_takes_one_step() -> None:
    """And stops when the model says that the step was small enough."""
    rng = np.random.default_rng(0)
    from scipy import sparse

    matrix, wanted = rng.normal(size=(30, 4)), np.array([1.0, -2, 3, 0.5])

    class Line:
        parameters, steps = np.zeros(4), 0

        def equations(self) -> NormalEquations:
            return NormalEquations.of(sparse.csc_matrix(matrix), matrix @ (wanted - self.parameters), np.ones(30))

        def advance(self, change: np.ndarray) -> bool:
            self.parameters, self.steps = self.parameters + change, self.steps + 1
            return bool(np.abs(change).max() < 1e-9)

    line = Line()
    gauss_newton(line, 10)
    assert line.parameters == pytest.approx(wanted)
    assert line.steps == 2
