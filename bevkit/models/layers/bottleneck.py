"""Convolution with norm and rectifier, and the residual bottleneck that is made of three of them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv_norm_relu(in_channels: int, channels: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Returns a convolution without bias, batch norm and ReLU; at stride 1 the size of the map stays."""
    return nn.Sequential(nn.Conv2d(in_channels, channels, kernel, stride, padding=kernel // 2, bias=False),
                         nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


class Bottleneck(nn.Module):
    """Adds to a map a copy of it that went through half the channels (FIERY, ICCV 2021, appendix B).

    Unlike ResNet's the branch is rectified before the sum, and the sum is not.

    Args:
        in_channels, channels: of the map [B C Y X] that comes and goes.
        down: halve the map; odd sizes are rounded up, as if a row or column of zeros followed.
    """

    def __init__(self, in_channels: int, channels: int, down: bool = False) -> None:
        super().__init__()
        self.down = down
        half = in_channels // 2
        self.branch = nn.Sequential(conv_norm_relu(in_channels, half, 1),
                                    conv_norm_relu(half, half, 3, stride=2 if down else 1),
                                    conv_norm_relu(half, channels, 1))
        self.skip: nn.Module | None = None
        if down or in_channels != channels:
            self.skip = nn.Sequential(nn.Conv2d(in_channels, channels, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        branch = self.branch(x)
        if self.down:
            x = F.max_pool2d(even_sized(x), 2)
        return branch + (x if self.skip is None else self.skip(x))


def even_sized(x: Tensor) -> Tensor:
    """Appends zeros where a map has an odd number of rows or columns.

    Not by padding: ONNX Runtime fuses a padding into the max pooling behind it, which then ignores the zeros.
    """
    if x.shape[-2] % 2:
        x = torch.cat((x, torch.zeros_like(x[..., -1:, :])), dim=-2)
    if x.shape[-1] % 2:
        x = torch.cat((x, torch.zeros_like(x[..., -1:])), dim=-1)
    return x
