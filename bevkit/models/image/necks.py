"""Necks: from a backbone's pyramid to the features that are lifted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bevkit.models.layers import PyramidConcat
from bevkit.registry import MODELS

Extra = Literal["conv", "every_second"]


@MODELS.register_module()
class UpsampleConcat(nn.Module):
    """Brings the coarser of two feature maps to the finer one's size and mixes both (Lift-Splat, FIERY, FipTR).

    Args:
        in_channels: channels of the two maps, finest first.
        in_strides: their strides; the output has the first.
        out_channels: channels of the one output.
        norm_momentum: momentum of the batch norms.
        align_corners: lay the outermost cells of both maps on one another, not their edges, as FipTR's weights have
            seen.
    """

    def __init__(self, in_channels: Sequence[int], in_strides: Sequence[int], out_channels: int = 128,
                 norm_momentum: float = 0.1, align_corners: bool = False) -> None:
        super().__init__()
        self.align_corners = align_corners
        if len(in_channels) != 2:
            raise ValueError(f"UpsampleConcat: expected two feature maps, got {len(in_channels)}; "
                             "give the backbone two out_strides")
        self.channels = (out_channels,)
        self.strides = (in_strides[0],)
        self.mix = nn.Sequential(
            nn.Conv2d(sum(in_channels), out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels, momentum=norm_momentum),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels, momentum=norm_momentum),
            nn.ReLU(inplace=True),
        )

    def forward(self, features: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        fine, coarse = features
        coarse = F.interpolate(coarse, size=fine.shape[-2:], mode="bilinear", align_corners=self.align_corners)
        return (self.mix(torch.cat((fine, coarse), dim=1)),)  # [M C H W]


@MODELS.register_module()
class SecondFPN(PyramidConcat):
    """Brings every level of a pyramid to one stride and joins them on the channels (BEVDepth's image neck).

    Args:
        in_channels: channels of the levels, finest first.
        in_strides: their strides.
        out_channels: that each level contributes.
        out_stride: of the one output.
    """

    def __init__(self, in_channels: Sequence[int], in_strides: Sequence[int],
                 out_channels: Sequence[int] = (128, 128, 128, 128), out_stride: int = 16) -> None:
        super().__init__(in_channels, [stride / out_stride for stride in in_strides], out_channels)
        self.channels: tuple[int, ...] = (sum(out_channels),)  # type: ignore[assignment]
        self.strides = (out_stride,)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:  # type: ignore[override]
        return (super().forward(features),)  # [M C H W]


@MODELS.register_module()
class FPN(nn.Module):
    """Lets coarse levels of a pyramid speak to the finer ones (Lin et al., CVPR 2017), without norms.

    Args:
        in_channels: channels of the levels, finest first.
        in_strides: their strides.
        out_channels: of every output.
        outputs: how many of the levels are given out, finest first; None = all. BEVDet gives out the finest alone.
        extra_levels: further levels, each half the size of the one before; needs all outputs.
        extra: how they are made: by 3x3 ``"conv"`` (BEVFormer), or of ``"every_second"`` cell as it is (SparseBEV).
    """

    def __init__(self, in_channels: Sequence[int], in_strides: Sequence[int], out_channels: int = 256,
                 outputs: int | None = None, extra_levels: int = 0, extra: Extra = "conv") -> None:
        super().__init__()
        if extra not in get_args(Extra):
            raise ValueError(f"extra: expected one of {get_args(Extra)}, got {extra!r}")
        count = len(in_channels) if outputs is None else outputs
        if not 1 <= count <= len(in_channels) or (extra_levels and count < len(in_channels)):
            raise ValueError(f"FPN: expected 1 to {len(in_channels)} outputs, all of them for extra levels, got "
                             f"outputs={outputs}, extra_levels={extra_levels}")
        self.strides = (*in_strides[:count], *(in_strides[-1] * 2 ** (i + 1) for i in range(extra_levels)))
        self.channels = (out_channels,) * len(self.strides)
        self.lateral = nn.ModuleList(nn.Conv2d(channels, out_channels, 1) for channels in in_channels)
        self.out = nn.ModuleList(nn.Conv2d(out_channels, out_channels, 3, padding=1) for _ in range(count))
        learned = extra == "conv"
        self.extra = nn.ModuleList(
            nn.Conv2d(out_channels, out_channels, 3, 2, padding=1) if learned else nn.MaxPool2d(1, 2)
            for _ in range(extra_levels))

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        maps = [conv(part) for conv, part in zip(self.lateral, features, strict=True)]
        for level in reversed(range(len(maps) - 1)):
            coarse = F.interpolate(maps[level + 1], size=maps[level].shape[-2:], mode="nearest")
            maps[level] = maps[level] + coarse  # [M C H W]
        outputs = [conv(part) for conv, part in zip(self.out, maps)]
        for index, halved in enumerate(self.extra):
            rectified = index > 0 and isinstance(halved, nn.Conv2d)
            outputs.append(halved(F.relu(outputs[-1]) if rectified else outputs[-1]))  # [M C H/2 W/2]
        return tuple(outputs)
