"""The residual blocks and the spatio-temporal U-Net of PowerBEV (IJCAI 2023, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bevkit.models.layers import even_sized

Scale = Literal["same", "down", "up"]


class ResidualBlock(nn.Module):
    """Adds to a map a convolved copy of it, at the same, half or twice the size; the sum itself is not rectified."""

    def __init__(self, in_channels: int, out_channels: int, scale: Scale = "same", norm_momentum: float = 0.1) -> None:
        super().__init__()
        self.scale = scale
        self.conv: nn.Module
        if scale == "up":
            self.conv = nn.ConvTranspose2d(in_channels, out_channels, 3, 2, padding=1, output_padding=1, bias=False)
        else:
            self.conv = nn.Conv2d(in_channels, out_channels, 3, 2 if scale == "down" else 1, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels, momentum=norm_momentum)
        self.skip: nn.Module | None = None
        if in_channels != out_channels or scale != "same":
            self.skip = nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, bias=False),
                                      nn.BatchNorm2d(out_channels, momentum=norm_momentum))

    def forward(self, x: Tensor) -> Tensor:
        branch = F.leaky_relu(self.norm(self.conv(x)), 0.01)
        if self.scale == "down":
            x = F.max_pool2d(even_sized(x), 2)  # odd sizes round up, as in the branch
        elif self.scale == "up":
            x = F.interpolate(x, size=branch.shape[-2:], mode="bilinear", align_corners=False)
        return branch + (x if self.skip is None else self.skip(x))


class SpatioTemporalUNet(nn.Module):
    """Turns a map with T past frames in its channels into one with T' future frames, at the same size.

    Time lives in channels everywhere (frame-major), so every layer is two-dimensional. An encoder halves the map once
    a level, a predictor at each level goes from T to T' frames, a decoder climbs back up.

    Args:
        in_channels: of the input map, all frames together.
        in_frames, out_frames: T and T'.
        num_features: channels per frame of each level, finest first.
        out_channels: channels per frame of the output.
        num_blocks: residual blocks a level of encoder and decoder.
        norm_momentum: momentum of the batch norms.
    """

    def __init__(self, in_channels: int, in_frames: int, out_frames: int, num_features: Sequence[int],
                 out_channels: int, num_blocks: int = 3, norm_momentum: float = 0.1) -> None:
        super().__init__()
        self.out_frames = out_frames
        self.encoder, self.predictor, self.decoder = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        before = in_channels
        for features in num_features:
            past, future = features * in_frames, features * out_frames
            self.encoder.append(_chain([before, *[past] * num_blocks], norm_momentum, down=num_blocks - 1))
            self.predictor.append(_chain([past, past, past, future, future, future], norm_momentum))
            before = past
        after = [out_channels, *num_features[:-1]]  # what each level hands on to the next finer one
        for features, finer in zip(reversed(num_features), reversed(after)):
            channels = [2 * features * out_frames, *[finer * out_frames] * num_blocks]
            self.decoder.append(_chain(channels, norm_momentum, up=0))

    def forward(self, x: Tensor) -> Tensor:
        """Turns [B C Y X] into [B T' C' Y X]."""
        size = x.shape[-2:]
        levels = []
        for encode, predict in zip(self.encoder, self.predictor):
            x = encode(x)
            levels.append(predict(x))  # [B T'*C Y/2^i X/2^i]
        y = levels[-1]
        for decode, level in zip(self.decoder, reversed(levels)):
            y = decode(torch.cat((_resized(y, level.shape[-2:]), level), dim=1))
        return _resized(y, size).unflatten(1, (self.out_frames, -1))


class FrameHead(nn.Sequential):
    """Turns a map of one frame [M C Y X] into K numbers a cell: four residual blocks and a convolution."""

    def __init__(self, in_channels: int, out_channels: int, norm_momentum: float = 0.1) -> None:
        half, quarter = in_channels // 2, in_channels // 4
        channels = (in_channels, half, half, quarter, quarter)
        blocks = [ResidualBlock(a, b, norm_momentum=norm_momentum) for a, b in zip(channels, channels[1:])]
        super().__init__(*blocks, nn.Conv2d(quarter, out_channels, 3, padding=1))


def _chain(channels: Sequence[int], norm_momentum: float, down: int = -1, up: int = -1) -> nn.Sequential:
    def scale(index: int) -> Scale:
        return "down" if index == down else "up" if index == up else "same"
    return nn.Sequential(*[ResidualBlock(a, b, scale(index), norm_momentum)
                           for index, (a, b) in enumerate(zip(channels, channels[1:]))])


def _resized(x: Tensor, size: Sequence[int]) -> Tensor:
    if x.shape[-2:] == tuple(size):
        return x
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=True)  # aligned corners: the authors'
