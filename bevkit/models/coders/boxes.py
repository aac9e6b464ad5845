"""What coders of boxes share. A box is nine numbers: x, y, z, length, width, height, yaw, vx, vy."""

from __future__ import annotations

import torch
from torch import Tensor

from bevkit.structures import BEVClip, Boxes3D, Detections3D

Range = tuple[float, float, float, float, float, float]  # x, y, z low, then x, y, z high, metres


def visible_truth(clip: BEVClip, min_sensor_points: int) -> Boxes3D:
    """Returns the present boxes of a clip that have a class and that lidar or radar saw.

    A box without a single point of either counts neither in the authors' training nor in the official score; where the
    number of points is unknown (-1) the box stays.
    """
    boxes = clip.present.boxes
    if boxes is None:
        raise ValueError("coder: expected boxes in the present frame, got none; use a split with annotations")
    seen = (boxes.sensor_points < 0) | (boxes.sensor_points >= min_sensor_points)
    return boxes[(boxes.labels >= 0) & seen]


def inside(boxes: Tensor, center_range: Range) -> Tensor:
    """Says which centres [A 3+] lie in a range, its borders included: [A] bool."""
    low, high = boxes.new_tensor(center_range[:3]), boxes.new_tensor(center_range[3:])
    return ((boxes[:, :3] >= low) & (boxes[:, :3] <= high)).all(dim=1)


def boxes_of(boxes: Boxes3D) -> Tensor:
    """Lays boxes out as nine numbers [A 9] float32."""
    parts = (boxes.centers, boxes.sizes, boxes.yaws.unsqueeze(1), boxes.velocities)
    return torch.cat(parts, dim=1).float()  # [A 9]


def padded(values: Tensor, count: int, filler: float) -> Tensor:
    """Fills values [A ..] up to [count ..]."""
    assert len(values) <= count, (len(values), count)
    room = values.new_full((count, *values.shape[1:]), filler)
    room[: len(values)] = values
    return room


def detections(boxes: Tensor, scores: Tensor, labels: Tensor) -> Detections3D:
    """Makes a result of boxes [A 9], scores [A] and labels [A]."""
    return Detections3D(Boxes3D.predicted(boxes[:, :3], boxes[:, 3:6], boxes[:, 6], boxes[:, 7:], labels), scores)


def probabilities(logits: Tensor) -> Tensor:
    """Returns the sigmoid as float32, rounded once from double precision, so that every machine has the same order."""
    return logits.detach().double().sigmoid().float()


def best_of(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Returns the best ``count`` of scores [N], best first, and their places; of equal ones the first comes first.

    `torch.topk` leaves open which of equal scores it takes, and where no camera looks many cells are equal.
    """
    count = min(count, len(scores))
    worst = scores.topk(count).values[-1]
    places = (scores >= worst).nonzero().squeeze(1)
    best, order = scores[places].sort(descending=True, stable=True)
    return best[:count], places[order[:count]]
