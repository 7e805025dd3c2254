"""Calibrated confidence: from the raw output of an ensemble to probabilities and error bars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy import optimize

if TYPE_CHECKING:
    from stem2sim_unet.locate import Detections

Floats = NDArray[np.float64]

BRIGHTNESS_POWER = 0.5
"""Of the likelihood of an atom's brightness. A fit on generated frames gives it half of that, where impurities stand
alone and the networks have used it already; in clusters, denser than any they saw, they discount it too far."""

LEAST_SHARE = 1e-3
"""Least share of a class in an atom's mass; less than this is the same as none."""


class Confidence(BaseModel):
    """Fitted on held-out frames after averaging: a single network's numbers mean something else than an ensemble's.

    The probability that a detection is an atom is logistic in the logit of its mean foreground, the mutual information
    there and the frame's noise. Class probabilities are the shares of the class masses to a power, times how usual the
    atom's brightness is for each class (to a power as well: the networks saw it too). The position
    variance adds a floor, the frame's noise and the networks' disagreement in squares, scaled so that 68 % of the
    errors lie within one standard deviation.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    detection: tuple[float, float, float, float] = Field(
        description="offset, and weights of foreground logit, mutual information [1/nat] and noise"
    )
    sharpness: float = Field(description="exponent of the class probabilities")
    brightness: tuple[tuple[float, float], ...] = Field(
        (), description="mean and standard deviation of the logarithm of the relative intensity, for each species"
    )
    brightness_power: float = Field(0.0, description="exponent of the likelihood of the intensity")
    floor: float = Field(description="position error without noise and disagreement [Å]")
    noise: float = Field(description="position error per unit of image noise [Å]")
    spread: float = Field(description="position error per unit of the foreground's spread over the networks [Å]")

    def probability(self, detections: Detections, noise: Floats | float) -> Floats:
        """Return the probability that each detection is an atom, (atoms,), for the noise of its frame."""
        x = _terms(detections.foreground, detections.information, noise)
        return np.asarray(1 / (1 + np.exp(-(x @ np.array(self.detection)))))

    def shares(self, detections: Detections) -> Floats:
        """Return class probabilities (atoms, species)."""
        logs = self.sharpness * np.log(np.maximum(detections.shares, LEAST_SHARE))
        if self.brightness:
            logs = logs + self.brightness_power * _likelihoods(detections.brightness, np.array(self.brightness))
        power = np.exp(logs - logs.max(axis=1, keepdims=True))
        return np.asarray(power / power.sum(axis=1, keepdims=True))

    def position_std(self, detections: Detections, noise: Floats | float) -> Floats:
        """Return the standard deviation of x, and of y, (atoms,) [Å]."""
        return np.sqrt(self.floor**2 + (self.noise * noise) ** 2 + (self.spread * detections.spread) ** 2)

    @classmethod
    def fit(
        cls, detections: Detections, noise: Floats, true: NDArray[np.bool_], errors: Floats, species: NDArray[np.int64]
    ) -> Self:
        """Fit by maximum likelihood.

        Args:
            detections: of all frames.
            noise: (detections,) noise of their frames.
            true: (detections,) whether each is an atom.
            errors: (detections, 2) position errors [Å]; of the true ones.
            species: (detections,) true class; of the true ones.
        """
        x = _terms(detections.foreground, detections.information, noise)
        sign = np.where(true, -1, 1)

        def unlikely(p: Floats) -> float:
            return float(np.logaddexp(0, sign * (x @ p)).mean() + 1e-5 * (p[1:] ** 2).sum())

        detection = optimize.minimize(unlikely, np.array([0.0, 1.0, 0.0, 0.0]), method="BFGS").x
        raw = np.log(np.maximum(detections.shares[true], LEAST_SHARE))
        right, bright = species[true], detections.brightness[true]
        usual = _usual_brightness(bright, right, raw.shape[1])
        likelihoods = _likelihoods(bright, usual) if len(usual) else np.zeros_like(raw)
        # every species counts the same: impurities are few, and matter most
        weight = 1 / np.bincount(right, minlength=raw.shape[1])[right]

        def surprise(p: Floats) -> float:
            logs = np.exp(p[0]) * raw + BRIGHTNESS_POWER * likelihoods
            own = np.take_along_axis(logs, right[:, None], axis=1)[:, 0]
            return float(((np.logaddexp.reduce(logs, axis=1) - own) * weight).sum())

        powers = np.exp(optimize.minimize(surprise, np.log([1.0]), method="Nelder-Mead").x)
        squares = (errors[true] ** 2).mean(axis=1)

        def off(p: Floats) -> float:
            a, b, c = np.exp(p)
            variance = a + b * noise[true] ** 2 + c * detections.spread[true] ** 2
            return float((np.log(variance) + squares / variance).mean())

        best = np.exp(optimize.minimize(off, np.log([0.03**2, 0.01**2, 0.05**2]), method="Nelder-Mead").x)
        floor, noisy, wide = np.sqrt(best)
        plain = cls(
            detection=tuple(detection),
            sharpness=powers[0],
            brightness=tuple((float(m), float(s)) for m, s in usual),
            brightness_power=BRIGHTNESS_POWER if len(usual) else 0.0,
            floor=floor,
            noise=noisy,
            spread=wide,
        )
        # errors have longer tails than a normal spread: what is promised is that 68 % lie within
        std = plain.position_std(detections, noise)[true]
        scale = float(np.quantile(np.abs(errors[true]) / std[:, None], 0.6827))
        return plain.model_copy(update={"floor": floor * scale, "noise": noisy * scale, "spread": wide * scale})


def _usual_brightness(bright: Floats, species: NDArray[np.int64], count: int) -> Floats:
    """Mean and standard deviation of each species, robustly; none where one of them is too rare."""
    usual = []
    for kind in range(count):
        own = bright[(species == kind) & np.isfinite(bright)]
        if len(own) < 20:
            return np.zeros((0, 2))
        low, middle, high = np.percentile(own, (15.87, 50, 84.13))
        usual.append((middle, max((high - low) / 2, 0.05)))
    return np.array(usual)


def _likelihoods(bright: Floats, usual: Floats) -> Floats:
    """Logarithm of how likely a brightness is for each species, (atoms, species); even where it is not known."""
    known = np.isfinite(bright)[:, None]
    away = (np.nan_to_num(bright)[:, None] - usual[:, 0]) / usual[:, 1]
    # tails of contamination and of overlapping atoms: no brightness rules a species out altogether
    return np.where(known, np.logaddexp(-0.5 * away**2 - np.log(usual[:, 1]), np.log(0.01)), 0.0)


def _terms(foreground: Floats, information: Floats, noise: Floats | float) -> Floats:
    clipped = np.clip(foreground, 1e-4, 1 - 1e-4)
    logit = np.log(clipped / (1 - clipped))
    return np.column_stack([np.ones_like(logit), logit, information, np.broadcast_to(noise, logit.shape)])
