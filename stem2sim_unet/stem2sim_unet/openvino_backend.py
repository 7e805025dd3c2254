"""The networks of an ensemble as OpenVINO graphs: the same weights, several times faster on a CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from stem2sim_unet.activation_ranges import Ranges

    Weights = Mapping[str, NDArray[np.float32]]

SLOPE = 0.01
"""Of AtomAI's leaky ReLU below zero."""

EPSILON = 1e-5
"""Added by PyTorch to the variance in a batch norm."""

AT_ONCE = 4
"""Members in one graph, one after the other in the same memory: a graph of its own for each would keep twenty times
the activations, and freeing them after each frame costs more time than half a network."""


class OpenvinoBackend:
    """Compiled once, for frames of any size.

    On a processor with bfloat16 in 8-bit integers where their ranges are known, else in bfloat16; on others, and where
    single precision is asked for, in 32-bit floating point.
    """

    def __init__(
        self,
        members: Sequence[Weights],
        depths: Sequence[int],
        ranges: Sequence[Ranges] | None = None,
        is_single: bool = False,
    ) -> None:
        import openvino as ov

        core = ov.Core()
        fast = not is_single and "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        core.set_property("CPU", {"INFERENCE_PRECISION_HINT": "bf16" if fast else "f32", "NUM_STREAMS": "1"})
        if ranges is None or not fast:  # processors without bfloat16 may lack exact 8-bit dot products too
            ranges = [{}] * len(members)
        self._requests = []
        for k in range(0, len(members), AT_ONCE):
            model = graph(members[k : k + AT_ONCE], depths, ranges[k : k + AT_ONCE])
            self._requests.append(core.compile_model(model, "CPU").create_infer_request())

    def __call__(self, frame: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        """Yield each member's class probabilities (classes, rows, columns)."""
        x = np.ascontiguousarray(frame[None, None], dtype=np.float32)
        for request in self._requests:
            yield from request.infer([x], share_inputs=True)[0]


def graph(members: Sequence[Weights], depths: Sequence[int], ranges: Sequence[Ranges]) -> Any:
    """Return the OpenVINO model of U-Nets: (1, 1, rows, columns) frame -> (members, classes, rows, columns).

    Args:
        members: state dicts of `UnetNetwork`, as arrays.
        depths: layers per block of encoder and bottleneck.
        ranges: of each member's activations, as `read_ranges` gives them; empty to round nothing.

    Rows and columns must be multiples of 8.
    """
    import openvino as ov
    from openvino import opset13 as op

    frame = op.parameter(ov.PartialShape([1, 1, -1, -1]), np.float32, name="frame")
    each = [_Unet(*pair).probabilities(frame, depths) for pair in zip(members, ranges, strict=True)]
    return ov.Model([op.concat(each, 0)], [frame], "unets")


class _Activation(NamedTuple):
    values: Any
    unit: NDArray[np.float32]
    """(channels,) what 1 stands for in each channel."""
    is_rounded: bool = False


class _Unet:
    """One member's layers. Activations are counted in units of their channels' ranges, and rounded to 8 bits then."""

    def __init__(self, weights: Weights, ranges: Ranges) -> None:
        from openvino import opset13

        self.op, self.weights, self.ranges = opset13, weights, ranges

    def constant(self, values: Any) -> Any:
        return self.op.constant(np.ascontiguousarray(values, dtype=np.float32))

    def column(self, values: Any) -> Any:
        return self.constant(np.reshape(values, (1, -1, 1, 1)))

    def rounded(self, x: Any, low: Any, high: Any, levels: int) -> Any:
        limits = self.constant(low), self.constant(high)
        return self.op.fake_quantize(x, *limits, *limits, levels)

    def activation(self, values: Any, name: str, unit: NDArray[np.float32]) -> _Activation:
        if name not in self.ranges:
            return _Activation(values, unit)
        return _Activation(self.rounded(values, -1, 127 / 128, 256), unit, True)

    def product(self, x: _Activation, kernel: NDArray[np.float32]) -> Any:
        kernel = kernel * x.unit[:, None, None]
        factor, pad = self.constant(kernel), [kernel.shape[-1] // 2] * 2
        if x.is_rounded:
            largest = np.maximum(np.abs(kernel).max(axis=(1, 2, 3), keepdims=True), 1e-12)
            factor = self.rounded(factor, -largest, largest, 255)
        return self.op.convolution(x.values, factor, [1, 1], pad, pad, [1, 1])

    def convolution(self, x: _Activation, name: str) -> Any:
        y = self.product(x, self.weights[f"{name}.weight"])
        return self.op.add(y, self.column(self.weights[f"{name}.bias"]))

    def joined(self, skipped: _Activation, x: _Activation, name: str) -> Any:
        """Convolve the two halves of what AtomAI concatenates, and add: nothing is copied."""
        kernel = self.weights[f"{name}.weight"]
        half = kernel.shape[1] // 2
        y = self.op.add(self.product(x, kernel[:, half:]), self.column(self.weights[f"{name}.bias"]))
        return self.op.add(y, self.product(skipped, kernel[:, :half]))

    def block(self, x: _Activation, name: str, layers: int, skipped: _Activation | None = None) -> _Activation:
        for k in range(layers):
            at, after = f"{name}.block.{3 * k}", f"{name}.block.{3 * k + 2}"
            y = self.joined(skipped, x, at) if k == 0 and skipped is not None else self.convolution(x, at)
            norm = {part: self.weights[f"{after}.{part}"] for part in _NORM}
            scale = norm["weight"] / np.sqrt(norm["running_var"] + EPSILON)
            shift = norm["bias"] - norm["running_mean"] * scale
            unit = self.ranges.get(after, np.ones_like(shift))
            y = self.op.multiply(self.op.prelu(y, self.constant([SLOPE])), self.column(scale / unit))
            x = self.activation(self.op.add(y, self.column(shift / unit)), after, unit)
        return x

    def pooled(self, x: _Activation) -> _Activation:
        return _Activation(self.op.max_pool(x.values, [2, 2], [1, 1], [0, 0], [0, 0], [2, 2]).output(0), *x[1:])

    def upsampled(self, x: _Activation, name: str) -> _Activation:
        bias = self.weights[f"{name}.conv.bias"]
        unit = self.ranges.get(name, np.ones_like(bias))
        # the 1x1 convolution and the interpolation commute: the convolution costs a quarter before it
        y = self.product(x, self.weights[f"{name}.conv.weight"] / unit[:, None, None, None])
        y = self.op.add(y, self.column(bias / unit))
        twice = np.array([2.0, 2.0], dtype=np.float32)
        half_pixel = {"coordinate_transformation_mode": "half_pixel", "axes": np.array([2, 3])}
        y = self.op.interpolate(y, twice, "linear_onnx", "scales", **half_pixel)
        return self.activation(y, name, unit)

    def probabilities(self, frame: Any, depths: Sequence[int]) -> Any:
        d1, d2, d3, d4 = depths
        c1 = self.block(_Activation(frame, np.ones(1, dtype=np.float32)), "c1", d1)
        c2 = self.block(self.pooled(c1), "c2", d2)
        c3 = self.block(self.pooled(c2), "c3", d3)
        x = self.block(self.pooled(c3), "bn", d4)
        x = self.block(self.upsampled(x, "upsample_block1"), "c4", d3, c3)
        x = self.block(self.upsampled(x, "upsample_block2"), "c5", d2, c2)
        x = self.block(self.upsampled(x, "upsample_block3"), "c6", d1, c1)
        return self.op.softmax(self.convolution(x, "px"), 1)


_NORM = ("weight", "bias", "running_mean", "running_var")
