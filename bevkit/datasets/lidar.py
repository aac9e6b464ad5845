"""Lidar points of keyframes, and the depth labels that cameras get from them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bevkit.geometry import pinhole
from bevkit.registry import TRANSFORMS
from bevkit.structures import BEVClip, BEVFrame

NUMBERS = 5  # of each point in a nuScenes file: x, y, z, intensity, ring


def read_lidar(path: str | Path) -> Tensor:
    """Reads the points [P 3] (metres, lidar frame, float32) of a nuScenes ``.pcd.bin`` file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is cut short.
    """
    values = np.fromfile(path, dtype=np.float32)
    if len(values) % NUMBERS:
        raise ValueError(f"lidar: {path} is damaged: expected {NUMBERS} float32 numbers a point, got {len(values)} "
                         "numbers; copy it again")
    return torch.from_numpy(values.reshape(-1, NUMBERS)[:, :3].copy())


def nearest_depths(pixels: Tensor, depth: Tensor, image_size: tuple[int, int], stride: int,
                   min_depth: float = 0.1) -> Tensor:
    """Finds the nearest point in every patch of stride x stride pixels of N cameras: metres [N H W], 0 = none.

    The nearest, because it hides what lies behind it (BEVDepth, section 4.1).

    Args:
        pixels: [N P 2] (u right, v down).
        depth: [N P] metres along the optical axis; points nearer than ``min_depth`` are behind the lens and left out.
        image_size: (height, width), multiples of the stride.
    """
    rows, columns = image_size[0] // stride, image_size[1] // stride
    seen = pinhole.inside(pixels, depth, image_size, min_depth)  # [N P]
    cell = ((pixels + 0.5) / stride).floor().nan_to_num().long()  # pixel 0 is centred on 0
    camera = torch.arange(len(pixels), device=pixels.device).unsqueeze(1)
    flat = ((camera * rows + cell[..., 1]) * columns + cell[..., 0])[seen]
    nearest = depth.new_full((len(pixels) * rows * columns,), torch.inf)
    nearest = nearest.scatter_reduce(0, flat, depth[seen], "amin")
    return torch.where(nearest.isinf(), 0, nearest).view(-1, rows, columns)  # [N H W]


@TRANSFORMS.register_module()
class LidarDepthMap:
    """Makes ``targets["depth"]`` [T N H W]: how far away the nearest lidar point of each image patch is, 0 = none.

    Needs a data set with ``lidar=True``; all that moves the ego frame or the images may stand before or after it.

    Args:
        stride: side of a patch in pixels of the image the network sees: the view transformer's stride.
        min_depth: metres; nearer points are left out.
    """

    def __init__(self, stride: int, min_depth: float = 0.1) -> None:
        self.stride, self.min_depth = stride, min_depth

    def __call__(self, clip: BEVClip, rng: np.random.Generator) -> BEVClip:
        depth = torch.stack([self._depths(frame) for frame in clip.inputs])  # [T N H W]
        return replace(clip, targets={**clip.targets, "depth": depth})

    def _depths(self, frame: BEVFrame) -> Tensor:
        if frame.points is None or frame.rig is None:
            raise ValueError("LidarDepthMap: expected frames with lidar points, got none; set lidar=True on the data "
                             "set")
        height, width = frame.rig.image_size
        if height % self.stride or width % self.stride:
            raise ValueError(f"LidarDepthMap: expected images whose sides are multiples of the stride {self.stride}, "
                             f"got {(height, width)}")
        pixels, depth, _ = frame.rig.project(frame.points.to(frame.rig.ego_from_camera))
        return nearest_depths(pixels, depth, (height, width), self.stride, self.min_depth).float()
