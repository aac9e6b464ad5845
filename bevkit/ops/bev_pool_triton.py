"""`bev_pool` on CUDA: one program sums one cell forward, one program serves one pixel backward; no atomics.

Imported only when a CUDA tensor arrives, because Triton is not everywhere. With TRITON_INTERPRET=1 the same kernels
run on CPU tensors, which is how they are tested where there is no GPU.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from bevkit.ops.bev_pool import PoolPlan, accumulator

TILE = 1024  # elements of the tile [points, channels] a program holds at a time: 32 a lane of one warp


def bev_pool_triton(depth: Tensor, context: Tensor, plan: PoolPlan, shape: tuple[int, int]) -> Tensor:
    """Computes `bev_pool` with operands and plan on one CUDA device."""
    bev: Tensor = _IntervalPool.apply(depth.contiguous(), context, *plan, shape)
    return bev


def _blocks(channels: int) -> dict[str, int]:
    lanes = triton.next_power_of_2(channels)
    return dict(LANES=lanes, POINTS=max(1, min(32, TILE // lanes)), num_warps=1 if lanes <= 128 else 4)


def _element(dtype: torch.dtype) -> Any:
    return tl.float64 if dtype == torch.float64 else tl.float32


class _IntervalPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, depth: Tensor, context: Tensor, cells: Tensor, points: Tensor, pixels: Tensor,
                starts: Tensor, shape: tuple[int, int]) -> Tensor:
        dtype, result = accumulator(depth, context)
        channels = context.shape[1]
        rows = context.permute(0, 2, 3, 1).contiguous()  # [V H W C]
        bev = torch.empty(cells.shape[0], *shape, channels, dtype=result, device=depth.device)
        _sum_cells[(len(starts) - 1,)](depth, rows, points, pixels, starts, bev, channels, ACC=_element(dtype),
                                       **_blocks(channels))
        ctx.save_for_backward(depth, rows, cells)
        return bev.permute(0, 3, 1, 2)  # [M C Y X]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        depth, rows, cells = ctx.saved_tensors
        rigs, cameras, depths, height, width = cells.shape
        channels, area = rows.shape[-1], grad.shape[2] * grad.shape[3]
        grad_rows = grad.permute(0, 2, 3, 1).contiguous()  # [M Y X C]
        grad_depth, grad_context = torch.empty_like(depth), torch.empty_like(rows)
        # Each program writes the D gradients of depth and the C of context that belong to its own pixel.
        _spread_pixels[(rigs * cameras * height * width,)](
            depth, rows, cells, grad_rows, grad_depth, grad_context, cameras, depths, height * width, channels, area,
            ACC=_element(accumulator(depth, rows)[0]), **_blocks(channels))
        return grad_depth, grad_context.permute(0, 3, 1, 2), None, None, None, None, None


@triton.jit
def _sum_cells(depth, rows, points, pixels, starts, bev, channels, ACC: tl.constexpr, LANES: tl.constexpr,
               POINTS: tl.constexpr):  # type: ignore[no-untyped-def]
    """Cell c of all maps: bev[c] = sum over its points p of depth[p] * rows[pixel of p]."""
    cell = tl.program_id(0)
    lane = tl.arange(0, LANES)
    begin, end = tl.load(starts + cell), tl.load(starts + cell + 1)
    total = tl.zeros((LANES,), dtype=ACC)
    for first in range(begin, end, POINTS):
        entry = first + tl.arange(0, POINTS)
        mine = entry < end
        weight = tl.load(depth + tl.load(points + entry, mask=mine, other=0), mask=mine, other=0).to(ACC)
        pixel = tl.load(pixels + entry, mask=mine, other=0).to(tl.int64)
        tile = tl.load(rows + pixel[:, None] * channels + lane[None, :],
                       mask=mine[:, None] & (lane < channels)[None, :], other=0).to(ACC)
        total += tl.sum(weight[:, None] * tile, axis=0)
    tl.store(bev + cell.to(tl.int64) * channels + lane, total.to(bev.dtype.element_ty), mask=lane < channels)


@triton.jit
def _spread_pixels(depth, rows, cells, grad_rows, grad_depth, grad_context, cameras, depths, pixels, channels, area,
                   ACC: tl.constexpr, LANES: tl.constexpr, POINTS: tl.constexpr):  # type: ignore[no-untyped-def]
    """Pixel p: grad_context[p] = sum over d of depth[d, p] * grad[cell], grad_depth[d, p] = rows[p] . grad[cell]."""
    pixel = tl.program_id(0).to(tl.int64)
    lane = tl.arange(0, LANES)
    view = pixel // pixels
    first_point = view * depths * pixels + pixel % pixels
    first_cell = view // cameras * area
    row = tl.load(rows + pixel * channels + lane, mask=lane < channels, other=0).to(ACC)
    total = tl.zeros((LANES,), dtype=ACC)
    for first in range(0, depths, POINTS):
        index = first + tl.arange(0, POINTS)
        point = first_point + index * pixels
        cell = tl.load(cells + point, mask=index < depths, other=-1)
        mine = cell >= 0
        weight = tl.load(depth + point, mask=mine, other=0).to(ACC)
        tile = tl.load(grad_rows + (first_cell + cell)[:, None] * channels + lane[None, :],
                       mask=mine[:, None] & (lane < channels)[None, :], other=0).to(ACC)
        total += tl.sum(weight[:, None] * tile, axis=0)
        product = tl.sum(row[None, :] * tile, axis=1)  # 0 off the grid, as the gradient is
        tl.store(grad_depth + point, product.to(grad_depth.dtype.element_ty), mask=index < depths)
    tl.store(grad_context + pixel * channels + lane, total.to(grad_context.dtype.element_ty), mask=lane < channels)
