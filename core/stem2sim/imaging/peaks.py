"""Every atom of a frame as a peak of the probe's shape: heights, places, background and the probe, fitted together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from stem2sim.imaging.gauss_newton import NormalEquations, Windows, correlation_factor, gauss_newton, standard_deviation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stem2sim.imaging.forward import Probe

WINDOW = 2.6
"""Radius [Å] round an atom within which its peak counts, its tail included."""

SLOPES = 1.6
"""Radius [Å] within which its slopes count: those of the tail say nothing of its place."""

KNOTS = 6.0
"""Distance [Å] of the points between which the background is linear: too wide to stand for an atom."""

STEPS = 8
SETTLED = 5e-3
"""[Å], and share of the highest peak: steps shorter than that are the last."""

PRIOR = {"fwhm": (1.1, 0.4), "tail_weight": (0.17, 0.1), "ellipticity": (1.0, 0.2)}
"""Prior of the probe's parameters: value and standard deviation."""

WANDER = 0.3
"""[Å]; how far atoms are expected from where they start; what the frame leaves open is drawn back to the start."""

OUTLIER = 3.0
"""Standard deviations beyond which a pixel loses weight (Huber): contamination and unexpected atoms must not pull."""

MOST_CORRELATED = 10.0
"""Upper limit of the correlation factor of the noise."""


@dataclass(frozen=True)
class FittedPeaks:
    """Atoms of a frame as peaks."""

    positions: NDArray[np.float64]
    """(atoms, 2) x, y from the centre of the top-left pixel [Å]."""
    heights: NDArray[np.float64]
    """(atoms,) [units of the frame]."""
    position_std: NDArray[np.float64]
    """(atoms,) standard deviation of x, and of y, from the frame's noise; infinite for atoms that were not free [Å]."""
    height_std: NDArray[np.float64]
    """(atoms,) [units of the frame]."""
    probe: Probe
    background: NDArray[np.float64]
    """(rows, columns) [units of the frame]."""
    left: NDArray[np.float64]
    """(rows, columns) frame less background and peaks [units of the frame]."""


def fit(
    frame: NDArray[np.float64],
    pixel_size: float,
    positions: NDArray[np.float64],
    probe: Probe,
    free: NDArray[np.bool_] | None = None,
    settle: bool = False,
) -> FittedPeaks:
    """Fit peaks to a frame, all together; pixels far from the model lose weight.

    Args:
        frame: (rows, columns), any unit.
        pixel_size: [Å].
        positions: (atoms, 2) x, y to start from [Å].
        probe: shape of the peaks.
        free: (atoms,) which may move; default: none.
        settle: fit the probe's width, tail and ellipticity as well.
    """
    moving = np.flatnonzero(free) if free is not None else np.zeros(0, dtype=np.int64)
    model = _ProbePeaks(frame, pixel_size, positions, probe, moving, settle)
    gauss_newton(model, STEPS if len(moving) or settle else 3)
    return model.peaks()


class _ProbePeaks:
    """Peaks of the probe's shape on a background that is linear between knots, with weights that outliers lose."""

    def __init__(
        self,
        frame: NDArray[np.float64],
        pixel_size: float,
        positions: NDArray[np.float64],
        probe: Probe,
        moving: NDArray[np.int64],
        settle: bool,
    ) -> None:
        self.shape = (int(frame.shape[0]), int(frame.shape[1]))
        self.flat = np.asarray(frame, dtype=float).ravel()
        self.pixel_size, self.probe, self.moving, self.settle = pixel_size, probe, moving, settle
        self.start, self.xy = positions, np.array(positions, dtype=float)
        self.heights = np.zeros(len(positions))
        self.hats = _hats(self.shape, pixel_size)
        self.knots = np.zeros(self.hats.shape[1])
        self.weights = np.ones(self.flat.size)

    def equations(self) -> NormalEquations:
        windows = Windows.around(self.shape, self.xy, WINDOW, self.pixel_size)
        dx, dy = windows.offsets(self.xy)
        value, *slopes = self.probe.profile(dx, dy)
        shapes = windows.columns(value)
        if not self.heights.any():  # the rest is linearised around heights, which must be known
            self._fit_heights(shapes)
        columns = [shapes, self.hats]
        if len(self.moving):
            near = np.hypot(dx, dy) < SLOPES
            heights = self.heights[windows.peaks]
            columns += [windows.columns(-(heights * slope), near)[:, self.moving] for slope in slopes]
        if self.settle:
            columns.append(sparse.csc_matrix(self._by_probe()))
        residual = self._residual()
        noise = _spread(residual)
        self.weights = 1 / np.maximum(np.abs(residual) / (OUTLIER * noise), 1.0)
        equations = NormalEquations.of(sparse.hstack(columns, format="csc"), residual, self.weights)
        self._add_priors(equations, noise)
        return equations

    def advance(self, change: NDArray[np.float64]) -> bool:
        count, linear = len(self.xy), self._linear
        self.heights = self.heights + change[:count]
        self.knots = self.knots + change[count:linear]
        if len(self.moving):
            step = change[linear : linear + 2 * len(self.moving)].reshape(2, -1).T
            self.xy[self.moving] += np.clip(step, -0.2, 0.2)
        if self.settle:
            self.probe = _changed(self.probe, change[-len(PRIOR) :])
        settled = np.abs(change[linear:]).max(initial=0.0) < SETTLED
        highest = np.abs(self.heights).max(initial=0.0)
        return bool(settled and np.abs(change[:count]).max(initial=0.0) < SETTLED * highest)

    def peaks(self) -> FittedPeaks:
        """Return the peaks as they are now, with their error bars."""
        residual = self._residual()
        windows = Windows.around(self.shape, self.xy, WINDOW, self.pixel_size)
        dx, dy = windows.offsets(self.xy)
        value, slope_x, _ = self.probe.profile(dx, dy)
        noise = windows.noise(residual, np.hypot(dx, dy) < self.probe.fwhm)
        noise *= correlation_factor(residual.reshape(self.shape), MOST_CORRELATED)
        position_std = np.full(len(self.xy), np.inf)
        steepness = windows.total((self.heights[windows.peaks] * slope_x) ** 2)
        position_std[self.moving] = standard_deviation(noise, steepness)[self.moving]
        return FittedPeaks(
            self.xy,
            self.heights,
            position_std,
            standard_deviation(noise, windows.total(value**2)),
            self.probe,
            (self.hats @ self.knots).reshape(self.shape),
            residual.reshape(self.shape),
        )

    @property
    def _linear(self) -> int:
        """How many of the parameters, heights and background, the model is linear in."""
        return len(self.xy) + int(self.hats.shape[1])

    def _residual(self) -> NDArray[np.float64]:
        drawn = self.probe.draw(self.xy, self.heights, self.pixel_size, self.shape).ravel().astype(float)
        return np.asarray(self.flat - (drawn + self.hats @ self.knots))

    def _fit_heights(self, shapes: sparse.csc_matrix) -> None:
        """Fit heights and background where positions and probe are as they are."""
        equations = NormalEquations.of(sparse.hstack([shapes, self.hats], format="csc"), self.flat, self.weights)
        equations.damping = 1e-9 * equations.diagonal.max()
        solution = equations.solve()
        self.heights, self.knots = solution[: len(self.xy)], solution[len(self.xy) :]

    def _add_priors(self, equations: NormalEquations, noise: float) -> None:
        """Draw positions towards their start and the probe towards the usual one, where the frame leaves them open."""
        diagonal = equations.diagonal
        pull = np.full(len(diagonal), 1e-9 * diagonal.max())
        if len(self.moving):
            places = slice(self._linear, self._linear + 2 * len(self.moving))
            pull[places] += noise**2 / WANDER**2
            equations.right[places] -= (noise / WANDER) ** 2 * (self.xy - self.start)[self.moving].T.ravel()
        if self.settle:
            for k, (name, (usual, std)) in enumerate(PRIOR.items(), start=-len(PRIOR)):
                # as much weight as a hundredth of the pixels: a frame without contrast says nothing of its probe
                strength = noise**2 / std**2 + 1e-4 * diagonal[k]
                pull[k] += strength
                equations.right[k] -= strength * (getattr(self.probe, name) - usual)
        equations.damping = pull

    def _by_probe(self) -> NDArray[np.float64]:
        """(pixels, 3) how the frame changes with the probe's width, tail and ellipticity."""
        step = 1e-2
        parts = []
        for name in PRIOR:
            more, less = (
                self.probe.model_copy(update={name: getattr(self.probe, name) + sign * step}).draw(
                    self.xy, self.heights, self.pixel_size, self.shape
                )
                for sign in (1, -1)
            )
            parts.append((more.astype(float) - less).ravel() / (2 * step))
        return np.column_stack(parts)


def _hats(shape: tuple[int, int], pixel_size: float) -> sparse.csc_matrix:
    """(pixels, knots) of a background that is linear between knots."""
    sides = []
    for length in shape:
        parts = max(1, round(length * pixel_size / KNOTS))
        at = np.arange(length) / max(length - 1, 1) * parts
        low = np.minimum(at.astype(int), parts - 1)
        share = at - low
        rows = np.arange(length)
        sides.append(
            sparse.csc_matrix(
                (np.concatenate([1 - share, share]), (np.tile(rows, 2), np.concatenate([low, low + 1]))),
                shape=(length, parts + 1),
            )
        )
    return sparse.kron(*sides, format="csc")


def _changed(probe: Probe, by: NDArray[np.float64]) -> Probe:
    limits = {"fwhm": (0.4, 4.0), "tail_weight": (0.0, 0.6), "ellipticity": (0.5, 2.0)}
    values = {
        name: float(np.clip(getattr(probe, name) + np.clip(step, -0.2, 0.2), *limits[name]))
        for name, step in zip(PRIOR, by, strict=True)
    }
    return probe.model_copy(update=values)


def _spread(left: NDArray[np.float64]) -> float:
    """Standard deviation, by the median where outliers would matter; not where most pixels hold no count at all."""
    usual, robust = float(left.std()), 1.4826 * float(np.median(np.abs(left - np.median(left))))
    return max(robust if robust > 0.3 * usual else usual, 1e-12)
