"""Stages of residual blocks on the BEV plane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

Block = Literal["basic", "bottleneck"]


def residual_stage(in_channels: int, channels: int, count: int, stride: int) -> nn.Sequential:
    """Returns basic blocks (He et al., CVPR 2016), the first with a stride and a 1x1 shortcut where shapes differ."""
    shortcut = None
    if stride != 1 or in_channels != channels:
        shortcut = nn.Sequential(nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))
    return nn.Sequential(BasicBlock(in_channels, channels, stride, shortcut),
                         *[BasicBlock(channels, channels) for _ in range(count - 1)])


class ResidualStages(nn.Module):
    """BEVDet's residual backbone: the first block of a stage has a 3x3 convolution with bias as its shortcut.

    Args:
        in_channels: of the map [B C Y X].
        channels, blocks, strides: of each stage.
        block: two 3x3 convolutions (basic), or one between two of 1x1 at a quarter of the channels (bottleneck).
    """

    def __init__(self, in_channels: int, channels: Sequence[int], blocks: Sequence[int], strides: Sequence[int],
                 block: Block = "basic") -> None:
        super().__init__()
        if block not in ("basic", "bottleneck"):
            raise ValueError(f"block: expected basic or bottleneck, got {block!r}")
        kind = BasicBlock if block == "basic" else Bottleneck
        self.channels = tuple(channels)
        self.stages = nn.ModuleList()
        for width, count, stride in zip(channels, blocks, strides, strict=True):
            shortcut = nn.Conv2d(in_channels, width, 3, stride, padding=1)
            planes = width // kind.expansion
            self.stages.append(nn.Sequential(kind(in_channels, planes, stride, shortcut),
                                             *[kind(width, planes) for _ in range(count - 1)]))
            in_channels = width

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return tuple(maps)  # each [B C_i Y/s_i X/s_i]
