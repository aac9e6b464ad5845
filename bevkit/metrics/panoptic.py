"""Video panoptic quality (VPQ) of instance maps, counted as in FIERY (ICCV 2021, section 4) and its followers."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from bevkit.checks import expect


class PanopticCounts(NamedTuple):
    """Segments per class, each [2] float64: background (one segment a frame) and vehicles. Counts of clips add up."""

    iou: Tensor  # summed over the true positives
    true_positive: Tensor
    false_positive: Tensor
    false_negative: Tensor

    @property
    def recognition_quality(self) -> Tensor:
        """[2] in 0..1: how many segments are found and followed, as an F1 score."""
        missed = (self.false_positive + self.false_negative) / 2
        return self.true_positive / (self.true_positive + missed).clamp(min=1)

    @property
    def segmentation_quality(self) -> Tensor:
        """[2] in 0..1: mean intersection over union of the found segments."""
        return self.iou / self.true_positive.clamp(min=1)

    @property
    def panoptic_quality(self) -> Tensor:
        """[2] in 0..1: the product of both."""
        return self.segmentation_quality * self.recognition_quality


def count_panoptic(predicted: Tensor, truth: Tensor, consistent: bool = True) -> PanopticCounts:
    """Matches the segments of one clip frame by frame and counts hits and misses.

    A predicted and a true segment match where they overlap by more than half of their union. A true vehicle that
    matches another prediction than at its last match counts as one false positive and one false negative, once.

    Args:
        predicted: [T Y X] int64 instance ids, 0 = background.
        truth: [T Y X] int64 likewise. The numbers themselves do not matter.
        consistent: demand consistency over time (video panoptic quality); without it, every frame is scored by itself.
    """
    expect("predicted ids", predicted, "T Y X", expect("true ids", truth, "T Y X"))
    overlap = _overlaps(predicted, truth)  # [T G+1 P+1] cells
    of_truth, of_predicted = overlap.sum(dim=2), overlap.sum(dim=1)  # [T G+1], [T P+1]
    union = of_truth.unsqueeze(2) + of_predicted.unsqueeze(1) - overlap
    # More than half of the union: at most one partner each, and 0 only ever matches 0 as vehicles match vehicles.
    hit = 2 * overlap > union
    hit[:, 0, 1:], hit[:, 1:, 0] = False, False
    overlap_ratio = overlap.double() / union.clamp(min=1)
    background = hit[:, 0, 0]
    hit_vehicle, ratio = hit[:, 1:, 1:], overlap_ratio[:, 1:, 1:]
    switched = _switched(hit_vehicle) if consistent else torch.zeros_like(hit_vehicle)
    kept = hit_vehicle & ~switched
    found = hit_vehicle.sum()
    missed = (of_truth[:, 1:] > 0).sum() - found + switched.sum()
    invented = (of_predicted[:, 1:] > 0).sum() - found + switched.sum()
    zero = missed * 0

    def per_class(of_background: Tensor, of_vehicles: Tensor) -> Tensor:
        return torch.stack((of_background.double(), of_vehicles.double()))

    return PanopticCounts(per_class(overlap_ratio[:, 0, 0][background].sum(), ratio[kept].sum()),
                          per_class(background.sum(), kept.sum()),
                          per_class(zero, invented), per_class(zero, missed))


def _overlaps(predicted: Tensor, truth: Tensor) -> Tensor:
    """Counts the cells [T G+1 P+1] that true and predicted segments share; index 0 is the background."""
    (true_count, true_index), (count, index) = _numbered(truth), _numbered(predicted)
    frame = torch.arange(len(truth), device=truth.device)[:, None, None]
    key = (frame * true_count + true_index) * count + index
    size = len(truth) * true_count * count
    return torch.bincount(key.flatten(), minlength=size).view(len(truth), true_count, count)


def _numbered(ids: Tensor) -> tuple[int, Tensor]:
    """Renumbers ids to 0 (background) and 1 .. n without gaps; returns n + 1 and the map."""
    used = torch.bincount(ids.flatten(), minlength=1) > 0
    used[0] = True
    return int(used.sum()), (used.cumsum(dim=0) - 1).index_select(0, ids.flatten()).view_as(ids)


def _switched(hit: Tensor) -> Tensor:
    """Marks the hits [T G P] at which a true vehicle meets another prediction than at its last hit."""
    partner = torch.full(hit.shape[1:2], -1, dtype=torch.int64, device=hit.device)  # [G] of the last hit
    switched = torch.zeros_like(hit)
    for frame, now in enumerate(hit):
        target, prediction = torch.nonzero(now, as_tuple=True)
        known = partner[target]
        switched[frame, target, prediction] = (known >= 0) & (known != prediction)
        partner[target] = prediction
    return switched
