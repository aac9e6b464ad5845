"""BEVDet's network on the BEV plane: residual stages, the coarsest joined to the finest and brought to full size."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from bevkit.models.layers import ResidualStages
from bevkit.models.layers.residual import Block
from bevkit.registry import MODELS
from bevkit.structures import BEVGrid


@MODELS.register_module()
class ResidualFPN(nn.Module):
    """Mixes a BEV map [B C Y X] and returns one of the same size: BEVDet's CustomResNet and FPN-LSS.

    Args:
        grid: of the map, whose sides must be multiples of the coarsest stage's stride.
        in_channels: C.
        stages: channels of the residual stages.
        blocks, strides: of each stage.
        channels: of the result.
        block: as `ResidualStages` has it; FipTR's are bottlenecks.
    """

    def __init__(self, grid: BEVGrid, in_channels: int, stages: Sequence[int] = (160, 320, 640),
                 blocks: Sequence[int] = (2, 2, 2), strides: Sequence[int] = (2, 2, 2), channels: int = 256,
                 block: Block = "basic") -> None:
        super().__init__()
        if any(side % prod(strides) for side in grid.shape):
            raise ValueError(f"ResidualFPN: expected a grid whose sides are multiples of {prod(strides)} cells, got "
                             f"{grid.shape}; change the grid or the strides")
        self.channels = channels
        self.backbone = ResidualStages(in_channels, stages, blocks, strides, block)
        hidden = 2 * channels
        self.widen = _upsample(prod(strides[1:]))
        self.join = nn.Sequential(
            nn.Conv2d(stages[0] + stages[-1], hidden, 3, padding=1, bias=False), nn.BatchNorm2d(hidden),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, hidden, 3, padding=1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU(inplace=True))
        self.out = nn.Sequential(
            _upsample(strides[0]),
            nn.Conv2d(hidden, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 1))

    def forward(self, bev: Tensor) -> Tensor:
        fine, *_, coarse = self.backbone(bev)
        joined = self.join(torch.cat((fine, self.widen(coarse)), dim=1))  # [B 2*C' Y/s X/s]
        mixed: Tensor = self.out(joined)  # [B C' Y X]
        return mixed


def _upsample(scale: int) -> nn.Module:
    return nn.Upsample(scale_factor=scale, mode="bilinear", align_corners=True)
