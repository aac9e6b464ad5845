"""Pinhole cameras: metric points to pixels and back. Pixel (0, 0) is the centre of the upper left pixel."""

from __future__ import annotations

import torch
from torch import Tensor


def project(image_from_camera: Tensor, points: Tensor, eps: float = 1e-5) -> tuple[Tensor, Tensor]:
    """Projects points [* P 3] (camera frame, metres) to pixels [* P 2] (u right, v down) and depths [* P].

    A point at or behind the camera plane has depth <= eps; its pixel is meaningless and must be masked by the caller.
    """
    rays = points @ image_from_camera.transpose(-1, -2)
    depth = rays[..., 2]
    return rays[..., :2] / depth.clamp(min=eps).unsqueeze(-1), depth


def unproject(image_from_camera: Tensor, pixels: Tensor, depth: Tensor) -> Tensor:
    """Lifts pixels [* P 2] at depths [* P] (metres along the optical axis) to camera points [* P 3]."""
    ones = torch.ones_like(depth).unsqueeze(-1)
    # [* P 3]: image_aug may shear and turn, so the homogeneous pixel is scaled before the inverse, not after.
    camera_from_image: Tensor = torch.linalg.inv(image_from_camera)
    return torch.cat((pixels, ones), dim=-1) @ camera_from_image.transpose(-1, -2) * depth.unsqueeze(-1)


def inside(pixels: Tensor, depth: Tensor, image_size: tuple[int, int], min_depth: float = 0.1) -> Tensor:
    """Says which pixels [* P 2] at depths [* P] lie in front of the camera and on an image of (height, width)."""
    height, width = image_size
    u, v = pixels.unbind(-1)
    return (depth > min_depth) & (u >= -0.5) & (u < width - 0.5) & (v >= -0.5) & (v < height - 0.5)
