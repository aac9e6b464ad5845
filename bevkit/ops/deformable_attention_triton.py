"""`deformable_attention` on CUDA: one program serves a few queries of one group, forward and backward.

Imported only when a CUDA tensor arrives, because Triton is not everywhere. With TRITON_INTERPRET=1 the same kernels
run on CPU tensors, which is how they are tested where there is no GPU.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from bevkit.ops.deformable_attention import Shapes

TILE = 512  # elements of the tile [queries, channels] a program holds at a time


def deformable_attention_triton(values: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor) -> Tensor:
    """Computes `deformable_attention` with operands on one CUDA device."""
    rows, first = [], 0
    for height, width in shapes:
        rows.append((height, width, first))
        first += height * width
    levels = torch.tensor(rows, dtype=torch.int32).to(values.device)  # [L 3]
    result: Tensor = _Deformable.apply(values.contiguous(), levels, locations.contiguous(), weights.contiguous())
    return result


def _blocks(channels: int) -> dict[str, int]:
    lanes = triton.next_power_of_2(channels)
    return dict(LANES=lanes, QUERIES=max(1, min(16, TILE // lanes)), num_warps=4 if lanes > 128 else 2)


class _Deformable(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, levels: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
        batch, cells, groups, channels = values.shape
        queries, samples = locations.shape[1], locations.shape[3]
        blocks = _blocks(channels)
        result = torch.empty(batch, queries, groups * channels, dtype=values.dtype, device=values.device)
        launch = (triton.cdiv(queries, blocks["QUERIES"]), batch * groups)
        accumulator = tl.float64 if values.dtype == torch.float64 else tl.float32
        _gather[launch](values, levels, locations, weights, result, cells, groups, channels, queries, samples,
                        samples // len(levels), ACC=accumulator, **blocks)
        ctx.save_for_backward(values, levels, locations, weights)
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        values, levels, locations, weights = ctx.saved_tensors
        batch, cells, groups, channels = values.shape
        queries, samples = locations.shape[1], locations.shape[3]
        blocks = _blocks(channels)
        wide = torch.promote_types(values.dtype, torch.float32)  # many small addends: never summed in half precision
        grad_values = torch.zeros(values.shape, dtype=wide, device=values.device)
        grad_locations, grad_weights = torch.empty_like(locations), torch.empty_like(weights)
        launch = (triton.cdiv(queries, blocks["QUERIES"]), batch * groups)
        _scatter[launch](values, levels, locations, weights, grad.contiguous(), grad_values, grad_locations,
                         grad_weights, cells, groups, channels, queries, samples, samples // len(levels),
                         ACC=tl.float64 if wide == torch.float64 else tl.float32, **blocks)
        return grad_values.to(values.dtype), None, grad_locations, grad_weights


@triton.jit
def _cell(location, size, mine, ACC: tl.constexpr):  # type: ignore[no-untyped-def]
    """The cell before a place on an axis of ``size`` cells, and how far beyond its centre the place is (0..1)."""
    place = tl.load(location, mask=mine, other=0).to(ACC) * size - 0.5
    place = tl.minimum(tl.maximum(place, -2.0), size + 1.0)  # all that is outside reads zero; int32 must not overflow
    low = tl.floor(place)
    return low.to(tl.int32), place - low


@triton.jit
def _corner(values, first, x, y, height, width, mine, lane, groups, channels):  # type: ignore[no-untyped-def]
    """Rows [QUERIES LANES] of the cells (x, y) of a map that starts at ``first``, their addresses and which exist."""
    inside = mine & (x >= 0) & (x < width) & (y >= 0) & (y < height)
    address = first + (y * width + x).to(tl.int64) * groups * channels
    address = address[:, None] + lane[None, :]
    exists = inside[:, None] & (lane < channels)[None, :]
    return tl.load(values + address, mask=exists, other=0), address, exists


@triton.jit
def _gather(values, levels, locations, weights, result, cells, groups, channels, queries, samples, run,
            ACC: tl.constexpr, LANES: tl.constexpr, QUERIES: tl.constexpr):  # type: ignore[no-untyped-def]
    """Query q: result[q] = sum over its samples of weight * bilinear(value)."""
    query = tl.program_id(0) * QUERIES + tl.arange(0, QUERIES)
    batch, group = tl.program_id(1) // groups, tl.program_id(1) % groups
    lane = tl.arange(0, LANES)
    mine = query < queries
    row = (batch.to(tl.int64) * queries + query) * groups + group
    total = tl.zeros((QUERIES, LANES), dtype=ACC)
    for sample in range(samples):
        level = levels + sample // run * 3
        height, width = tl.load(level), tl.load(level + 1)
        first = ((batch.to(tl.int64) * cells + tl.load(level + 2)) * groups + group) * channels
        place = row * samples + sample
        x, right_part = _cell(locations + place * 2, width, mine, ACC)
        y, low_part = _cell(locations + place * 2 + 1, height, mine, ACC)
        weight = tl.load(weights + place, mask=mine, other=0).to(ACC)
        for dy in tl.static_range(2):
            for dx in tl.static_range(2):
                tile, _, _ = _corner(values, first, x + dx, y + dy, height, width, mine, lane, groups, channels)
                share = (right_part if dx else 1 - right_part) * (low_part if dy else 1 - low_part)
                total += (weight * share)[:, None] * tile.to(ACC)
    tl.store(result + row[:, None] * channels + lane[None, :], total.to(result.dtype.element_ty),
             mask=mine[:, None] & (lane < channels)[None, :])


@triton.jit
def _scatter(values, levels, locations, weights, grad, grad_values, grad_locations, grad_weights, cells, groups,
             channels, queries, samples, run, ACC: tl.constexpr, LANES: tl.constexpr,
             QUERIES: tl.constexpr):  # type: ignore[no-untyped-def]
    """Query q gives each of its samples' four cells its part of grad[q], and each place and weight their gradients."""
    query = tl.program_id(0) * QUERIES + tl.arange(0, QUERIES)
    batch, group = tl.program_id(1) // groups, tl.program_id(1) % groups
    lane = tl.arange(0, LANES)
    mine = query < queries
    row = (batch.to(tl.int64) * queries + query) * groups + group
    mine_here = mine[:, None] & (lane < channels)[None, :]
    slope = tl.load(grad + row[:, None] * channels + lane[None, :], mask=mine_here, other=0).to(ACC)
    for sample in range(samples):
        level = levels + sample // run * 3
        height, width = tl.load(level), tl.load(level + 1)
        first = ((batch.to(tl.int64) * cells + tl.load(level + 2)) * groups + group) * channels
        place = row * samples + sample
        x, right_part = _cell(locations + place * 2, width, mine, ACC)
        y, low_part = _cell(locations + place * 2 + 1, height, mine, ACC)
        weight = tl.load(weights + place, mask=mine, other=0).to(ACC)
        by_u, by_v = tl.zeros((QUERIES,), dtype=ACC), tl.zeros((QUERIES,), dtype=ACC)
        by_weight = tl.zeros((QUERIES,), dtype=ACC)
        for dy in tl.static_range(2):
            for dx in tl.static_range(2):
                tile, address, exists = _corner(values, first, x + dx, y + dy, height, width, mine, lane, groups,
                                                channels)
                across = right_part if dx else 1 - right_part
                down = low_part if dy else 1 - low_part
                product = tl.sum(slope * tile.to(ACC), axis=1)
                by_weight += across * down * product
                by_u += (down if dx else -down) * product
                by_v += (across if dy else -across) * product
                tl.atomic_add(grad_values + address, (weight * across * down)[:, None] * slope, mask=exists)
        tl.store(grad_weights + place, by_weight.to(grad_weights.dtype.element_ty), mask=mine)
        by_u, by_v = weight * by_u * width, weight * by_v * height
        tl.store(grad_locations + place * 2, by_u.to(grad_locations.dtype.element_ty), mask=mine)
        tl.store(grad_locations + place * 2 + 1, by_v.to(grad_locations.dtype.element_ty), mask=mine)
