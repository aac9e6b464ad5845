"""`bev_pool` on the CPU: a cell is a weighted bag of pixels, and so is, turned round, a pixel's gradient of cells."""

from __future__ import annotations

import warnings
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bevkit.ops.bev_pool import PoolPlan, accumulator, first_cells


def bev_pool_cpu(depth: Tensor, context: Tensor, plan: PoolPlan, shape: tuple[int, int]) -> Tensor:
    """Computes `bev_pool` with operands and plan on the CPU."""
    dtype, result = accumulator(depth, context)
    bev: Tensor = _BagPool.apply(depth.to(dtype), context.to(dtype), *plan, shape)
    return bev.to(result)


def _rows(maps: Tensor) -> Tensor:
    """Turns maps [V C H W] into one row a pixel: [V*H*W C], contiguous."""
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1]).contiguous()


def _maps(rows: Tensor, size: tuple[int, int]) -> Tensor:
    """Undoes `_rows`: [V*H*W C] to [V C H W], a view in memory format channels last."""
    return rows.view(-1, *size, rows.shape[-1]).permute(0, 3, 1, 2)


class _BagPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, depth: Tensor, context: Tensor, cells: Tensor, points: Tensor, pixels: Tensor,
                starts: Tensor, shape: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(depth, context, cells)
        ctx.shape = shape
        on_grid = int(starts[-1])
        weights = depth.flatten().index_select(0, points[:on_grid])
        # embedding_bag gathers, weighs and sums row by row: nothing of the size of the lifted tensor exists.
        bev = F.embedding_bag(pixels[:on_grid], _rows(context), starts, mode="sum", per_sample_weights=weights,
                              include_last_offset=True)  # [M*Y*X C]
        return _maps(bev, shape)  # [M C Y X]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        depth, context, cells = ctx.saved_tensors
        axes = dict(zip("MNDHW", cells.shape))
        grad_rows = _rows(grad)  # [M*Y*X C]
        # Read by pixel the pattern is regular: D cells each. A point off the grid reads its first cell in vain.
        on_grid = cells >= 0
        cells = torch.where(on_grid, cells, 0) + first_cells(axes, ctx.shape[0] * ctx.shape[1], cells.device)
        cells = cells.permute(0, 1, 3, 4, 2).flatten()  # [M*N*H*W*D]
        starts = torch.arange(0, cells.numel() + 1, axes["D"], dtype=torch.int32)
        grad_depth = grad_context = None
        if ctx.needs_input_grad[0]:
            products = _sampled_products(_rows(context), grad_rows, starts, cells)
            grad_depth = products.view(-1, axes["H"], axes["W"], axes["D"]).permute(0, 3, 1, 2)  # [V D H W]
            grad_depth = torch.where(on_grid.flatten(0, 1), grad_depth, 0)
        if ctx.needs_input_grad[1]:
            weights = torch.where(on_grid.flatten(0, 1), depth, 0).permute(0, 2, 3, 1).flatten()
            rows = F.embedding_bag(cells, grad_rows, starts, mode="sum", per_sample_weights=weights,
                                   include_last_offset=True)  # [M*N*H*W C]
            grad_context = _maps(rows, (axes["H"], axes["W"]))
        return grad_depth, grad_context, None, None, None, None, None


def _sampled_products(left: Tensor, right: Tensor, starts: Tensor, columns: Tensor) -> Tensor:
    """Returns the products of rows: for each entry k of row r, left[r] . right[columns[k]]; a sampled dense product."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse")  # "support is in beta"
        pattern = torch.sparse_csr_tensor(starts, columns, left.new_zeros(len(columns)), (len(left), len(right)),
                                          check_invariants=False)
        return torch.sparse.sampled_addmm(pattern, left, right.t(), beta=0).values()
