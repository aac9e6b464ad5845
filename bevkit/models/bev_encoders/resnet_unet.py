"""A ResNet-18 with skips on the BEV plane (Lift-Splat, FIERY, PowerBEV's single-frame variant)."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from bevkit.models.layers import residual_stage
from bevkit.registry import MODELS
from bevkit.structures.grid import BEVGrid


@MODELS.register_module()
class ResNetUNet(nn.Module):
    """Mixes a BEV map [B C Y X] over a wide neighbourhood and returns one of the same size and channels.

    A 7x7 convolution and three ResNet stages go down to an eighth of the size; three upsamplings, each adding what was
    there on the way down, come back.

    Args:
        grid: of the map; any will do, sizes follow the input.
        in_channels: C.
        stages: channels of the ResNet stages.
        blocks: residual blocks of each stage.
        norm_momentum: momentum of the batch norms.
    """

    def __init__(self, grid: BEVGrid, in_channels: int, stages: Sequence[int] = (64, 128, 256),
                 blocks: Sequence[int] = (2, 2, 2), norm_momentum: float = 0.1) -> None:
        super().__init__()
        self.channels = in_channels
        self.stem = nn.Sequential(nn.Conv2d(in_channels, stages[0], 7, 2, padding=3, bias=False),
                                  nn.BatchNorm2d(stages[0]), nn.ReLU(inplace=True))
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        before = stages[0]
        for index, (channels, count) in enumerate(zip(stages, blocks)):
            self.down.append(residual_stage(before, channels, count, stride=1 if index == 0 else 2))
            before = channels
        for coarse, fine in zip(reversed(stages), (*reversed(stages[:-1]), in_channels)):
            self.up.append(nn.Sequential(nn.Conv2d(coarse, fine, 1, bias=False), nn.BatchNorm2d(fine)))
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = norm_momentum

    def forward(self, bev: Tensor) -> Tensor:
        skips = [bev]
        x = self.stem(bev)
        for stage in self.down:
            x = stage(x)
            skips.append(x)  # [B C_i Y/2^i X/2^i]
        skips.pop()
        for mix in self.up:
            skip = skips.pop()
            x = skip + mix(F.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=False))
        return x
