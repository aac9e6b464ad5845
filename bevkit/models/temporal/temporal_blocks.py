"""Temporal fusion by convolutions over space and time (FIERY, ICCV 2021, "Learning a temporal representation")."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bevkit.models.layers import conv_norm_relu
from bevkit.models.temporal.base import WindowFusion
from bevkit.models.temporal.spatiotemporal import AlignAndStack, AlignPlan, Warp
from bevkit.registry import MODELS
from bevkit.structures import BEVGrid, EgoMotion


class TemporalBlock(nn.Module):
    """Mixes every frame of a sequence of maps with the one before it, and with means over both maps.

    Three paths of half the channels, a causal convolution over 2 frames x 3 x 3 cells, one over 3 x 3 cells, and one of
    single cells, are joined with the mean over both maps; a convolution of single cells aggregates them.

    Only two frames meet at a time, so that every convolution is two-dimensional, over both frames' channels.

    Args:
        in_channels, channels: C and C'.
        pool_window: rows and columns of the windows over which means are taken; None: the whole map is one.
    """

    def __init__(self, in_channels: int, channels: int, pool_window: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.pool_window = pool_window
        half, third = in_channels // 2, in_channels // 3
        self.reduce = nn.ModuleList(conv_norm_relu(in_channels, half, 1) for _ in range(3))
        self.motion = conv_norm_relu(2 * half, half, 3)
        self.space = conv_norm_relu(half, half, 3)
        self.pool = conv_norm_relu(in_channels, third, 1)
        self.aggregate = conv_norm_relu(3 * half + third, channels, 1)
        self.skip: nn.Module | None = None
        if in_channels != channels:
            self.skip = nn.Sequential(nn.Conv2d(in_channels, channels, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, maps: Tensor) -> Tensor:
        """Turns [B T C Y X], oldest first, into [B T' C' Y X] of the frames that have one before them, T' = T-1.

        In training of all, T' = T: few values pass the batch norm of the means, and those of the first frame count.
        """
        first = 0 if self.training else 1
        to_motion, to_space, to_cell = self.reduce
        motion = to_motion(maps.flatten(0, 1)).unflatten(0, maps.shape[:2])  # [B T C/2 Y X]
        motion = self.motion(with_previous(motion)[:, first:].flatten(0, 1))
        lead, frames = (len(maps), maps.shape[1] - first), maps[:, first:].flatten(0, 1)  # [B*T' C Y X]
        space, cell = self.space(to_space(frames)), to_cell(frames)
        means = mean_of_two(maps, self.pool_window)[:, first:]
        pooled = self.pool(means.flatten(0, 1))  # [B*T' C/3 rows columns] of windows
        if pooled.shape[-2:] == (1, 1):
            pooled = pooled.expand(-1, -1, *maps.shape[-2:])
        else:
            pooled = F.interpolate(pooled, size=maps.shape[-2:], mode="bilinear", align_corners=True)
        joined = self.aggregate(torch.cat((motion, space, cell, pooled), dim=1))  # [B*T' C' Y X]
        return (joined + (frames if self.skip is None else self.skip(frames))).unflatten(0, lead)


def with_previous(maps: Tensor) -> Tensor:
    """Puts before the channels of each frame those of the frame before, zeros for the first: [B T C Y X] -> 2C."""
    before = torch.cat((torch.zeros_like(maps[:, :1]), maps[:, :-1]), dim=1)
    return torch.cat((before, maps), dim=2)


def mean_of_two(maps: Tensor, window: tuple[int, int] | None = None) -> Tensor:
    """Averages each frame [B T C Y X] with the one before it, over all cells: [B T C 1 1]; the first one alone.

    With a window (rows, columns) over each of the windows that lie side by side from the first cell on; what is left
    over at the high edges counts nowhere.
    """
    if window is None:
        means = maps.mean(dim=(-2, -1), keepdim=True)
    else:
        means = F.avg_pool2d(maps.flatten(0, 1), window).unflatten(0, maps.shape[:2])
    return torch.cat((means[:, :1], 0.5 * (means[:, :-1] + means[:, 1:])), dim=1)


@MODELS.register_module()
class SpatioTemporalFusion(WindowFusion):
    """Moves past BEV maps under the present one and lets them meet in temporal blocks (FIERY, ICCV 2021).

    Each block looks one frame back; S of them, so that the present, whose map is returned, has seen all of the past.

    Args:
        grid: of the BEV maps.
        in_channels: C, channels of one BEV map.
        past: S, number of past maps, 1 or more.
        channels: C', of the fused map.
        ego_motion, warp: as in `AlignAndStack`.
        pool_window: rows and columns over which the blocks take means. None takes the whole map; FipTR's weights have
            seen windows smaller than their map.
        residual: add the map of the present to the result, as FipTR does; needs C' = C.
        norm_momentum: momentum of the batch norms.
    """

    def __init__(self, grid: BEVGrid, in_channels: int, past: int = 2, channels: int = 64, ego_motion: bool = True,
                 warp: Warp = "exact", pool_window: tuple[int, int] | None = None, residual: bool = False,
                 norm_momentum: float = 0.1) -> None:
        super().__init__()
        if residual and channels != in_channels:
            raise ValueError(f"residual: expected as many channels as the map of a frame has, {in_channels}, got "
                             f"{channels}")
        if pool_window is not None and any(map(int.__gt__, pool_window, grid.shape)):
            raise ValueError(f"pool_window: expected rows and columns on a map of {grid.shape}, got {pool_window}")
        if past < 1:
            raise ValueError(f"past: expected 1 past map or more, got {past}; a model of one frame has temporal=None")
        self.past, self.channels, self.warp, self.residual = past, channels, warp, residual
        self.pool_window = None if pool_window is None else tuple(pool_window)
        self.align = AlignAndStack(grid, in_channels, past, ego_motion, warp)
        widths = [self.align.channels // (past + 1), *[channels] * past]
        self.blocks = nn.Sequential(*[TemporalBlock(*pair, self.pool_window) for pair in zip(widths, widths[1:])])
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = norm_momentum

    def plan(self, motion: EgoMotion) -> AlignPlan:
        return self.align.plan(motion)

    def forward(self, bev: Tensor, past: Tensor, *plan: Tensor) -> Tensor:
        frames = self.align(bev, past, *plan).unflatten(1, (self.past + 1, -1))  # [B S+1 C+6 Y X]
        fused = self.blocks(frames)[:, -1]
        return fused + bev if self.residual else fused
