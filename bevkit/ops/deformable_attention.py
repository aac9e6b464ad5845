"""Every query reads a few places of its own choice in feature maps of several scales and weighs what it finds there.

The sum of Deformable DETR (Zhu et al., ICLR 2021, equation 3). Two forms give the same values and gradients:

* `deformable_attention_reference`: a grid_sample a scale, rank 4, standard ONNX operators only. It is what runs on the
  CPU and what is exported; gathering rows with embedding_bag was tried on the CPU: up to twice as fast forward, up to
  four times slower forward and backward together;
* the Triton kernels of `deformable_attention_triton`, on CUDA, which never hold a sampled [.. Q K C] tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from torch import Tensor

from bevkit.checks import Axes, expect

HAS_TRITON = find_spec("triton") is not None  # looked up, not imported

Shapes = Sequence[tuple[int, int]]


def deformable_attention(values: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor) -> Tensor:
    """Sums K weighted bilinear samples a query and group; zeros come from outside of a map.

    Args:
        values: [B S G C] features of all scales, flattened row by row and laid end to end, in G groups (heads).
        shapes: (H, W) of each of the L scales; their areas add up to S.
        locations: [B Q G K 2] where to look, (u, v) from 0 at the outer edge of the first column and row to 1 at that
            of the last. The K samples are L runs of K / L: the first run reads the first scale, and so on.
        weights: [B Q G K] of the samples; they need not sum to 1.

    Returns:
        [B Q G*C] in the dtype of ``values``; differentiable in values, locations and weights. On CUDA gradients of
        ``values`` are added up in no fixed order.
    """
    check_operands(values, shapes, locations, weights)
    if values.device.type == "cuda" and HAS_TRITON:
        from bevkit.ops.deformable_attention_triton import deformable_attention_triton

        return deformable_attention_triton(values, shapes, locations, weights)
    return deformable_attention_reference(values, shapes, locations, weights)


def check_operands(values: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor) -> Axes:
    """Binds the letters of the operands."""
    axes = expect("locations", locations, "B Q G K 2", expect("values", values, "B S G C"))
    axes = expect("weights", weights, "B Q G K", axes)
    area = sum(height * width for height, width in shapes)
    if area != axes["S"] or axes["K"] % len(shapes):
        raise ValueError(f"shapes: expected maps of {axes['S']} cells in all, as values has, whose number divides "
                         f"K = {axes['K']} samples, got {list(shapes)} with {area} cells; flatten the same maps")
    return axes


def deformable_attention_reference(values: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor) -> Tensor:
    """Computes `deformable_attention` by grid_sample, scale by scale."""
    batch, _, groups, channels = values.shape
    queries, samples = locations.shape[1], locations.shape[3] // len(shapes)
    dtype = torch.promote_types(values.dtype, torch.float32)  # a half cannot tell neighbouring cells apart
    maps = values.to(dtype).permute(0, 2, 3, 1).reshape(batch * groups, channels, -1)  # [B*G C S]
    grid = (2 * locations.to(dtype) - 1).transpose(1, 2).flatten(0, 1)  # [B*G Q K 2]
    weights = weights.to(dtype).transpose(1, 2).reshape(batch * groups, 1, queries, -1)  # [B*G 1 Q K]
    total: Tensor | int = 0
    first = 0
    for level, (height, width) in enumerate(shapes):
        run = slice(level * samples, (level + 1) * samples)
        level_map = maps[:, :, first:first + height * width].unflatten(2, (height, width))
        sampled = F.grid_sample(level_map, grid[:, :, run], padding_mode="zeros", align_corners=False)  # [B*G C Q K/L]
        total = total + (sampled * weights[..., run]).sum(dim=-1)  # [B*G C Q]
        first += height * width
    assert isinstance(total, Tensor)
    return total.reshape(batch, groups * channels, queries).transpose(1, 2).to(values.dtype)  # [B Q G*C]
