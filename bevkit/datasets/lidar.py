"""Lidar points of keyframes, and the depth labels that cameras get from them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from bevkit.geometry import pinhole, rigid
from bevkit.registry import TRANSFORMS
from bevkit.structures import BEVClip, BEVFrame

Distance = Literal["depth", "range"]
Winner = Literal["nearest", "last"]

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
                   min_depth: float = 0.1, distance: Tensor | None = None, winner: Winner = "nearest") -> Tensor:
    """Finds the nearest point in every patch of stride x stride pixels of N cameras: metres [N H W], 0 = none.

    The nearest, because it hides what lies behind it (BEVDepth, section 4.1).

    Args:
        pixels: [N P 2] (u right, v down).
        depth: [N P] metres along the optical axis; points nearer than ``min_depth`` are behind the lens and left out.
        image_size: (height, width), multiples of the stride.
        distance: [N P] metres, what is compared and returned; the depth by default.
        winner: which of several points in one pixel counts before patches are looked at.
    """
    rows, columns = image_size[0] // stride, image_size[1] // stride
    seen = pinhole.inside(pixels, depth, image_size, min_depth)  # [N P]
    pixel = (pixels + 0.5).floor().nan_to_num()  # pixel 0 is centred on 0
    if winner == "last":
        seen = seen & _last_of_each(_flat(pixel.long(), *image_size), seen, len(pixels) * image_size[0] * image_size[1])
    flat = _flat((pixel / stride).floor().long(), rows, columns)[seen]
    metres = (depth if distance is None else distance)[seen]
    nearest = depth.new_full((len(pixels) * rows * columns,), torch.inf)
    nearest = nearest.scatter_reduce(0, flat, metres, "amin")
    return torch.where(nearest.isinf(), 0, nearest).view(-1, rows, columns)  # [N H W]


def _flat(cell: Tensor, rows: int, columns: int) -> Tensor:
    """Numbers cells [N P 2] (column, row) of N maps through: [N P]."""
    camera = torch.arange(len(cell), device=cell.device).unsqueeze(1)
    return (camera * rows + cell[..., 1]) * columns + cell[..., 0]


def _last_of_each(cell: Tensor, seen: Tensor, count: int) -> Tensor:
    """Says which of the points that are seen [N P] is the last in its cell (of ``count``)."""
    order = torch.arange(cell.shape[1], device=cell.device).expand_as(cell)
    last = order.new_full((count,), -1).scatter_reduce(0, cell[seen], order[seen], "amax")
    return last[cell.where(seen, 0)] == order


@TRANSFORMS.register_module()
class LidarDepthMap:
    """Makes ``targets["depth"]`` [T N H W]: how far away the nearest lidar point of each image patch is, 0 = none.

    Needs a data set with ``lidar=True``; all that moves the ego frame or the images may stand before or after it.

    Efficient-Instance-Prediction was trained with ``min_depth=0.0, distance="range", winner="last",
    pixel_origin="corner"``.

    Args:
        stride: side of a patch in pixels of the image the network sees: the view transformer's stride.
        min_depth: metres; nearer points are left out.
        distance: ``"depth"``: metres along the optical axis, as a view transformer's bins are; ``"range"``: from the
            camera's centre.
        winner: which of several points in one pixel counts: the ``"nearest"``, or the ``"last"`` of the file.
        pixel_origin: ``"centre"``: pixel (0, 0) is the centre of the upper left pixel; ``"corner"``: its outer corner,
            as in FIERY's intrinsics (`ImageLoader`).
    """

    def __init__(self, stride: int, min_depth: float = 0.1, distance: Distance = "depth", winner: Winner = "nearest",
                 pixel_origin: Literal["centre", "corner"] = "centre") -> None:
        if distance not in get_args(Distance) or winner not in get_args(Winner) or \
                pixel_origin not in ("centre", "corner"):
            raise ValueError(f"LidarDepthMap: expected distance in {get_args(Distance)}, winner in {get_args(Winner)}, "
                             f"pixel_origin centre or corner, got {distance!r}, {winner!r}, {pixel_origin!r}")
        self.stride, self.min_depth, self.distance, self.winner = stride, min_depth, distance, winner
        self.corner = 0.5 if pixel_origin == "corner" else 0.0

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
        points = frame.points.to(frame.rig.ego_from_camera)
        pixels, depth, _ = frame.rig.project(points)
        distance = None
        if self.distance == "range":
            distance = rigid.transform(rigid.inverse(frame.rig.ego_from_camera), points).norm(dim=-1)  # [N P]
        return nearest_depths(pixels - self.corner, depth, (height, width), self.stride, self.min_depth, distance,
                              self.winner).float()
