"""Truth <-> boxes of queries, without suppression: each query answers for one object (DETR3D; BEVFormer; SparseBEV)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from bevkit.geometry.box_codes import boxes_from_code, code_from_boxes
from bevkit.models.coders.boxes import (
    Range,
    best_of,
    boxes_of,
    detections,
    inside,
    padded,
    probabilities,
    visible_truth,
)
from bevkit.registry import MODELS
from bevkit.structures import BEVClip, BEVGrid, Detections3D
from bevkit.structures.classes import CLASSES, class_indices


class ScoresAndBoxes(Protocol):
    """Class logits [L B Q K] and codes [L B Q 10] of the L decoder layers; the last layer counts."""

    @property
    def scores(self) -> Tensor: ...

    @property
    def boxes(self) -> Tensor: ...


class FlawlessOutput(NamedTuple):
    """Raw outputs that decode to the truth."""

    scores: Tensor
    boxes: Tensor


@MODELS.register_module()
class QueryBoxCoder:
    """Boxes as codes of ten numbers, at most one a query.

    Args:
        grid: true boxes whose centres lie off it are not learned; None: those outside of ``center_range``.
        classes: the class of each score, K names.
        max_boxes: the best (query, class) pairs that are looked at.
        score_threshold: only scores above it stay; None keeps all.
        center_range: (x, y, z low, x, y, z high) metres; boxes with centres outside are dropped.
        relax_threshold: where a threshold leaves no box of a sample, lower it by a tenth until one passes, as the
            authors of DETR3D and BEVFormer do; below 0.01 all pass.
        max_truth: room for true boxes in the targets of a sample; the farthest beyond it are left out.
        min_sensor_points: true boxes with fewer points of lidar and radar are not learned, as the authors do; unknown
            numbers count as enough.
    """

    def __init__(self, grid: BEVGrid | None = None, classes: Sequence[str] = CLASSES, max_boxes: int = 300,
                 score_threshold: float | None = None, center_range: Range = (-61.2, -61.2, -10.0, 61.2, 61.2, 10.0),
                 relax_threshold: bool = False, max_truth: int = 256, min_sensor_points: int = 1) -> None:
        self.grid = grid
        self.classes = tuple(classes)
        self.labels = torch.tensor(class_indices(self.classes, "QueryBoxCoder.classes"))
        self.max_boxes, self.score_threshold, self.relax_threshold = max_boxes, score_threshold, relax_threshold
        self.center_range, self.max_truth, self.min_sensor_points = center_range, max_truth, min_sensor_points

    def encode(self, clip: BEVClip) -> dict[str, Tensor]:
        """Returns boxes [A 9] float32 (x, y, z, l, w, h, yaw, vx, vy; NaN = unknown) and labels [A] int64, the place of
        the class among ``classes``, -1 where there is no box; A is ``max_truth``."""
        truth = visible_truth(clip, self.min_sensor_points)
        centers = truth.centers
        truth = truth[self.grid.contains(centers[:, :2]) if self.grid else inside(centers, self.center_range)]
        channel = torch.full((len(CLASSES),), -1)
        channel[self.labels] = torch.arange(len(self.labels))
        truth = truth[channel[truth.labels] >= 0]
        truth = truth[truth.centers[:, :2].norm(dim=1).argsort(stable=True)[: self.max_truth]]
        return dict(boxes=padded(boxes_of(truth), self.max_truth, 0.0),
                    labels=padded(channel[truth.labels], self.max_truth, -1))

    def decode(self, raw: ScoresAndBoxes) -> list[Detections3D]:
        """Takes the best (query, class) pairs of the last layer, best first."""
        scores, codes = probabilities(raw.scores[-1]), raw.boxes[-1].detach().float()
        return [self._decode(*sample) for sample in zip(scores, codes)]

    def _decode(self, scores: Tensor, codes: Tensor) -> Detections3D:
        best, place = best_of(scores.flatten(), self.max_boxes)  # [Q*K] -> [A]
        query, channel = place // scores.shape[1], place % scores.shape[1]
        boxes = boxes_from_code(codes[query])  # [A 9]
        keep = inside(boxes, self.center_range) & self._sure(best)
        return detections(boxes[keep], best[keep], self.labels.to(channel.device)[channel[keep]])

    def _sure(self, scores: Tensor) -> Tensor:
        """Says which scores [A] pass the threshold."""
        if self.score_threshold is None:
            return torch.ones_like(scores, dtype=torch.bool)
        sure, threshold = scores > self.score_threshold, self.score_threshold
        while self.relax_threshold and not sure.any():
            threshold *= 0.9
            sure = scores >= threshold if threshold >= 0.01 else torch.ones_like(sure)
            if threshold < 0.01:
                break
        return sure

    def flawless(self, targets: dict[str, Tensor]) -> FlawlessOutput:
        """Returns raw outputs [1 B A ..] that decode to the truth, from the batched targets of `encode`."""
        labels, real = targets["labels"], targets["labels"] >= 0  # [B A]
        scores = torch.full((*labels.shape, len(self.classes)), -20.0)
        scores[real] = torch.where(torch.arange(len(self.classes)) == labels[real][:, None], 4.0, -20.0)
        nowhere = torch.tensor([1e6] * 3 + [1.0] * 6)  # out of range: an idle query says nothing
        boxes = torch.where(real.unsqueeze(-1), targets["boxes"], nowhere).nan_to_num()
        return FlawlessOutput(scores.unsqueeze(0), code_from_boxes(boxes).unsqueeze(0))
