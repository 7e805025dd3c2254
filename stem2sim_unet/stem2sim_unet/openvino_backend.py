"""The networks of an ensemble as one OpenVINO graph: the same weights, several times faster on a CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

SLOPE = 0.01
"""Of the leaky ReLU below zero, AtomAI's."""

EPSILON = 1e-5
"""That PyTorch adds to the variance in a batch norm."""

Weights = dict[str, "NDArray[np.float32]"]


class OpenvinoBackend:
    """Compiled once, for frames of any size."""

    def __init__(self, members: Sequence[Weights], depths: Sequence[int]) -> None:
        import openvino as ov

        core = ov.Core()
        core.set_property("CPU", {"INFERENCE_PRECISION_HINT": _precision(core), "NUM_STREAMS": "1"})
        self._compiled = [core.compile_model(graph(one, depths), "CPU") for one in members]

    def __call__(self, frame: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        """Yield each member's class probabilities (classes, rows, columns)."""
        x = np.ascontiguousarray(frame[None, None], dtype=np.float32)
        for network in self._compiled:
            request = network.create_infer_request()
            probabilities = request.infer([x])[0][0].copy()
            # each network would keep its own activations, twenty times what one needs
            del request
            network.release_memory()
            yield probabilities


def _precision(core: Any) -> str:
    """bfloat16 where the processor has it: the largest change of a probability was 0.01 on the shipped ensemble."""
    return "bf16" if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"


def graph(weights: Weights, depths: Sequence[int]) -> Any:
    """Return the OpenVINO model of one U-Net: (1, 1, rows, columns) frame -> (1, classes, rows, columns) probabilities.

    Args:
        weights: the state dict of `UnetNetwork`, as arrays.
        depths: layers per block of encoder and bottleneck.

    Rows and columns must be multiples of 8.
    """
    import openvino as ov
    from openvino import opset13 as op

    def constant(values: Any) -> Any:
        return op.constant(np.ascontiguousarray(values, dtype=np.float32))

    def convolution(x: Any, name: str, pad: int) -> Any:
        y = op.convolution(x, constant(weights[f"{name}.weight"]), [1, 1], [pad, pad], [pad, pad], [1, 1])
        return op.add(y, constant(weights[f"{name}.bias"].reshape(1, -1, 1, 1)))

    def block(x: Any, name: str, layers: int) -> Any:
        for k in range(layers):
            x = op.prelu(convolution(x, f"{name}.block.{3 * k}", 1), constant([SLOPE]))
            norm = {part: weights[f"{name}.block.{3 * k + 2}.{part}"] for part in _NORM}
            scale = norm["weight"] / np.sqrt(norm["running_var"] + EPSILON)
            shift = norm["bias"] - norm["running_mean"] * scale
            x = op.add(op.multiply(x, constant(scale.reshape(1, -1, 1, 1))), constant(shift.reshape(1, -1, 1, 1)))
        return x

    def pooled(x: Any) -> Any:
        return op.max_pool(x, [2, 2], [1, 1], [0, 0], [0, 0], [2, 2]).output(0)

    def upsampled(x: Any, name: str) -> Any:
        # the 1x1 convolution and the interpolation commute: the convolution costs a quarter before it
        y = convolution(x, f"{name}.conv", 0)
        twice = np.array([2.0, 2.0], dtype=np.float32)
        return op.interpolate(
            y, twice, "linear_onnx", "scales", coordinate_transformation_mode="half_pixel", axes=np.array([2, 3])
        )

    frame = op.parameter(ov.PartialShape([1, 1, -1, -1]), np.float32, name="frame")
    d1, d2, d3, d4 = depths
    c1 = block(frame, "c1", d1)
    c2 = block(pooled(c1), "c2", d2)
    c3 = block(pooled(c2), "c3", d3)
    x = block(pooled(c3), "bn", d4)
    x = block(op.concat([c3, upsampled(x, "upsample_block1")], 1), "c4", d3)
    x = block(op.concat([c2, upsampled(x, "upsample_block2")], 1), "c5", d2)
    x = block(op.concat([c1, upsampled(x, "upsample_block3")], 1), "c6", d1)
    return ov.Model([op.softmax(convolution(x, "px", 0), 1)], [frame], "unet")


_NORM = ("weight", "bias", "running_mean", "running_var")
