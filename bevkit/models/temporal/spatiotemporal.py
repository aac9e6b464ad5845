"""Temporal fusion by stacking: past maps are moved under the present one and time is folded into channels."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from bevkit.geometry.rigid import inverse, motion_vector
from bevkit.geometry.warp import affine_theta, affine_theta_fiery, warp_affine
from bevkit.models.temporal.base import TemporalFusion
from bevkit.registry import MODELS
from bevkit.structures.grid import BEVGrid

Warp = Literal["exact", "fiery"]


class AlignPlan(NamedTuple):
    """theta [B S 2 3] warps past maps to the present (`warp_affine`), motion [B S+1 6] fills the planes; float32."""

    theta: Tensor
    motion: Tensor


@MODELS.register_module()
class AlignAndStack(TemporalFusion):
    """Moves past BEV maps into the present ego frame and stacks them with it, oldest first (PowerBEV, section 3.2).

    Each frame's C channels are followed by six constant planes with its ego motion (metres, radians) since the frame
    before, zeros for the oldest. The result is [B (S+1)*(C+6) Y X].

    Args:
        grid: of the BEV maps.
        in_channels: C, channels of one BEV map.
        past: S, number of past maps.
        ego_motion: append the six planes.
        warp: ``"exact"``, or ``"fiery"`` for the numerics that released FIERY and PowerBEV weights have seen.
    """

    def __init__(self, grid: BEVGrid, in_channels: int, past: int = 2, ego_motion: bool = True,
                 warp: Warp = "exact") -> None:
        super().__init__()
        if warp not in ("exact", "fiery"):
            raise ValueError(f"warp: expected 'exact' or 'fiery', got {warp!r}")
        self.grid, self.past, self.ego_motion, self.warp = grid, past, ego_motion, warp
        self.channels = (past + 1) * (in_channels + (6 if ego_motion else 0))

    def plan(self, global_from_ego: Tensor) -> AlignPlan:
        """Turns poses [B S+1 4 4] (oldest first, present last) into theta [B S 2 3] and motion [B S+1 6]."""
        past, now = global_from_ego[:, :-1], global_from_ego[:, -1:]
        next_from_this = inverse(global_from_ego[:, 1:]) @ past  # [B S 4 4]
        motion = torch.cat((now.new_zeros(len(now), 1, 6), motion_vector(next_from_this)), dim=1)
        if self.warp == "exact":
            theta = affine_theta(inverse(past) @ now, self.grid.cells_from_metric_matrix(), self.grid.shape)
        else:
            theta = affine_theta_fiery(accumulate_fiery(next_from_this), (self.grid.x[1], self.grid.y[1]))
        return AlignPlan(theta.float(), motion.float())

    def forward(self, bev: Tensor, past: Tensor,  # type: ignore[override]
                theta: Tensor, motion: Tensor) -> tuple[Tensor, Tensor]:
        frames = torch.cat((past, bev.unsqueeze(1)), dim=1)  # [B S+1 C Y X]
        next_past = frames[:, 1:]  # [B S C Y X]
        if self.past:
            # In float32 under mixed precision too: half a cell is lost where bfloat16 rounds the sampled positions.
            moved = warp_affine(past.flatten(0, 1).float(), theta.flatten(0, 1).float()).to(bev.dtype)  # [B*S C Y X]
            frames = torch.cat((moved.unflatten(0, past.shape[:2]), bev.unsqueeze(1)), dim=1)
        if self.ego_motion:
            planes = motion.to(bev.dtype)[..., None, None].expand(*motion.shape, *bev.shape[-2:])  # [B S+1 6 Y X]
            frames = torch.cat((frames, planes), dim=2)  # [B S+1 C+6 Y X]
        return frames.flatten(1, 2), next_past


def accumulate_fiery(next_from_this: Tensor) -> Tensor:
    """Accumulates motions [B S 4 4] to the present as FIERY does, earlier motions on the left: [B S 4 4].

    Exact only while the motions commute; the true ``now_from_past`` has the later motions on the left.
    """
    accumulated = [next_from_this[:, -1]] if next_from_this.shape[1] else []
    for index in range(next_from_this.shape[1] - 2, -1, -1):
        accumulated.append(next_from_this[:, index] @ accumulated[-1])
    return torch.stack(accumulated[::-1], dim=1) if accumulated else next_from_this
