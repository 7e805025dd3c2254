"""The U-Net, with the state dict of AtomAI's `Unet`, so that weights pass both ways without AtomAI at run time."""

from __future__ import annotations

from typing import TYPE_CHECKING

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


class ConvBlock(nn.Module):
    """n times convolution, leaky ReLU, batch norm: AtomAI normalises after the activation."""

    def __init__(self, layers: int, inputs: int, outputs: int) -> None:
        super().__init__()
        steps: list[nn.Module] = []
        for k in range(layers):
            steps += [
                nn.Conv2d(outputs if k else inputs, outputs, 3, padding=1),
                nn.LeakyReLU(0.01),
                nn.BatchNorm2d(outputs),
            ]
        self.block = nn.Sequential(*steps)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, rows, columns)."""
        out: Tensor = self.block(x)
        return out


class UpsampleBlock(nn.Module):
    """Twice the rows and columns by bilinear interpolation, then a 1x1 convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, rows, columns)."""
        out: Tensor = self.conv(functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False))
        return out


class UnetNetwork(nn.Module):
    """U-Net for one grey frame (batch, 1, rows, columns) -> class scores (batch, classes, rows, columns)."""

    def __init__(self, classes: int, filters: int = FILTERS, depths: Sequence[int] = BLOCK_DEPTHS) -> None:
        super().__init__()
        f, (d1, d2, d3, d4) = filters, depths
        self.c1 = ConvBlock(d1, 1, f)
        self.c2 = ConvBlock(d2, f, 2 * f)
        self.c3 = ConvBlock(d3, 2 * f, 4 * f)
        self.bn = ConvBlock(d4, 4 * f, 8 * f)
        self.upsample_block1 = UpsampleBlock(8 * f, 4 * f)
        self.c4 = ConvBlock(d3, 8 * f, 4 * f)
        self.upsample_block2 = UpsampleBlock(4 * f, 2 * f)
        self.c5 = ConvBlock(d2, 4 * f, 2 * f)
        self.upsample_block3 = UpsampleBlock(2 * f, f)
        self.c6 = ConvBlock(d1, 2 * f, f)
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
