"""The camera views with boxes drawn through the rig, arranged as the cameras sit on the vehicle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bevkit.geometry import rigid
from bevkit.structures import Boxes3D, CameraRig
from bevkit.visualization.bev import SUBPIXEL
from bevkit.visualization.paint import GROUND, INK, Picture, blend, class_colors, column, oklch, row, write

NEAR = 0.2  # metres in front of a camera where edges are cut
EDGES = np.array([(0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7)])
FRONT_FACE = [0, 3, 7, 4]


def pictures(images: Tensor) -> list[Picture]:
    """Turns camera images [N 3 h w] uint8 into N pictures [h w 3]."""
    if images.is_floating_point():
        raise TypeError("images: expected uint8 images, got normalised ones; draw them before the preprocessor")
    return [np.ascontiguousarray(image) for image in images.permute(0, 2, 3, 1).cpu().numpy()]


def cut_at(points: NDArray[np.float64], near: float = NEAR) -> NDArray[np.float64]:
    """Cuts camera-frame segments [S 2 3] at the plane z = near and keeps what lies in front: [S' 2 3]."""
    depth = points[..., 2]
    points, depth = points[(depth > near).any(axis=1)], depth[(depth > near).any(axis=1)]
    behind = depth <= near
    rise = np.where(behind, depth[:, ::-1] - depth, 1.0)  # never 0 where an end is behind: the other is in front
    share = (near - depth) / rise  # how far towards the other end the plane is met
    moved = points + share[..., None] * (points[:, ::-1] - points)
    return np.where(behind[..., None], moved, points)


def project(image_from_camera: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Projects camera points [.. 3] in front of the camera to pixels [.. 2]; whole numbers are pixel centres."""
    rays = points @ image_from_camera.T
    return rays[..., :2] / rays[..., 2:]


def draw_boxes(images: Sequence[Picture], rig: CameraRig, boxes: Boxes3D, colors: Any = None,
               reach: float = 70.0) -> list[Picture]:
    """Returns the camera pictures with boxes projected into them through the rig, far ones first.

    Args:
        images: N pictures [h w 3], as the network sees them (after ``rig.image_aug``).
        rig: N cameras, no leading axes.
        boxes: in the ego frame of the rig.
        colors: [A 3], by class when None.
        reach: metres of depth beyond which no box is drawn.
    """
    colors = class_colors(boxes.labels.numpy()) if colors is None else np.asarray(colors)
    corners = rigid.transform(rigid.inverse(rig.ego_from_camera.double()),
                              boxes.corners.double().flatten(0, 1)[None]).unflatten(1, (-1, 8)).numpy()  # [N A 8 3]
    matrices = rig.image_from_camera.double().numpy()
    return [_draw(image.copy(), matrix, points, colors, reach)
            for image, matrix, points in zip(images, matrices, corners, strict=True)]


def draw_depths(images: Sequence[Picture], depth: Tensor, reach: float = 60.0) -> list[Picture]:
    """Returns the camera pictures, darkened, with the patches of a depth map [N H W] laid over them.

    Args:
        images: N pictures [h w 3].
        depth: metres, 0 = unknown; near patches are warm, those at ``reach`` and beyond cold.
    """
    shown = []
    for image, values in zip(images, depth.double().numpy(), strict=True):
        values = cv2.resize(values, image.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        picture = (image * 0.45).astype(np.uint8)
        blend(picture, values > 0, oklch(0.74, 0.15, 0.07 + 0.63 * np.minimum(values / reach, 1)), 0.85)
        shown.append(picture)
    return shown


def _draw(image: Picture, matrix: NDArray[np.float64], corners: NDArray[np.float64], colors: NDArray[Any],
          reach: float) -> Picture:
    depth = corners[..., 2].mean(axis=1) if len(corners) else np.zeros(0)
    order = [index for index in np.argsort(-depth) if depth[index] < reach and corners[index, :, 2].max() > NEAR]
    fill = image.copy()
    for index in order:
        face = corners[index, FRONT_FACE]
        if (face[:, 2] > NEAR).all():
            cv2.fillPoly(fill, [_fixed(project(matrix, face))], colors[index].tolist(), cv2.LINE_AA, SUBPIXEL)
    image = cv2.addWeighted(fill, 0.28, image, 0.72, 0)
    thickness = max(1, round(image.shape[1] / 640))
    for index in order:
        points = corners[index]
        bottom = points[:4].mean(axis=0)
        heading = np.stack((bottom, points[[0, 3]].mean(axis=0)))[None]
        segments = cut_at(np.concatenate((points[EDGES], heading)))
        lines = list(_fixed(project(matrix, segments)))
        cv2.polylines(image, lines, False, colors[index].tolist(), thickness, cv2.LINE_AA, SUBPIXEL)
    return image


def _fixed(pixels: NDArray[np.float64]) -> NDArray[np.int32]:
    return (pixels.clip(-1e5, 1e5) * (1 << SUBPIXEL)).round().astype(np.int32)


def layout(rig: CameraRig) -> list[list[int]]:
    """Returns the rows of camera indices as on the vehicle: cameras that look forward above, the others below.

    Each row runs from the camera that looks farthest left to the one that looks farthest right, like the view of
    someone on the vehicle's roof who turns the head; the row below is the mirror image of a look over the shoulder.
    """
    axes = rig.ego_from_camera[:, :3, 2].double().numpy()  # optical axes in the ego frame
    left = np.argsort(-axes[:, 1], kind="stable").tolist()
    rows = [[index for index in left if axes[index, 0] > 0], [index for index in left if axes[index, 0] <= 0]]
    return [indices for indices in rows if indices]


def tile_size(rig: CameraRig, width: int, gap: int = 6) -> tuple[int, int]:
    """Returns (height, width) of one camera's picture where the whole arrangement has a width in pixels."""
    columns = max(len(indices) for indices in layout(rig))
    tile = (width - gap * (columns - 1)) // columns
    return round(rig.image_size[0] * tile / rig.image_size[1]), tile


def resized(images: Sequence[Picture], rig: CameraRig, size: tuple[int, int]) -> tuple[list[Picture], CameraRig]:
    """Resizes camera pictures to (height, width) together with their rig, so that lines drawn later stay sharp."""
    (height, width), (tall, wide) = size, rig.image_size
    u, v = width / wide, height / tall
    # Whole numbers are pixel centres: the outer corner at -0.5 stays where it is.
    scale = torch.tensor([[u, 0, (u - 1) / 2], [0, v, (v - 1) / 2], [0, 0, 1]], dtype=rig.image_aug.dtype)
    method = cv2.INTER_AREA if width < wide else cv2.INTER_CUBIC
    return [cv2.resize(image, (width, height), interpolation=method) for image in images], \
        replace(rig, image_aug=scale @ rig.image_aug, image_size=size)


def arrange(images: Sequence[Picture], rig: CameraRig, names: Sequence[str] | None = None, gap: int = 6) -> Picture:
    """Joins N camera pictures of one size as `layout` has it, each with its name."""
    tiles = [image.copy() for image in images]
    for tile, name in zip(tiles, names or ()):
        write(tile, name.removeprefix("CAM_").replace("_", " ").lower(), (12, 9), 12, INK, "la", plate=GROUND)
    return column([row([tiles[index] for index in indices], gap) for indices in layout(rig)], gap)
