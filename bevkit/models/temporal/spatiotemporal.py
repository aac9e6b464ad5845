"""Temporal fusion by stacking: past maps are moved under the present one and time is folded into channels."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from bevkit.geometry.rigid import inverse, motion_vector
from bevkit.geometry.warp import affine_theta, affine_theta_fiery, affine_theta_fiptr, expect_centred, warp_affine
from bevkit.models.temporal.base import WindowFusion
from bevkit.registry import MODELS
from bevkit.structures import BEVGrid, EgoMotion

Warp = Literal["exact", "fiery", "fiptr", "low_edge"]
Order = Literal["oldest_first", "newest_first"]


class AlignPlan(NamedTuple):
    """theta [B S 2 3] warps past maps to the present (`warp_affine`), motion [B S+1 6] fills the planes; float32."""

    theta: Tensor
    motion: Tensor


@MODELS.register_module()
class AlignAndStack(WindowFusion):
    """Moves past BEV maps into the present ego frame and stacks them with it (PowerBEV, section 3.2; BEVDet4D).

    Each frame's C channels are followed by six constant planes with its ego motion (metres, radians) since the frame
    before, zeros for the oldest. The result is [B (S+1)*(C+6) Y X].

    BEVDet4D (Huang and Huang, 2022) is ``ego_motion=False, order="newest_first"``: how the ego moved it must see.

    Args:
        grid: of the BEV maps.
        in_channels: C, channels of one BEV map.
        past: S, number of past maps.
        ego_motion: append the six planes.
        warp: ``"exact"``, or what released weights have seen: ``"fiery"`` (FIERY, PowerBEV), ``"fiptr"`` (FipTR),
            ``"low_edge"`` (BEVDet4D).
        order: ``"oldest_first"``, the present last, or ``"newest_first"``.
    """

    def __init__(self, grid: BEVGrid, in_channels: int, past: int = 2, ego_motion: bool = True,
                 warp: Warp = "exact", order: Order = "oldest_first") -> None:
        super().__init__()
        if warp not in get_args(Warp) or order not in get_args(Order):
            raise ValueError(f"expected warp in {get_args(Warp)} and order in {get_args(Order)}, got warp={warp!r}, "
                             f"order={order!r}")
        if warp in ("fiery", "fiptr"):
            expect_centred(f"warp={warp!r}", (grid.x, grid.y), 'use warp="exact"')
        self.grid, self.past, self.ego_motion, self.warp, self.order = grid, past, ego_motion, warp, order
        self.channels = (past + 1) * (in_channels + (6 if ego_motion else 0))

    def plan(self, motion: EgoMotion) -> AlignPlan:
        global_from_ego = motion.global_from_ego  # [B S+1 4 4]
        past, now = global_from_ego[:, :-1], global_from_ego[:, -1:]
        next_from_this = inverse(global_from_ego[:, 1:]) @ past  # [B S 4 4]
        steps = torch.cat((now.new_zeros(len(now), 1, 6), motion_vector(next_from_this)), dim=1)
        if self.warp == "fiery":
            theta = affine_theta_fiery(accumulate_fiery(next_from_this), (self.grid.x[1], self.grid.y[1]))
        elif self.warp == "fiptr":
            theta = affine_theta_fiptr(accumulate_fiery(next_from_this), (self.grid.x, self.grid.y))
        else:
            theta = affine_theta(inverse(past) @ now, self.grid.cells_from_metric_matrix(), self.grid.shape,
                                 low_edge=self.warp == "low_edge")
        return AlignPlan(theta.float(), steps.float())

    def forward(self, bev: Tensor, past: Tensor,  # type: ignore[override]
                theta: Tensor, motion: Tensor) -> Tensor:
        frames = bev.unsqueeze(1)  # [B 1 C Y X]
        if self.past:
            # In float32 under mixed precision too: half a cell is lost where bfloat16 rounds the sampled positions.
            moved = warp_affine(past.flatten(0, 1).float(), theta.flatten(0, 1).float()).to(bev.dtype)  # [B*S C Y X]
            frames = torch.cat((moved.unflatten(0, past.shape[:2]), frames), dim=1)  # [B S+1 C Y X]
        if self.ego_motion:
            planes = motion.to(bev.dtype)[..., None, None].expand(*motion.shape, *bev.shape[-2:])  # [B S+1 6 Y X]
            frames = torch.cat((frames, planes), dim=2)  # [B S+1 C+6 Y X]
        if self.order == "newest_first":
            frames = frames.flip(1)
        return frames.flatten(1, 2)


def accumulate_fiery(next_from_this: Tensor) -> Tensor:
    """Accumulates motions [B S 4 4] to the present as FIERY does, earlier motions on the left: [B S 4 4].

    Exact only while the motions commute; the true ``now_from_past`` has the later motions on the left.
    """
    accumulated = [next_from_this[:, -1]] if next_from_this.shape[1] else []
    for index in range(next_from_this.shape[1] - 2, -1, -1):
        accumulated.append(next_from_this[:, index] @ accumulated[-1])
    return torch.stack(accumulated[::-1], dim=1) if accumulated else next_from_this
