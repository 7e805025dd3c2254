"""Laws of the forward model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stem2sim.imaging.forward import Probe, Scan


@given(z=st.integers(3, 60), n=st.floats(1.4, 2.0), fwhm=st.floats(0.8, 1.6))
def test_an_atom_is_as_bright_as_a_power_of_its_number(z: int, n: float, fwhm: float) -> None:
    probe = Probe(scattering_exponent=n, fwhm=fwhm)
    peak = probe.render([[5.0, 5.0]], [z], 0.1, (101, 101))[50, 50]
    assert peak == pytest.approx((z / 6) ** n, rel=1e-4)


@given(x=st.floats(3, 7), y=st.floats(3, 7))
def test_x_runs_along_columns_and_y_down_rows(x: float, y: float) -> None:
    """The centre of mass of a rendered atom is where the atom is."""
    frame = Probe(tail_weight=0).render([[x, y]], [6], 0.1, (101, 111))
    rows, columns = np.indices(frame.shape)
    assert (frame * columns).sum() / frame.sum() * 0.1 == pytest.approx(x, abs=0.01)
    assert (frame * rows).sum() / frame.sum() * 0.1 == pytest.approx(y, abs=0.01)


def test_frames_add_up() -> None:
    """Incoherent imaging: the frame of two atoms is the sum of their frames."""
    one, two = [[3.0, 4.0]], [[4.2, 4.0]]
    render = Probe().render
    both = render(one + two, [6, 14], 0.1, (80, 80))
    assert np.allclose(both, render(one, [6], 0.1, (80, 80)) + render(two, [14], 0.1, (80, 80)), atol=1e-5)


def test_counting_noise_is_unbiased_and_falls_with_dose() -> None:
    """Poisson: the mean stays, the variance is the mean over the counts."""
    flat = np.ones((200, 200), dtype=np.float32)
    for dose in (100, 1000):
        seen = Scan(dose=dose, offset=0).expose(flat, 0.1, np.random.default_rng(0))
        assert seen.mean() == pytest.approx(1, abs=0.02)
        assert seen.var() == pytest.approx(1 / (dose * 0.01), rel=0.05)
