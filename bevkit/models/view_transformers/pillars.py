"""Where the cells of the map, with some height given to them, appear in the images."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from bevkit.checks import expect
from bevkit.geometry import pinhole, rigid
from bevkit.structures import BEVGrid, CameraRig

PIXEL_ORIGINS = ("centre", "corner")
FAR = 8.0  # images away: nothing is read there, and half precision can still write it


class Pillars(NamedTuple):
    """What M rigs of N cameras see of the Z anchors of Q cells.

    Attributes:
        places: [M N Q Z 2] as fractions (u, v) of the image, 0 at its outer left and upper edge, 1 at the others;
            those far outside or behind a camera lie somewhere outside.
        depth: [M N Q Z] metres along the optical axis.
        visible: [M N Q Z] bool, in front of the camera and on the image.
    """

    places: Tensor
    depth: Tensor
    visible: Tensor


def pillar_points(grid: BEVGrid, heights: Tensor) -> Tensor:
    """Puts anchors at heights [Z] (metres) over the centre of every cell: [Y*X Z 3] (float64), row by row."""
    rows, columns = grid.shape
    x, y, z = grid.centers("x"), grid.centers("y")[:, None], heights.double()
    size = (rows, columns, len(z))
    return torch.stack((x[:, None].expand(size), y[..., None].expand(size), z.expand(size)), dim=-1).flatten(0, 1)


def spread_heights(grid: BEVGrid, count: int, margin: float = 0.5) -> Tensor:
    """Returns heights [Z] from ``margin`` metres above the floor of the grid to ``margin`` below its ceiling."""
    return torch.linspace(grid.z[0] + margin, grid.z[1] - margin, count, dtype=torch.float64)


def look_at(rig: CameraRig, points: Tensor, pixel_origin: str = "centre", margin: float = 0.0) -> Pillars:
    """Projects anchors into every camera of M rigs.

    Args:
        rig: leading axis [M].
        points: [Q Z 3] or [M Q Z 3] ego points, metres.
        pixel_origin: ``"centre"``: pixel (0, 0) is the centre of the upper left pixel, so that the image begins half a
            pixel before it; ``"corner"``: it is the image's corner, as BEVFormer's and FB-BEV's weights have seen.
        margin: fraction of the image along its edges that does not count as visible.
    """
    axes = expect("rig.intrinsics", rig.intrinsics, "M N 3 3")
    queries, anchors = points.shape[-3:-1]
    points = points.to(rig.ego_from_camera.device, torch.float64).expand(axes["M"], queries, anchors, 3)
    # In float64: a float32 pixel of thousands of metres away is not sure on which side of an image's edge it lies.
    camera_points = rigid.transform(rigid.inverse(rig.ego_from_camera.double()), points.flatten(1, 2).unsqueeze(1))
    pixels, depth = pinhole.project(rig.image_from_camera.double(), camera_points)  # [M N Q*Z 2], [M N Q*Z]
    height, width = rig.image_size
    first = 0.5 if pixel_origin == "centre" else 0.0
    places = (pixels + first) / pixels.new_tensor((width, height))
    visible = (depth > 1e-5) & ((places > margin) & (places < 1 - margin)).all(dim=-1)
    like = rig.ego_from_camera
    return Pillars(places.clamp(-FAR, 1 + FAR).to(like).unflatten(2, (queries, anchors)),
                   depth.to(like).unflatten(2, (queries, anchors)), visible.unflatten(2, (queries, anchors)))


def check_pixel_origin(pixel_origin: str) -> str:
    """Returns a name of `PIXEL_ORIGINS`; raises ValueError for any other."""
    if pixel_origin not in PIXEL_ORIGINS:
        raise ValueError(f"pixel_origin: expected one of {PIXEL_ORIGINS}, got {pixel_origin!r}")
    return pixel_origin
