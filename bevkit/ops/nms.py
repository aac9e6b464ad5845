"""Of detections that stand in each other's place the best one stays: the ways CenterPoint's followers decide who does.

All take detections of one sample with scores [A] and return the indices that stay, best first. They agree with
mmdet3d's compiled ones and need none: conflicts are a matrix, and who stays is its greedy fixed point.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bevkit.geometry.overlap import rotated_iou


def suppress(conflicts: Tensor) -> Tensor:
    """Says who stays [A] bool where detections are sorted, best first, and a better one that stays removes a worse one.

    Args: conflicts [A A] bool, symmetric.

    Repeating "stays, unless in conflict with a better one that stays" settles at least one more detection a round,
    and in practice all after as many rounds as the longest chain of conflicts.
    """
    by_better = conflicts.triu(diagonal=1).to(torch.float32)  # row = the better one
    stays = torch.ones(len(conflicts), dtype=torch.bool, device=conflicts.device)
    while True:
        settled = (stays.to(torch.float32) @ by_better) == 0
        if torch.equal(settled, stays):
            return stays
        stays = settled


def circle_nms(centers: Tensor, scores: Tensor, squared_distance: float) -> Tensor:
    """Removes centres [A 2] whose SQUARED distance (square metres) to a better one is at most ``squared_distance``."""
    order = scores.argsort(descending=True, stable=True)
    x, y = centers[order].unbind(-1)
    squared = (x[:, None] - x) ** 2 + (y[:, None] - y) ** 2  # [A A]
    return order[suppress(squared <= squared_distance)]


def rotated_nms(boxes: Tensor, scores: Tensor, overlap: float) -> Tensor:
    """Removes rectangles [A 5] = (x, y, l, w, yaw) that overlap a better one by an IoU above ``overlap``."""
    order = scores.argsort(descending=True, stable=True)
    boxes = boxes[order]
    return order[suppress(rotated_iou(boxes, boxes) > overlap)]


def size_aware_nms(boxes: Tensor, scores: Tensor, scale: float) -> Tensor:
    """Removes rectangles [A 5] whose centres lie, along x and along y, within ``scale`` of touching a better one.

    Touching is judged by the upright rectangles around both (BEVDepth's size-aware circle NMS).
    """
    order = scores.argsort(descending=True, stable=True)
    x, y, length, width, yaw = boxes[order].unbind(-1)
    cos, sin = yaw.cos().abs(), yaw.sin().abs()
    across_x, across_y = length * cos + width * sin, length * sin + width * cos

    def near(place: Tensor, extent: Tensor) -> Tensor:
        return (place[:, None] - place).abs() <= scale * (extent[:, None] + extent) / 2  # [A A]

    return order[suppress(near(x, across_x) & near(y, across_y))]
