"""Upright boxes: gravity centre, size (length, width, height), yaw counter-clockwise from +x."""

from __future__ import annotations

import torch
from torch import Tensor

from bevkit.geometry.rigid import rotation_about_z, transform, yaw_of

# Unit corners, bottom face first, each face counter-clockwise from front left; x = length, y = width, z = height.
_CORNERS = ((1, 1, -1), (-1, 1, -1), (-1, -1, -1), (1, -1, -1), (1, 1, 1), (-1, 1, 1), (-1, -1, 1), (1, -1, 1))


def corners(centers: Tensor, sizes: Tensor, yaws: Tensor) -> Tensor:
    """Returns the corners [* A 8 3] of boxes: bottom face 0-3 and top face 4-7, counter-clockwise from front left.

    Args: centers [* A 3] metres, sizes [* A 3] (l, w, h) metres, yaws [* A] radians.
    """
    unit = torch.tensor(_CORNERS, dtype=centers.dtype, device=centers.device) / 2
    local = unit * sizes.unsqueeze(-2)
    return local @ rotation_about_z(yaws).transpose(-1, -2) + centers.unsqueeze(-2)


def transform_yaw(a_from_b: Tensor, yaws: Tensor) -> Tensor:
    """Returns the yaws [* A] of frame b as seen in frame a; a mirror turns their sense."""
    heading = torch.stack((yaws.cos(), yaws.sin(), torch.zeros_like(yaws)), dim=-1)
    turned = heading @ a_from_b[..., :3, :3].transpose(-1, -2)
    return torch.atan2(turned[..., 1], turned[..., 0])


def points_in_boxes(points: Tensor, centers: Tensor, sizes: Tensor, yaws: Tensor) -> Tensor:
    """Says which points [P 3] lie in which boxes: [A P] bool."""
    local = (points.unsqueeze(0) - centers.unsqueeze(1)) @ rotation_about_z(yaws)  # [A P 3]
    return (local.abs() <= sizes.unsqueeze(1) / 2).all(dim=-1)


__all__ = ["corners", "points_in_boxes", "transform", "transform_yaw", "yaw_of"]
