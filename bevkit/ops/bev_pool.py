"""Sums depth-weighted image features per BEV cell, never building the lifted [N D H W C] tensor.

The sum of Lift-Splat-Shoot (Philion & Fidler, ECCV 2020, section 3.2): the feature of pixel p counts in the cell of
its point at depth d with weight depth[d, p]. Which point falls into which cell is calibration and stands in a plan;
depth and features come from weights. Four forms give the same values and gradients:

* `bev_pool_reference`: a few clear lines, which do build the lifted tensor;
* `bev_pool`: the fast form, on the CPU by `bev_pool_cpu`, on CUDA by the Triton kernels of `bev_pool_triton`;
* `bev_pool_tables` (its own file): standard ONNX operators only, for export.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import NamedTuple

import torch
from torch import Tensor

from bevkit.checks import Axes, expect

HAS_TRITON = find_spec("triton") is not None  # looked up, not imported


class PoolPlan(NamedTuple):
    """Which point falls into which cell; fixed shapes for M rigs of N cameras. P = M*N*D*H*W points in all.

    Attributes:
        cells: [M N D H W] int32, row-major cell of each point in its own rig's map; -1 = off the grid.
        points: [P] int32, flat indices of ``cells`` sorted by cell (by point inside a cell); those off the grid last.
        pixels: [P] int32, the pixel (flat index into [M N H W]) of each of ``points``.
        starts: [M*Y*X + 1] int32, cell c of rig m owns the points from starts[m*Y*X + c] up to the next start.
    """

    cells: Tensor
    points: Tensor
    pixels: Tensor
    starts: Tensor


def plan_bev_pool(cells: Tensor, shape: tuple[int, int]) -> PoolPlan:
    """Sorts points by cell: cells [M N D H W] (integers, -1 = off the grid), shape = (Y, X) of the map."""
    axes = expect("cells", cells, "M N D H W")
    area = shape[0] * shape[1]
    total = axes["M"] * area
    if max(cells.numel(), total) >= 2**31:
        raise ValueError(f"cells: expected fewer than 2^31 points and cells, got {cells.numel()} points and "
                         f"{total} cells; plan fewer rigs at once")
    cells = cells.to(torch.int32).contiguous()
    # The key of a point is its cell in the maps of all rigs laid end to end; `total` gathers those off the grid.
    keys = torch.where(cells < 0, total, cells + first_cells(axes, area, cells.device)).flatten()
    keys, points = keys.sort(stable=True)
    starts = torch.searchsorted(keys, torch.arange(total + 1, dtype=torch.int32, device=cells.device), out_int32=True)
    points = points.to(torch.int32)
    area, volume = axes["H"] * axes["W"], axes["D"] * axes["H"] * axes["W"]
    pixels = points.div(volume, rounding_mode="floor") * area + points % area
    return PoolPlan(cells, points, pixels, starts)


def first_cells(axes: Axes, area: int, device: torch.device) -> Tensor:
    """Returns the number [M 1 1 1 1] (int32) of each rig's first cell in the maps of all rigs laid end to end."""
    return torch.arange(axes["M"], dtype=torch.int32, device=device).mul(area).view(-1, 1, 1, 1, 1)


def check_operands(depth: Tensor, context: Tensor, axes: Axes) -> Axes:
    """Binds the letters of depth [M*N D H W] and context [M*N C H W] to those of a plan."""
    axes = {**axes, "V": axes["M"] * axes["N"]}  # views: the cameras of all rigs
    return expect("context", context, "V C H W", expect("depth", depth, "V D H W", axes))


def accumulator(depth: Tensor, context: Tensor) -> tuple[torch.dtype, torch.dtype]:
    """Returns the dtypes in which sums are taken (at least float32) and given back (the wider of the operands')."""
    result = torch.promote_types(depth.dtype, context.dtype)
    return (torch.float32 if result in (torch.float16, torch.bfloat16) else result), result


def bev_pool_reference(depth: Tensor, context: Tensor, cells: Tensor, shape: tuple[int, int]) -> Tensor:
    """Sums depth [M*N D H W] times context [M*N C H W] per cell [M N D H W] into a map [M C Y X]: slow and clear."""
    axes = check_operands(depth, context, expect("cells", cells, "M N D H W"))
    dtype, result = accumulator(depth, context)
    area = shape[0] * shape[1]
    lifted = depth.to(dtype).unsqueeze(-1) * context.to(dtype).permute(0, 2, 3, 1).unsqueeze(1)  # [V D H W C]
    on_grid = cells >= 0  # [M N D H W]
    rows = (cells + first_cells(axes, area, cells.device))[on_grid]
    bev = lifted.new_zeros(axes["M"] * area, axes["C"])
    bev = bev.index_add(0, rows, lifted.view(*cells.shape, -1)[on_grid])
    return bev.view(axes["M"], *shape, -1).permute(0, 3, 1, 2).to(result)  # [M C Y X]


def bev_pool(depth: Tensor, context: Tensor, plan: PoolPlan, shape: tuple[int, int]) -> Tensor:
    """Sums depth-weighted features per BEV cell.

    Sums are taken in float32 (float64 for float64 operands) in the order of ``plan.points``, forward and backward, so
    that a result repeats bit for bit. Differentiable once in depth and context.

    Args:
        depth: [M*N D H W] weight of each point.
        context: [M*N C H W] feature of each pixel.
        plan: from `plan_bev_pool`, on the same device.
        shape: rows and columns (Y, X) of the map.

    Returns:
        [M C Y X] in memory format channels last, in the wider dtype of depth and context.
    """
    check_operands(depth, context, expect("plan.cells", plan.cells, "M N D H W"))
    expect("plan.starts", plan.starts, f"{plan.cells.shape[0] * shape[0] * shape[1] + 1}")
    if depth.device != plan.cells.device:
        raise ValueError(f"plan: expected on {depth.device} as the features are, got {plan.cells.device}; "
                         f"move the rig there before plan()")
    if depth.device.type == "cpu":
        from bevkit.ops.bev_pool_cpu import bev_pool_cpu

        return bev_pool_cpu(depth, context, plan, shape)
    if depth.device.type == "cuda" and HAS_TRITON:
        from bevkit.ops.bev_pool_triton import bev_pool_triton

        return bev_pool_triton(depth, context, plan, shape)
    return bev_pool_reference(depth, context, plan.cells, shape)


@dataclass(frozen=True)
class SortedPooling:
    """`bev_pool` with its plan: for training and for running in PyTorch, any calibration."""

    shape: tuple[int, int]

    def plan(self, cells: Tensor) -> PoolPlan:
        return plan_bev_pool(cells, self.shape)

    def __call__(self, depth: Tensor, context: Tensor, *plan: Tensor) -> Tensor:
        return bev_pool(depth, context, PoolPlan(*plan), self.shape)
