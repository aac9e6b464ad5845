"""Intersection over union of classes, from counts that add up over clips and processes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class SegmentationCounts(NamedTuple):
    """Cells per class, each [K] float64; index 0 is the background."""

    true_positive: Tensor
    false_positive: Tensor
    false_negative: Tensor

    @property
    def iou(self) -> Tensor:
        """[K] in 0..1; 0 for a class that neither truth nor prediction has."""
        return self.true_positive / (self.true_positive + self.false_positive + self.false_negative).clamp(min=1)


def count_segmentation(predicted: Tensor, truth: Tensor, classes: int = 2) -> SegmentationCounts:
    """Counts the cells on which two class maps [..] (same shape, int64 or bool) agree and differ, class by class."""
    key = truth.flatten().long() * classes + predicted.flatten().long()
    confusion = torch.bincount(key, minlength=classes ** 2).view(classes, classes).double()  # [truth, predicted]
    agreed = confusion.diagonal()
    return SegmentationCounts(agreed, confusion.sum(dim=0) - agreed, confusion.sum(dim=1) - agreed)
