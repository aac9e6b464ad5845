"""BEVDepth's network on the BEV plane: a ResNet whose every level is brought back to full size and joined."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from operator import mul

from torch import Tensor, nn

from bevkit.models.layers import PyramidConcat, residual_stage
from bevkit.registry import MODELS
from bevkit.structures import BEVGrid


@MODELS.register_module()
class ResNetPyramid(nn.Module):
    """Mixes a BEV map [B C Y X] over wide neighbourhoods and returns one of the same size (BEVDepth's trunk and neck).

    A 7x7 convolution of stride 2 and ResNet stages go down; the map itself and every stage are resized to the map's
    size (`PyramidConcat`) and joined.

    Args:
        grid: of the map, whose sides must be multiples of the coarsest stage's stride.
        in_channels: C.
        stages: channels of the ResNet stages.
        blocks, strides: of each stage.
        level_channels: that the map and each stage contribute to the result.
    """

    def __init__(self, grid: BEVGrid, in_channels: int, stages: Sequence[int] = (160, 320, 640),
                 blocks: Sequence[int] = (2, 2, 2), strides: Sequence[int] = (1, 2, 2),
                 level_channels: Sequence[int] = (64, 64, 64, 64)) -> None:
        super().__init__()
        scales = [1, *accumulate(strides, mul, initial=2)]
        del scales[1]  # the stem itself gives no level
        if any(side % scales[-1] for side in grid.shape):
            raise ValueError(f"ResNetPyramid: expected a grid whose sides are multiples of {scales[-1]} cells, got "
                             f"{grid.shape}; change the grid or the strides")
        self.stem = nn.Sequential(nn.Conv2d(in_channels, stages[0], 7, 2, padding=3, bias=False),
                                  nn.BatchNorm2d(stages[0]), nn.ReLU(inplace=True))
        self.stages = nn.ModuleList()
        before = stages[0]
        for channels, count, stride in zip(stages, blocks, strides, strict=True):
            self.stages.append(residual_stage(before, channels, count, stride))
            before = channels
        self.pyramid = PyramidConcat((in_channels, *stages), scales, level_channels)
        self.channels, self.scales = self.pyramid.channels, tuple(scales)

    def forward(self, bev: Tensor) -> Tensor:
        levels, x = [bev], self.stem(bev)
        for stage in self.stages:
            x = stage(x)
            levels.append(x)  # [B C_i Y/s_i X/s_i]
        return self.pyramid(levels)
