"""A pyramid brought to one size and joined (SECOND's neck, Yan et al. 2018), for images and for BEV maps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class PyramidConcat(nn.Module):
    """Resizes each level by a convolution whose kernel is its stride, and joins all levels on the channels.

    Args:
        in_channels: of each level.
        scales: how many times larger the result is than each level: whole numbers, or one over a whole number.
        out_channels: that each level contributes.
    """

    def __init__(self, in_channels: Sequence[int], scales: Sequence[float], out_channels: Sequence[int]) -> None:
        super().__init__()
        self.channels = sum(out_channels)
        self.levels = nn.ModuleList(
            nn.Sequential(_resizing(before, after, scale), nn.BatchNorm2d(after, eps=1e-3, momentum=0.01),
                          nn.ReLU(inplace=True))
            for before, after, scale in zip(in_channels, out_channels, scales, strict=True))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        return torch.cat([level(part) for level, part in zip(self.levels, maps, strict=True)], dim=1)


def _resizing(in_channels: int, channels: int, scale: float) -> nn.Module:
    if scale >= 1:
        up = round(scale)
        return nn.ConvTranspose2d(in_channels, channels, up, up, bias=False)
    down = round(1 / scale)
    return nn.Conv2d(in_channels, channels, down, down, bias=False)
