"""The shipped networks and what is known about how far to trust them."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import load_file
from scipy import optimize

from stem2sim.progress import track
from stem2sim_unet import SHIPPED
from stem2sim_unet.network import DOWNSAMPLING, UnetNetwork
from stem2sim_unet.synthetic import CLASSES

if TYPE_CHECKING:
    from pathlib import Path

RECORD = "ensemble.json"

Floats = NDArray[np.float64]


class Confidence(BaseModel):
    """What the raw output of an ensemble is worth, fitted on held-out synthetic frames after training.

    The probability that a detection is an atom is logistic in the logit of its mean foreground. The position variance
    is floor² + (spread · s)² + (noise · n)², s the members' spread and n the frame's noise over its lattice contrast:
    the members' spread alone is several times too small.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    slope: float
    intercept: float
    floor: float = Field(description="[Å]")
    spread: float
    noise: float = Field(description="[Å]")
    usual_spread: float = Field(description="99th percentile over held-out frames of the mean foreground spread")
    held_out: dict[str, float] = Field(default_factory=dict, description="scores on frames used for no fit")

    def probability(self, foreground: Floats) -> Floats:
        """Return the probability that there is an atom, for mean foregrounds (atoms,)."""
        return np.asarray(1 / (1 + np.exp(-(self.slope * _logit(foreground) + self.intercept))))

    def position_std(self, spread: Floats, noise: Floats | float) -> Floats:
        """Return the standard deviation of x, and of y [Å], for member spreads (atoms,) [Å]."""
        return np.sqrt(self.floor**2 + (self.spread * spread) ** 2 + (self.noise * noise) ** 2)

    @classmethod
    def fit(
        cls, foreground: Floats, true: NDArray[np.bool_], errors: Floats, spread: Floats, noise: Floats, usual: float
    ) -> Self:
        """Fit by maximum likelihood.

        Args:
            foreground: (detections,) mean foregrounds.
            true: (detections,) whether each is an atom.
            errors: (atoms, 2) position errors of the true ones [Å].
            spread: (atoms,) member spreads of the true ones [Å].
            noise: (atoms,) noise of their frames.
            usual: see `usual_spread`.
        """
        x = _logit(foreground)

        def unlikely(p: Floats) -> float:
            return float(np.logaddexp(0, np.where(true, -1, 1) * (p[0] * x + p[1])).sum())

        slope, intercept = optimize.minimize(unlikely, np.array([1.0, 0.0]), method="Nelder-Mead").x
        squares = (errors**2).mean(axis=1)

        def off(p: Floats) -> float:
            a, b, c = np.exp(p)
            variance = a + b * spread**2 + c * noise**2
            return float((np.log(variance) + squares / variance).sum())

        best = optimize.minimize(off, np.log([0.03**2, 1.0, 0.01**2]), method="Nelder-Mead").x
        floor, scale, noisy = np.sqrt(np.exp(best))
        return cls(slope=slope, intercept=intercept, floor=floor, spread=scale, noise=noisy, usual_spread=usual)


def _logit(p: Floats) -> Floats:
    clipped = np.clip(p, 1e-4, 1 - 1e-4)
    return np.asarray(np.log(clipped / (1 - clipped)))


class Ensemble:
    """Networks that look at one frame and are asked together."""

    def __init__(self, folder: Path = SHIPPED) -> None:
        self.networks = [_network(file) for file in sorted(folder.glob("member-*.safetensors"))]
        if not self.networks:
            raise FileNotFoundError(f"no member-*.safetensors in {folder}")
        record = folder / RECORD
        self.confidence = Confidence.model_validate_json(record.read_text()) if record.exists() else None

    def predict(self, frame: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return class probabilities (members, classes, rows, columns) of one normalised canonical frame."""
        rows, columns = frame.shape
        padded = np.pad(frame, [(0, -n % DOWNSAMPLING) for n in frame.shape], mode="reflect")
        maps = []
        with torch.inference_mode(), track("unet: networks", len(self.networks)) as advance:
            x = torch.from_numpy(padded)[None, None].contiguous(memory_format=torch.channels_last)
            for network in self.networks:
                maps.append(network(x).softmax(1)[0, :, :rows, :columns].numpy())
                advance()
        return np.stack(maps)


def _network(file: Path) -> UnetNetwork:
    network = UnetNetwork(len(CLASSES))
    state = {name: value.float() for name, value in load_file(file).items()}
    missing, unexpected = network.load_state_dict(state, strict=False)
    # float16 files leave out the batch counters, which only training reads
    if unexpected or any(not name.endswith("num_batches_tracked") for name in missing):
        raise ValueError(f"{file.name} is not a U-Net with depths 2-3-3-4-3-3-2 and {len(CLASSES)} classes")
    return network.eval().to(memory_format=torch.channels_last)


@cache
def shipped() -> Ensemble:
    """Return the ensemble that ships with this plugin, read once."""
    return Ensemble()


def disagreement(members: NDArray[np.float32]) -> float:
    """Return the mean over the frame of the members' spread of the foreground probability."""
    value = float(members[:, -1].std(axis=0).mean())
    return value if math.isfinite(value) else 1.0
