"""Necks: from a backbone's pyramid to the features that are lifted."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bevkit.registry import MODELS


@MODELS.register_module()
class UpsampleConcat(nn.Module):
    """Brings the coarser of two feature maps to the finer one's size and mixes both (Lift-Splat, FIERY, PowerBEV).

    Args:
        in_channels: channels of the two maps, finest first.
        in_strides: their strides; the output has the first.
        out_channels: channels of the one output.
        norm_momentum: momentum of the batch norms.
    """

    def __init__(self, in_channels: Sequence[int], in_strides: Sequence[int], out_channels: int = 128,
                 norm_momentum: float = 0.1) -> None:
        super().__init__()
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
        coarse = F.interpolate(coarse, size=fine.shape[-2:], mode="bilinear", align_corners=False)
        return (self.mix(torch.cat((fine, coarse), dim=1)),)  # [M C H W]
