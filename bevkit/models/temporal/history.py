"""Temporal fusion by a stack of maps that travels with the ego, each with its age."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bevkit.geometry.rigid import inverse
from bevkit.geometry.warp import affine_theta, warp_affine
from bevkit.models.temporal.base import RecurrentFusion
from bevkit.registry import MODELS
from bevkit.structures import BEVGrid, EgoMotion


class HistoryPlan(NamedTuple):
    """warp [B 2 3] or [B 3 4] moves the stack to the present, ages [B K+1] in seconds, present first; float32."""

    warp: Tensor
    ages: Tensor


@MODELS.register_module()
class HistoryStack(RecurrentFusion):
    """Warps a stack of the K last maps at each instant and joins them with the present (FB-BEV; SOLOFusion).

    Each of the K+1 maps gets a channel with its age, then a 1x1 convolution; all of them, the present first, a second
    one. As the authors have it the stack is resampled at each instant, so that old maps blur; `AlignAndStack` keeps
    maps as they were made and resamples each once.

    Args:
        grid: of the maps.
        in_channels: C times ``heights``.
        past: K.
        out_channels: C' of the result; C by default. The fused map has C' times ``heights`` channels.
        heights: Z. With more than one the channels are C features of Z voxels, C first, and the warp has three
            dimensions: ego motion lifts and tilts. TensorRT has no such resampling: only 1 exports.
        low_edge: take the value of a voxel to sit on its low edge, as the released FB-OCC weights have seen.
    """

    def __init__(self, grid: BEVGrid, in_channels: int, past: int = 16, out_channels: int | None = None,
                 heights: int = 1, low_edge: bool = False) -> None:
        super().__init__()
        if past < 1 or in_channels % heights:
            raise ValueError(f"expected past of 1 or more and heights that divide the {in_channels} channels, got "
                             f"past={past}, heights={heights}")
        channels = in_channels // heights
        out_channels = out_channels or channels
        self.grid, self.past, self.heights, self.low_edge = grid, past, heights, low_edge
        self.instants, self.memory, self.channels = past, past * in_channels, out_channels * heights
        self.time = _pointwise(channels + 1, channels)
        self.join = _pointwise(channels * (past + 1), out_channels)

    def plan(self, motion: EgoMotion) -> HistoryPlan:
        past, now = motion.global_from_ego[:, -2], motion.global_from_ego[:, -1]  # the stack lies in the last frame
        past_from_now = inverse(past) @ now
        if self.heights == 1:
            warp = affine_theta(past_from_now, self.grid.cells_from_metric_matrix(), self.grid.shape, self.low_edge)
        else:
            warp = self._warp_of_voxels(past_from_now)
        ages = (motion.timestamps[:, -1:] - motion.timestamps).flip(1)  # [B K+1]
        return HistoryPlan(warp.float(), ages.float())

    def _warp_of_voxels(self, past_from_now: Tensor) -> Tensor:
        """Plans `F.affine_grid` [B 3 4] for align_corners=False: coordinates -1 .. 1 from low to high edge."""
        normal_from_metric = torch.eye(4, dtype=past_from_now.dtype, device=past_from_now.device)
        cells = (*self.grid.shape[::-1], self.heights)  # X, Y, Z
        for axis, ((low, _, step), count) in enumerate(zip((self.grid.x, self.grid.y, self._z), cells)):
            normal_from_metric[axis, axis] = 2 / (step * count)
            normal_from_metric[axis, 3] = -2 * low / (step * count) - 1 + (1 / count if self.low_edge else 0)
        return (normal_from_metric @ past_from_now @ torch.linalg.inv(normal_from_metric))[:, :3]

    @property
    def _z(self) -> tuple[float, float, float]:
        low, high, _ = self.grid.z
        return low, high, (high - low) / self.heights

    def begin(self, bev: Tensor) -> Tensor:
        return bev.repeat(1, self.past, 1, 1)

    def forward(self, bev: Tensor, memory: Tensor,  # type: ignore[override]
                warp: Tensor, ages: Tensor) -> tuple[Tensor, Tensor]:
        present = bev.unsqueeze(1)  # [B 1 C*Z Y X]
        moved = self._warped(memory.float(), warp.float()).to(bev.dtype).unflatten(1, (self.past, -1))
        frames = torch.cat((present, moved), dim=1)  # [B K+1 C*Z Y X]
        voxels = self._voxels(frames.flatten(0, 1))  # [B*(K+1) C Z*Y X]
        times = ages.to(bev.dtype).flatten().view(-1, 1, 1, 1).expand(-1, 1, *voxels.shape[2:])
        voxels = self.time(torch.cat((voxels, times), dim=1)).unflatten(0, frames.shape[:2])
        fused = self.join(voxels.flatten(1, 2))  # [B C' Z*Y X]
        return fused.unflatten(2, (self.heights, -1)).flatten(1, 2), frames[:, :-1].flatten(1, 2)

    def _voxels(self, maps: Tensor) -> Tensor:
        """Lays the heights of [M C*Z Y X] below one another: [M C Z*Y X], which 2-D layers take."""
        return maps.unflatten(1, (-1, self.heights)).flatten(2, 3)

    def _warped(self, maps: Tensor, warp: Tensor) -> Tensor:
        if self.heights == 1:
            return warp_affine(maps, warp)
        voxels = maps.unflatten(1, (-1, self.heights))  # [B K*C Z Y X]
        places = F.affine_grid(warp, [len(maps), 1, *voxels.shape[2:]], align_corners=False)
        return F.grid_sample(voxels, places, align_corners=False).flatten(1, 2)


def _pointwise(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1), nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))
