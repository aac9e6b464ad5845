"""Resampling of BEV maps [B C Y X]: by ego motion (an affine map) and by a flow field."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from bevkit.geometry.rigid import inverse, motion_vector


def planar(a_from_b: Tensor) -> Tensor:
    """Keeps the x-y part [* 3 3] of a motion [* 4 4]."""
    rows = torch.cat((a_from_b[..., :2, :2], a_from_b[..., :2, 3:]), dim=-1)
    last = torch.zeros_like(rows[..., :1, :])
    last[..., 2] = 1
    return torch.cat((rows, last), dim=-2)


def affine_theta(past_from_now: Tensor, cells_from_metric: Tensor, shape: tuple[int, int], low_edge: bool = False
                 ) -> Tensor:
    """Plans the warp of a past BEV map to the present.

    Args:
        past_from_now: [* 4 4] ego motion; only its x-y part is used.
        cells_from_metric: [3 3] of the grid (`BEVGrid.cells_from_metric_matrix`).
        shape: rows and columns (Y, X) of the map.
        low_edge: take the value of a cell to sit on its low edge, as BEVDet4D and FB-BEV do, not in its middle.

    Returns:
        theta [* 2 3] in the normalised coordinates of `warp_affine`.
    """
    rows, columns = shape
    low = (1 / columns - 1, 1 / rows - 1) if low_edge else (-1, -1)
    normal_from_cells = torch.tensor([[2 / columns, 0, low[0]], [0, 2 / rows, low[1]], [0, 0, 1]],
                                     dtype=past_from_now.dtype, device=past_from_now.device)
    normal_from_metric = normal_from_cells @ cells_from_metric.to(past_from_now)
    metric_from_normal: Tensor = torch.linalg.inv(normal_from_metric)
    return (normal_from_metric @ planar(past_from_now) @ metric_from_normal)[..., :2, :]


def expect_centred(what: str, axes: Sequence[tuple[float, float, float]], remedy: str) -> None:
    """Raises ValueError where an axis (low, high, step) does not reach as far back as forward.

    Args: what: the option that asks for numerics which take the ego to stand in the middle; remedy: what to use.
    """
    if any(abs(low + high) > step / 100 for low, high, step in axes):
        raise ValueError(f"{what}: expected a grid with the ego in its middle, because the authors' warp turns maps "
                         f"about their middle, got {' and '.join(str(tuple(axis)) for axis in axes)}; {remedy}")


def affine_theta_fiery(now_from_past: Tensor, extent: tuple[float, float]) -> Tensor:
    """Plans the warp with the numerics of FIERY and PowerBEV, which their released weights have seen.

    Differs from `affine_theta` in the sign and order of the shift and, on grids that are not square, in the rotation.

    Args:
        now_from_past: [* 4 4] ego motion.
        extent: (x, y) upper bounds of the grid in metres; it has the ego in its middle (`expect_centred`).
    """
    tx, ty, _, _, _, yaw = motion_vector(now_from_past).unbind(-1)
    cos, sin = yaw.cos(), yaw.sin()
    entries = (cos, sin, -tx / extent[0], -sin, cos, ty / extent[1])
    return torch.stack(entries, dim=-1).reshape(*yaw.shape, 2, 3)


def affine_theta_fiptr(now_from_past: Tensor, axes: Sequence[tuple[float, float, float]]) -> Tensor:
    """Plans the warp with the numerics of FipTR, which its released weights have seen.

    It takes the cells to be spread evenly from the centre of the first to the high edge of the map, but reads the map
    where they would be if it were spread from edge to edge: at rest it is moved and stretched by up to half a cell. The
    grid has the ego in its middle (`expect_centred`).

    Args:
        now_from_past: [* 4 4] ego motion.
        axes: (low, high, step) in metres of x and of y.
    """
    metric_from_normal, normal_from_metric = (torch.eye(3).to(now_from_past) for _ in range(2))
    for axis, (low, high, step) in enumerate(axes):
        count = round((high - low) / step)
        metric_from_normal[axis, axis] = (high - low - step / 2) / 2 * count / (count - 1)
        metric_from_normal[axis, 2] = (low + high + step / 2) / 2
        normal_from_metric[axis, axis] = (count - 1) / count / high
    return (normal_from_metric @ planar(inverse(now_from_past)) @ metric_from_normal)[..., :2, :]


def warp_affine(bev: Tensor, theta: Tensor, mode: str = "bilinear") -> Tensor:
    """Resamples a map [B C Y X] at the positions theta [B 2 3] gives for each cell; zeros come from outside.

    Normalised coordinates run from -1 at the low edge to 1 at the high edge of the map, x (columns) first.
    """
    rows, columns = bev.shape[-2:]
    x = (2 * torch.arange(columns, device=bev.device, dtype=theta.dtype) + 1) / columns - 1
    y = (2 * torch.arange(rows, device=bev.device, dtype=theta.dtype) + 1) / rows - 1
    # The product with (x, y, 1) is written out per axis: no [B Y X 3] grid is built and every operator exports.
    shift, along_x, along_y = theta[:, :, 2], theta[:, :, 0], theta[:, :, 1]  # each [B 2]
    grid = shift[:, None, None] + x[None, None, :, None] * along_x[:, None, None] \
        + y[None, :, None, None] * along_y[:, None, None]  # [B Y X 2]
    return F.grid_sample(bev, grid.to(bev.dtype), mode=mode, padding_mode="zeros", align_corners=False)


def warp_flow(values: Tensor, flow: Tensor, mode: str = "nearest") -> Tensor:
    """Reads a map [B C Y X] at every cell plus its flow [B 2 Y X] (cells; channel 0 = x, 1 = y); zeros from outside."""
    rows, columns = values.shape[-2:]
    x = torch.arange(columns, device=flow.device, dtype=flow.dtype) + flow[:, 0]  # [B Y X]
    y = torch.arange(rows, device=flow.device, dtype=flow.dtype)[:, None] + flow[:, 1]  # [B Y X]
    grid = torch.stack((2 * x / (columns - 1) - 1, 2 * y / (rows - 1) - 1), dim=-1)  # [B Y X 2]
    return F.grid_sample(values, grid, mode=mode, padding_mode="zeros", align_corners=True)
