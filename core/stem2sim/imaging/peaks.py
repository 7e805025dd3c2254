"""Every atom of a frame as a peak of the probe's shape: heights, places, background and the probe, fitted together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

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
"""What is known of a probe before the frame is seen: value and standard deviation."""

WANDER = 0.3
"""[Å]; how far atoms are expected from where they start: what a frame leaves open is drawn back to the start."""

OUTLIER = 3.0
"""Standard deviations beyond which a pixel loses weight (Huber): dirt and atoms nobody asked for must not pull."""

Floats = "NDArray[np.float64]"


@dataclass(frozen=True)
class Peaks:
    """Atoms of a frame as peaks."""

    positions: NDArray[np.float64]
    """(atoms, 2) x, y from the centre of the top-left pixel [Å]."""
    heights: NDArray[np.float64]
    """(atoms,) [units of the frame]."""
    position_std: NDArray[np.float64]
    """(atoms,) standard deviation of x, and of y, from the frame's noise; infinite for atoms that were held [Å]."""
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
) -> Peaks:
    """Fit peaks to a frame, all at once, by Gauss-Newton steps with weights that outliers lose.

    One after the other would pull each atom towards its neighbours' tails.

    Args:
        frame: (rows, columns), any unit.
        pixel_size: [Å].
        positions: (atoms, 2) x, y to start from [Å].
        probe: shape of the peaks.
        free: (atoms,) which may move; none if left out.
        settle: fit the probe's width, tail and ellipticity as well.
    """
    shape = (int(frame.shape[0]), int(frame.shape[1]))
    count = len(positions)
    moving = np.flatnonzero(free) if free is not None else np.zeros(0, dtype=np.int64)
    hats = _hats(shape, pixel_size)
    flat = np.asarray(frame, dtype=float).ravel()
    xy = np.array(positions, dtype=float)
    heights = np.zeros(count)
    weights = np.ones(flat.size)
    rounds = STEPS if len(moving) or settle else 3
    for _ in range(rounds):
        pixels, atoms, dx, dy = _windows(shape, pixel_size, xy)
        value, slope_x, slope_y = probe.profile(dx, dy)
        shapes = sparse.csc_matrix((value, (pixels, atoms)), shape=(flat.size, count))
        if not heights.any():  # the rest is linearised around heights, which must be known
            heights, knots = _linear(shapes, hats, flat, weights)
        columns = [shapes, hats]
        if len(moving):
            place = np.full(count, -1)
            place[moving] = np.arange(len(moving))
            kept = (place[atoms] >= 0) & (np.hypot(dx, dy) < SLOPES)
            for slope in (slope_x, slope_y):
                columns.append(
                    sparse.csc_matrix(
                        (-(heights[atoms] * slope)[kept], (pixels[kept], place[atoms[kept]])),
                        shape=(flat.size, len(moving)),
                    )
                )
        if settle:
            columns.append(sparse.csc_matrix(_by_probe(probe, xy, heights, pixel_size, shape)))
        jacobian = sparse.hstack(columns, format="csc")
        model = probe.draw(xy, heights, pixel_size, shape).ravel().astype(float) + hats @ knots
        left = flat - model
        noise = _spread(left)
        weights = 1 / np.maximum(np.abs(left) / (OUTLIER * noise), 1.0)
        weighted = jacobian.T.multiply(weights)
        normal = (weighted @ jacobian).tocsc()
        right = jacobian.T @ (weights * left)
        linear = count + hats.shape[1]
        pull = np.full(normal.shape[0], 1e-9 * normal.diagonal().max())
        if len(moving):
            pull[linear : linear + 2 * len(moving)] += noise**2 / WANDER**2
            right[linear : linear + 2 * len(moving)] -= (noise / WANDER) ** 2 * (xy - positions)[moving].T.ravel()
        if settle:
            for k, (name, (usual, std)) in enumerate(PRIOR.items()):
                # as much weight as a hundredth of the pixels: a frame without contrast says nothing of its probe
                strength = noise**2 / std**2 + 1e-4 * normal.diagonal()[-3 + k]
                pull[-3 + k] += strength
                right[-3 + k] -= strength * (getattr(probe, name) - usual)
        change = _solver((normal + sparse.diags(pull)).tocsc()).solve(right)
        heights = heights + change[:count]
        knots = knots + change[count:linear]
        if len(moving):
            step = change[linear : linear + 2 * len(moving)].reshape(2, -1).T
            xy[moving] += np.clip(step, -0.2, 0.2)
        if settle:
            probe = _changed(probe, change[-3:])
        if np.abs(change[linear:]).max(initial=0.0) < SETTLED and np.abs(change[:count]).max(initial=0.0) < (
            SETTLED * np.abs(heights).max(initial=0.0)
        ):
            break
    left = flat - probe.draw(xy, heights, pixel_size, shape).ravel() - hats @ knots
    pixels, atoms, dx, dy = _windows(shape, pixel_size, xy)
    value, slope_x, _ = probe.profile(dx, dy)
    near = np.hypot(dx, dy) < probe.fwhm
    variance = np.bincount(atoms[near], left[pixels[near]] ** 2, count) / np.maximum(
        np.bincount(atoms[near], minlength=count), 1
    )
    variance *= _together(left.reshape(shape))
    height_std = np.sqrt(variance / np.maximum(np.bincount(atoms, value**2, count), 1e-12))
    position_std = np.full(count, np.inf)
    steep = np.bincount(atoms, (heights[atoms] * slope_x) ** 2, count)[moving]
    position_std[moving] = np.sqrt(variance[moving] / np.maximum(steep, 1e-12))
    return Peaks(xy, heights, position_std, height_std, probe, (hats @ knots).reshape(shape), left.reshape(shape))


def _windows(
    shape: tuple[int, int], pixel_size: float, xy: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Flat numbers of the pixels round each atom, the atom of each, and how far from it they are, x and y [Å]."""
    radius = int(np.ceil(WINDOW / pixel_size))
    steps = np.arange(-radius, radius + 1)
    around = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    around = around[np.hypot(*around.T) * pixel_size <= WINDOW]
    at = np.rint(xy / pixel_size).astype(np.int64)[:, None] + around
    inside = ((at >= 0) & (at < np.array(shape[::-1]))).all(axis=2)
    atoms = np.broadcast_to(np.arange(len(xy))[:, None], inside.shape)[inside]
    at = at[inside]
    away = at * pixel_size - xy[atoms]
    return at[:, 1] * shape[1] + at[:, 0], atoms, away[:, 0], away[:, 1]


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


def _linear(
    shapes: sparse.csc_matrix, hats: sparse.csc_matrix, flat: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Heights and background where places and probe are as they are."""
    both = sparse.hstack([shapes, hats], format="csc")
    normal = (both.T.multiply(weights) @ both).tocsc()
    normal = normal + sparse.identity(normal.shape[0], format="csc") * (1e-9 * normal.diagonal().max())
    found = _solver(normal.tocsc()).solve(both.T @ (weights * flat))
    return found[: shapes.shape[1]], found[shapes.shape[1] :]


def _solver(normal: sparse.csc_matrix) -> Any:
    """LU of a matrix that is symmetric and positive, which takes less time if it is told so."""
    options = {"SymmetricMode": True}
    return splu(normal, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)


def _changed(probe: Probe, by: NDArray[np.float64]) -> Probe:
    limits = {"fwhm": (0.4, 4.0), "tail_weight": (0.0, 0.6), "ellipticity": (0.5, 2.0)}
    values = {
        name: float(np.clip(getattr(probe, name) + np.clip(step, -0.2, 0.2), *limits[name]))
        for name, step in zip(PRIOR, by, strict=True)
    }
    return probe.model_copy(update=values)


def _by_probe(
    probe: Probe, xy: NDArray[np.float64], heights: NDArray[np.float64], pixel_size: float, shape: tuple[int, int]
) -> NDArray[np.float64]:
    """(pixels, 3) how the frame changes with the probe's width, tail and ellipticity."""
    step = 1e-2
    parts = []
    for name in PRIOR:
        more, less = (
            probe.model_copy(update={name: getattr(probe, name) + sign * step}).draw(xy, heights, pixel_size, shape)
            for sign in (1, -1)
        )
        parts.append((more.astype(float) - less).ravel() / (2 * step))
    return np.column_stack(parts)


def _spread(left: NDArray[np.float64]) -> float:
    """Standard deviation, by the median where outliers would matter; not where most pixels hold no count at all."""
    usual, robust = float(left.std()), 1.4826 * float(np.median(np.abs(left - np.median(left))))
    return max(robust if robust > 0.3 * usual else usual, 1e-12)


def _together(left: NDArray[np.float64]) -> float:
    """How much more sums over neighbouring pixels vary than those of white noise would: 1 for white noise."""
    total = float((left**2).mean())
    if total <= 0:
        return 1.0
    lags = [(0, 1), (1, 0), (1, 1), (1, -1)]
    shared = sum(float((left * np.roll(left, lag, (0, 1))).mean()) for lag in lags)
    return float(np.clip(1 + 2 * shared / total, 1.0, 10.0))
