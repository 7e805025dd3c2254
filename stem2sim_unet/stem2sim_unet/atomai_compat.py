"""The results of AtomAI's `EnsemblePredictor` and `Locator`, number for number, without AtomAI.

For comparison with results that others got with AtomAI. It is not how the U-Net stage reads a frame: these rules
normalise a stack as one, report an atom once per class that claims it, and merge discs that touch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from stem2sim.errors import BadInput
from stem2sim_unet.network import DOWNSAMPLING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stem2sim_unet.network import UnetNetwork

THRESHOLD = 0.5
BORDER = 5
"""[pixels]; regions centred closer to an edge are discarded."""

Floats = NDArray[np.float64]


def predict(members: Iterable[UnetNetwork], pixels: NDArray[Any]) -> tuple[Floats, Floats]:
    """Return mean and variance over the members of the class probabilities, each (frames, rows, columns, classes).

    Args:
        members: networks; they may be built one by one, each is used once.
        pixels: (rows, columns) or (frames, rows, columns) intensities; as in AtomAI the whole stack is scaled to 0..1
            at once, so a frame's result depends on the others.

    Raises:
        BadInput: rows or columns are no multiple of 8 (AtomAI's predictor does not pad), no contrast, NaN.
    """
    x = torch.from_numpy(_normalised(np.asarray(pixels)))
    mean: Floats | None = None
    spread: Floats | None = None
    count = 0
    for count, network in enumerate(members, start=1):
        network.eval()
        for k, frame in enumerate(x):
            with torch.inference_mode():
                scores = network(frame[None, None])[0]
            probability = scores.sigmoid() if len(scores) == 1 else scores.softmax(0)
            new = probability.permute(1, 2, 0).numpy().astype(np.float64)
            if mean is None or spread is None:
                mean, spread = np.zeros((2, len(x), *new.shape))
            # running sums (Welford): all members at once would take their number times the memory
            off = new - mean[k]
            mean[k] += off / count
            spread[k] += off * (new - mean[k])
    if mean is None or spread is None:
        raise BadInput("no networks to predict with")
    return mean, spread / count


def locate(mean: NDArray[Any]) -> list[Floats]:
    """Return what each frame shows: (atoms, 3) row, column [pixels] and class.

    Args:
        mean: (frames, rows, columns, classes) probabilities, background last; a single class is foreground.

    An atom is a region above one half, connected through edges, and lies at its centre, all pixels counting alike.
    """
    if mean.ndim != 4:
        raise BadInput(f"probabilities are (frames, rows, columns, classes), these have shape {mean.shape}")
    foreground = mean if mean.shape[-1] == 1 else mean[..., :-1]
    return [
        np.concatenate([_regions(frame[..., k] > THRESHOLD, k) for k in range(frame.shape[-1])]) for frame in foreground
    ]


def _normalised(pixels: NDArray[Any]) -> NDArray[np.float32]:
    if pixels.ndim not in (2, 3) or pixels.size == 0 or pixels.dtype.kind not in "buif":
        raise BadInput(
            f"a frame is (rows, columns) real numbers, a stack (frames, rows, columns), "
            f"this is {pixels.dtype} of shape {pixels.shape}"
        )
    rows, columns = pixels.shape[-2:]
    if rows % DOWNSAMPLING or columns % DOWNSAMPLING:
        fit = " x ".join(str(n - n % DOWNSAMPLING) for n in (rows, columns))
        raise BadInput(f"rows and columns must be multiples of {DOWNSAMPLING}, got {rows} x {columns}; crop to {fit}")
    if not np.isfinite(pixels).all():
        raise BadInput(f"{int((~np.isfinite(pixels)).sum())} of {pixels.size} pixels are NaN or infinite")
    # floats are scaled in their own precision, as AtomAI does
    stack = pixels.reshape(-1, rows, columns).astype(pixels.dtype if pixels.dtype.kind == "f" else np.float64)
    least, extent = stack.min(), np.ptp(stack)
    if extent == 0:
        raise BadInput(f"no contrast: every pixel is {least}")
    return np.asarray((stack - least) / extent, dtype=np.float32)


def _regions(above: NDArray[np.bool_], label: int) -> Floats:
    regions, count = ndimage.label(above)
    centres = np.array(ndimage.center_of_mass(above, regions, np.arange(1, count + 1))).reshape(-1, 2)
    kept = ((centres >= BORDER) & (centres <= np.array(above.shape) - BORDER)).all(axis=1)
    return np.column_stack([centres[kept], np.full(kept.sum(), float(label))])
