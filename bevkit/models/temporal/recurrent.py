"""Temporal fusion by a memory that travels with the ego: one map, warped at each instant and joined with the new."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from bevkit.geometry.rigid import inverse
from bevkit.geometry.warp import affine_theta, warp_affine
from bevkit.models.temporal.base import RecurrentFusion
from bevkit.registry import MODELS
from bevkit.structures import BEVGrid, EgoMotion


class RecurrentPlan(NamedTuple):
    """theta [B 2 3] warps the memory to the present, elapsed [B] is its age in seconds; float32."""

    theta: Tensor
    elapsed: Tensor


@MODELS.register_module()
class RecurrentMemory(RecurrentFusion):
    """Fuses the map with one memory of all maps before (VideoBEV, Han et al., RA-L 2024, section III).

    ``memory_t = conv1x1([warp(memory_t-1); map_t])``. Beside it the time that passed is embedded: a map of seconds
    through a small network is joined with the embedding before, so that a head can tell a slow car seen often from a
    quick one seen after a missed frame. The paper gives it to the velocity head alone; so do `side_channels`.

    The paper leaves open how the convolution begins (as the mean of both maps), the width of the embedding
    (``time_channels``), its network (two 1x1 convolutions of the seconds), the convolution that joins two embeddings
    (1x1), and a scene's beginning (the present is its memory, no time has passed).

    Args:
        grid: of the maps.
        in_channels: C.
        time_channels: E of the embedding of time; 0 leaves it out.
    """

    def __init__(self, grid: BEVGrid, in_channels: int, time_channels: int = 0) -> None:
        super().__init__()
        self.grid, self.side_channels = grid, time_channels
        self.channels = self.memory = in_channels + time_channels
        self.fuse = nn.Conv2d(2 * in_channels, in_channels, 1)
        with torch.no_grad():  # a mean has the scale of a single map, so that a detector without a past is a good start
            self.fuse.weight.copy_(0.5 * torch.eye(in_channels).repeat(1, 2)[..., None, None])
            self.fuse.bias.zero_()
        if time_channels:
            self.embed = nn.Sequential(nn.Conv2d(1, time_channels, 1), nn.ReLU(inplace=True),
                                       nn.Conv2d(time_channels, time_channels, 1))
            self.join = nn.Conv2d(2 * time_channels, time_channels, 1)

    def plan(self, motion: EgoMotion) -> RecurrentPlan:
        past, now = motion.global_from_ego.unbind(dim=1)  # [B 4 4]
        theta = affine_theta(inverse(past) @ now, self.grid.cells_from_metric_matrix(), self.grid.shape)
        elapsed = motion.timestamps[:, 1] - motion.timestamps[:, 0]
        return RecurrentPlan(theta.float(), elapsed.float())

    def begin(self, bev: Tensor) -> Tensor:
        return torch.cat((bev, bev.new_zeros(len(bev), self.side_channels, *bev.shape[2:])), dim=1)

    def forward(self, bev: Tensor, memory: Tensor,  # type: ignore[override]
                theta: Tensor, elapsed: Tensor) -> tuple[Tensor, Tensor]:
        channels = bev.shape[1]
        # In float32 under mixed precision too: half a cell is lost where bfloat16 rounds the sampled positions.
        moved = warp_affine(memory[:, :channels].float(), theta.float()).to(bev.dtype)
        fused = self.fuse(torch.cat((moved, bev), dim=1))  # [B C Y X]
        if self.side_channels:
            seconds = elapsed.to(bev.dtype).view(-1, 1, 1, 1)  # one number a sample: the map would hold no other
            time = self.join(torch.cat((memory[:, channels:, :1, :1], self.embed(seconds)), dim=1))  # [B E 1 1]
            fused = torch.cat((fused, time.expand(-1, -1, *bev.shape[2:])), dim=1)  # [B C+E Y X]
        return fused, fused
