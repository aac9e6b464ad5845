"""Atrous spatial pyramid pooling: looks at neighbourhoods of several widths at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ASPP(nn.Module):
    """Joins convolutions of several dilations and the mean of the whole map (DeepLab v3, Chen et al. 2017).

    Args:
        channels: C of the maps [V C H W] that come and go.
        dilations: of the branches; the branch of dilation 1 is a 1x1 convolution.
        dropout: rate at the end.
    """

    def __init__(self, channels: int, dilations: Sequence[int] = (1, 6, 12, 18), dropout: float = 0.5) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            _conv_norm(channels, channels, 1 if dilation == 1 else 3, dilation) for dilation in dilations)
        self.whole = _conv_norm(channels, channels, 1)
        self.join = _conv_norm(channels * (len(dilations) + 1), channels, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, maps: Tensor) -> Tensor:
        whole = self.whole(F.adaptive_avg_pool2d(maps, 1)).expand_as(maps)
        joined: Tensor = self.join(torch.cat((*(branch(maps) for branch in self.branches), whole), dim=1))
        return self.dropout(joined)


def _conv_norm(in_channels: int, channels: int, kernel: int, dilation: int = 1) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    return nn.Sequential(nn.Conv2d(in_channels, channels, kernel, padding=padding, dilation=dilation, bias=False),
                         nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
