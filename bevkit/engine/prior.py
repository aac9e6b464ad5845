"""What one can say without looking: the mean box of each class where the training set has most of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bevkit.structures import BEVGrid, Boxes3D, Detections3D
from bevkit.structures.classes import CLASSES

# As far as the official score looks, in cells about as fine as it matches (0.5 to 4 m).
GRID = BEVGrid(x=(-50.0, 50.0, 2.0), y=(-50.0, 50.0, 2.0))


def fit_prior(dataset: Any, boxes_per_class: int = 50) -> Detections3D:
    """Learns the same detections for every keyframe from the labels of a data set.

    A class gets its mean box (size, height, heading, velocity) in the middle of the ``boxes_per_class`` cells around
    the ego where it stands most often; the score is the share of keyframes in which it does. A detector that learned
    anything from images must beat this.
    """
    truth = [dataset[index].present.boxes for index in range(len(dataset))]
    parts = [_prior_of(label, [boxes[(boxes.labels == label) & (boxes.sensor_points != 0)] for boxes in truth],
                       boxes_per_class) for label in range(len(CLASSES))]
    boxes, scores = zip(*parts)
    fields = ("centers", "sizes", "yaws", "velocities", "labels")
    return Detections3D(Boxes3D.predicted(*(torch.cat([getattr(one, name) for one in boxes]) for name in fields)),
                        torch.cat(scores))


def _prior_of(label: int, keyframes: list[Boxes3D], count: int) -> tuple[Boxes3D, Tensor]:
    """Returns the boxes and scores of one class."""
    rows, columns = GRID.shape
    share = torch.zeros(GRID.cells, dtype=torch.float64)
    for boxes in keyframes:
        cell = GRID.cells_from_metric(boxes.centers[GRID.contains(boxes.centers[:, :2]), :2]).floor().long()
        share[(cell[:, 1] * columns + cell[:, 0]).unique()] += 1 / len(keyframes)
    score, cell = share.topk(min(count, rows * columns))
    score, cell = score[score > 0], cell[score > 0]
    if len(score) == 0:
        none = Boxes3D.empty()
        return Boxes3D.predicted(none.centers, none.sizes, none.yaws, none.velocities, none.labels), score
    every = {name: torch.cat([getattr(boxes, name) for boxes in keyframes])
             for name in ("centers", "sizes", "yaws", "velocities")}
    middle = GRID.metric_from_cells(torch.stack((cell % columns, cell // columns), dim=1) + 0.5)
    height = every["centers"][:, 2].mean().expand(len(cell), 1)
    yaw = torch.atan2(every["yaws"].sin().mean(), every["yaws"].cos().mean())
    return Boxes3D.predicted(
        torch.cat((middle, height), dim=1), every["sizes"].mean(dim=0).expand(len(cell), 3), yaw.expand(len(cell)),
        every["velocities"].nanmean(dim=0).expand(len(cell), 2), torch.full((len(cell),), label)), score
