"""The U-Net, with the state dict of AtomAI's `Unet`: weights can be exchanged without AtomAI at run time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

BLOCK_DEPTHS = (2, 3, 3, 4)
"""Layers per block of encoder and bottleneck; the decoder mirrors them: 2-3-3-4-3-3-2 (Ghosh et al. 2022)."""

FILTERS = 16
DOWNSAMPLING = 8
"""Rows and columns must be multiples of this (three poolings by two)."""

DROPOUT = 0.1
"""Share of activations dropped in training, in the three inner blocks of a network that has dropout."""

Upsampling = Literal["bilinear", "nearest"]
"""How values between coarse pixels are interpolated."""


class Variant(NamedTuple):
    """Options of AtomAI's U-Net besides its size."""

    batch_norm: bool = True
    """Normalise after each activation."""
    dropout: bool = False
    """Drop activations in training, in the innermost blocks."""
    upsampling: Upsampling = "bilinear"
    with_dilation: bool = False
    """A bottleneck of dilated convolutions."""


class ConvBlock(nn.Module):
    """n times convolution, dropout (where there is any), leaky ReLU, batch norm: AtomAI normalises last."""

    def __init__(
        self, layers: int, inputs: int, outputs: int, *, batch_norm: bool = True, dropout: bool = False
    ) -> None:
        super().__init__()
        self.block = nn.Sequential(*_steps([1] * layers, inputs, outputs, batch_norm, dropout))

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, rows, columns)."""
        out: Tensor = self.block(x)
        return out


class DilatedBlock(nn.Module):
    """As `ConvBlock`, each convolution wider than the last; what every single step gives is summed."""

    def __init__(
        self, layers: int, inputs: int, outputs: int, *, batch_norm: bool = True, dropout: bool = False
    ) -> None:
        super().__init__()
        dilations = [2 * (k + 1) for k in range(layers)]
        self.atrous_module = nn.Sequential(*_steps(dilations, inputs, outputs, batch_norm, dropout))

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, rows, columns)."""
        total: Tensor | None = None
        for step in self.atrous_module:
            x = step(x)
            total = x if total is None else total + x
        return x if total is None else total


def _steps(dilations: Sequence[int], inputs: int, outputs: int, batch_norm: bool, dropout: bool) -> list[nn.Module]:
    # the position in this list is the number in the state dict: an omitted step moves the later ones up
    steps: list[nn.Module] = []
    for k, dilation in enumerate(dilations):
        steps.append(nn.Conv2d(outputs if k else inputs, outputs, 3, padding=dilation, dilation=dilation))
        if dropout:
            steps.append(nn.Dropout(DROPOUT))
        steps.append(nn.LeakyReLU(0.01))
        if batch_norm:
            steps.append(nn.BatchNorm2d(outputs))
    return steps


class UpsampleBlock(nn.Module):
    """Twice the rows and columns by interpolation, then a 1x1 convolution."""

    def __init__(self, inputs: int, outputs: int, mode: Upsampling = "bilinear") -> None:
        super().__init__()
        self.mode = mode
        self.conv = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, rows, columns)."""
        out: Tensor = self.conv(functional.interpolate(x, scale_factor=2, mode=self.mode))
        return out


class UnetNetwork(nn.Module):
    """U-Net for one grey frame (batch, 1, rows, columns) -> class scores (batch, classes, rows, columns).

    Args:
        classes: for one class the probability is the sigmoid of the score, for more it is their softmax.
        filters: channels of the outermost blocks; each pooling doubles them.
        depths: layers per block of encoder and bottleneck.
        variant: other options.
    """

    def __init__(
        self,
        classes: int,
        filters: int = FILTERS,
        depths: Sequence[int] = BLOCK_DEPTHS,
        variant: Variant = Variant(),  # noqa: B008  immutable
    ) -> None:
        super().__init__()
        f, (d1, d2, d3, d4) = filters, depths
        batch_norm, dropout, upsampling, with_dilation = variant
        bottom = DilatedBlock if with_dilation else ConvBlock
        self.c1 = ConvBlock(d1, 1, f, batch_norm=batch_norm)
        self.c2 = ConvBlock(d2, f, 2 * f, batch_norm=batch_norm)
        self.c3 = ConvBlock(d3, 2 * f, 4 * f, batch_norm=batch_norm, dropout=dropout)
        self.bn = bottom(d4, 4 * f, 8 * f, batch_norm=batch_norm, dropout=dropout)
        self.upsample_block1 = UpsampleBlock(8 * f, 4 * f, upsampling)
        self.c4 = ConvBlock(d3, 8 * f, 4 * f, batch_norm=batch_norm, dropout=dropout)
        self.upsample_block2 = UpsampleBlock(4 * f, 2 * f, upsampling)
        self.c5 = ConvBlock(d2, 4 * f, 2 * f, batch_norm=batch_norm)
        self.upsample_block3 = UpsampleBlock(2 * f, f, upsampling)
        self.c6 = ConvBlock(d1, 2 * f, f, batch_norm=batch_norm)
        self.px = nn.Conv2d(f, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, rows, columns)."""
        pool = functional.max_pool2d
        c1 = self.c1(x)
        c2 = self.c2(pool(c1, 2))
        c3 = self.c3(pool(c2, 2))
        bottom = self.bn(pool(c3, 2))
        up = self.c4(torch.cat([c3, self.upsample_block1(bottom)], dim=1))
        up = self.c5(torch.cat([c2, self.upsample_block2(up)], dim=1))
        up = self.c6(torch.cat([c1, self.upsample_block3(up)], dim=1))
        scores: Tensor = self.px(up)
        return scores
