"""Boxes as the ten numbers that query heads regress (DETR3D, CoRL 2021; BEVFormer, ECCV 2022; SparseBEV, ICCV 2023).

A box is [x, y, z, length, width, height, yaw, vx, vy]: gravity centre, metres, radians, m/s.
"""

from __future__ import annotations

import torch
from torch import Tensor

Bounds = tuple[float, float, float, float, float, float]  # x, y, z low, then x, y, z high, metres


def code_from_boxes(boxes: Tensor) -> Tensor:
    """Turns boxes [* 9] into [x, y, log l, log w, z, log h, sin yaw, cos yaw, vx, vy] [* 10]."""
    x, y, z, length, width, height, yaw, vx, vy = boxes.unbind(-1)
    return torch.stack((x, y, length.log(), width.log(), z, height.log(), yaw.sin(), yaw.cos(), vx, vy), dim=-1)


def boxes_from_code(code: Tensor) -> Tensor:
    """Undoes `code_from_boxes`: [* 10] -> [* 9]; sine and cosine need not be normalised."""
    x, y, length, width, z, height, sin, cos, vx, vy = code.unbind(-1)
    return torch.stack((x, y, z, length.exp(), width.exp(), height.exp(), torch.atan2(sin, cos), vx, vy), dim=-1)


def query_from_boxes(boxes: Tensor, bounds: Bounds) -> Tensor:
    """Turns boxes [* 9] into [x, y, z in 0..1 of the bounds, log l, log w, log h, sin yaw, cos yaw, vx, vy] [* 10]."""
    low, high = boxes.new_tensor(bounds[:3]), boxes.new_tensor(bounds[3:])
    yaw = boxes[..., 6:7]
    return torch.cat(((boxes[..., :3] - low) / (high - low), boxes[..., 3:6].log(), yaw.sin(), yaw.cos(),
                      boxes[..., 7:]), dim=-1)


def boxes_from_query(query: Tensor, bounds: Bounds) -> Tensor:
    """Undoes `query_from_boxes`: [* 10] -> [* 9]."""
    low, high = query.new_tensor(bounds[:3]), query.new_tensor(bounds[3:])
    yaw = torch.atan2(query[..., 6:7], query[..., 7:8])
    return torch.cat((query[..., :3] * (high - low) + low, query[..., 3:6].exp(), yaw, query[..., 8:]), dim=-1)
