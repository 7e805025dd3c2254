"""Ranges of the activations of networks, for inference in 8-bit integers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from stem2sim.errors import BadInput
from stem2sim.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Ranges = Mapping[str, NDArray[np.float32]]

RANGES = "ranges.safetensors"


def rounded_layers(depths: Sequence[int], filters: int) -> dict[str, int]:
    """Return the layers whose output is rounded, named as in the state dict, and their channels.

    Within the two outermost blocks, and where a 1x1 convolution reads, nothing is: that is half of the error and a
    tenth of the work.
    """
    d1, d2, d3, d4 = depths
    blocks = [("c2", d2, 2), ("c3", d3, 4), ("bn", d4 - 1, 8), ("c4", d3 - 1, 4), ("c5", d2 - 1, 2)]
    named = {f"c1.block.{3 * d1 - 1}": filters}
    named |= {f"{name}.block.{3 * k + 2}": width * filters for name, n, width in blocks for k in range(n)}
    return named | {f"upsample_block{k}": width * filters for k, width in ((1, 4), (2, 2), (3, 1))}


def read_ranges(folder: Path, members: Sequence[str], expected: Mapping[str, int]) -> tuple[Ranges, ...] | None:
    """Return, for each member, the largest magnitude of each layer's activations in each channel.

    Args:
        folder: of an ensemble.
        members: names of its files, without suffix.
        expected: layers and their channels.

    Returns:
        None where the folder has no such file.

    Raises:
        BadInput: a file that cannot be read, or does not fit the networks.
    """
    file = folder / RANGES
    if not file.exists():
        return None
    try:
        stored = load_file(file)
    except (SafetensorError, OSError) as problem:
        raise BadInput(f"cannot read {file} as safetensors: {' '.join(str(problem).split())}") from None
    for member in members:
        for layer, channels in expected.items():
            values = stored.get(f"{member}/{layer}")
            if values is None or values.shape != (channels,) or not (np.isfinite(values) & (values > 0)).all():
                raise BadInput(
                    f"{file} does not fit the ensemble ({member}, {layer}); delete it to compute without 8-bit rounding"
                )
    return tuple({layer: stored[f"{member}/{layer}"] for layer in expected} for member in members)


def write_ranges(folder: Path, members: Sequence[str], ranges: Sequence[Ranges]) -> None:
    """Keep the ranges of all members beside them, atomically."""
    tensors = {f"{m}/{layer}": values for m, own in zip(members, ranges, strict=True) for layer, values in own.items()}
    with write_atomically(folder / RANGES) as part:
        save_file(tensors, part)
