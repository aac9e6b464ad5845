"""Where objects go: their displacements over the frames to come."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bevkit.geometry import rigid
from bevkit.structures.boxes import Boxes3D


def true_paths(boxes: Boxes3D, global_from_ego: Tensor, future: Sequence[Boxes3D | None], poses: Tensor) -> Tensor:
    """Follows A boxes by their track ids through F future frames.

    Args:
        global_from_ego: [4 4] pose of the boxes.
        future: the boxes of each future frame in its own ego frame, None where unknown.
        poses: [F 4 4] of the future frames.

    Returns:
        [A F 2] metres from where each centre is now, along the axes of its ego frame; NaN where it is not known.
    """
    paths = boxes.centers.new_full((len(boxes), len(future), 2), torch.nan)
    for step, (then, pose) in enumerate(zip(future, poses, strict=True)):
        if then is None or not len(then):
            continue
        same = boxes.track_ids[:, None] == then.track_ids  # [A A']
        there = rigid.transform((rigid.inverse(global_from_ego) @ pose).to(then.centers), then.centers)[:, :2]
        moved = there[same.int().argmax(dim=1)] - boxes.centers[:, :2]
        paths[:, step] = torch.where(same.any(dim=1)[:, None], moved, torch.nan)
    return paths


def steady_paths(velocities: Tensor, seconds: Tensor) -> Tensor:
    """Goes on at constant velocities [A 2] (m/s; NaN stands still) for each of F times: [A F 2] metres."""
    return velocities.nan_to_num()[:, None] * seconds[:, None]
