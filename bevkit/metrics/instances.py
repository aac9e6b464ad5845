"""The scores of future instance prediction: IoU and video panoptic quality over the present and the future frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from mmengine.evaluator import BaseMetric
from torch import Tensor

from bevkit.metrics.panoptic import PanopticCounts, count_panoptic
from bevkit.metrics.segmentation import SegmentationCounts, count_segmentation
from bevkit.registry import METRICS
from bevkit.structures import BEVBatch, BEVGrid, FutureInstances

VEHICLE = 1  # class index in the counts; 0 is the background


class InstanceCounts(NamedTuple):
    """What one clip or many contribute to the scores."""

    segmentation: SegmentationCounts
    panoptic: PanopticCounts

    def stacked(self) -> Tensor:
        """Returns all counts as one tensor [7 2]; those of clips and processes are summed in this form."""
        return torch.stack((*self.segmentation, *self.panoptic))

    @staticmethod
    def unstacked(counts: Tensor) -> InstanceCounts:
        """Undoes `stacked`."""
        return InstanceCounts(SegmentationCounts(*counts[:3]), PanopticCounts(*counts[3:]))


def count_instances(predicted: Tensor, truth: Tensor) -> InstanceCounts:
    """Compares the instance ids [F+1 Y X] int64 of one clip; 0 is background, the numbers themselves do not matter."""
    return InstanceCounts(count_segmentation(predicted > 0, truth > 0), count_panoptic(predicted, truth))


def instance_scores(counts: InstanceCounts) -> dict[str, float]:
    """Returns iou, vpq, sq (segmentation quality) and rq (recognition quality) of vehicles in percent."""
    panoptic = counts.panoptic
    scores = dict(iou=counts.segmentation.iou, vpq=panoptic.panoptic_quality, sq=panoptic.segmentation_quality,
                  rq=panoptic.recognition_quality)
    return {name: 100 * float(values[VEHICLE]) for name, values in scores.items()}


@METRICS.register_module()
class FutureInstanceMetric(BaseMetric):
    """Scores predicted instance maps against the coder's truth, on one or more parts of the grid.

    PowerBEV scores a model of a short grid on all of it, FIERY a part of the long grid: ``{"30x30": (15.0, 15.0)}``.
    Counts are kept per clip, so that any number of processes gives the same scores.

    Args:
        grid: of the maps, or its arguments; needed for ranges other than None only.
        ranges: for each name of a range its half sides (x, y) in metres around the ego, None = the whole grid.
        copy_last: score the predicted present map, held still over all future frames, beside the prediction.
    """

    default_prefix = "instances"

    def __init__(self, grid: BEVGrid | dict[str, Any] | None = None,
                 ranges: Mapping[str, tuple[float, float] | None] | None = None, copy_last: bool = False,
                 collect_device: str = "cpu", prefix: str | None = None, collect_dir: str | None = None) -> None:
        super().__init__(collect_device, prefix, collect_dir)
        grid = BEVGrid(**grid) if isinstance(grid, dict) else grid
        self.crops = {name: _crop(name, half, grid) for name, half in (ranges or {"all": None}).items()}
        self.copy_last = copy_last

    def process(self, data_batch: dict[str, BEVBatch], data_samples: Sequence[FutureInstances]) -> None:
        """Counts the clips of a batch; raises ValueError where the batch carries no truth."""
        targets = data_batch["batch"].targets
        if "instance" not in targets:
            raise ValueError("metric: expected targets['instance'] in the batch, got none; give the data set the "
                             "head's coder (target_coder) and a split with annotations")
        for truth, sample in zip(targets["instance"], data_samples, strict=True):
            self.add(sample.ids, truth.to(sample.ids.device))

    def add(self, predicted: Tensor, truth: Tensor) -> None:
        """Counts one clip: ids [F+1 Y X] of both."""
        contenders = {"": predicted}
        if self.copy_last:
            contenders["copy_last_"] = predicted[:1].expand_as(predicted)
        self.results.append({
            f"{name}/{contender}": count_instances(ids[:, rows, columns], truth[:, rows, columns]).stacked()
            for name, (rows, columns) in self.crops.items() for contender, ids in contenders.items()})

    def compute_metrics(self, results: list[dict[str, Tensor]]) -> dict[str, float]:
        """Returns RANGE/iou, /vpq, /sq, /rq and, if asked for, RANGE/copy_last_iou and so on, in percent."""
        totals = {name: torch.stack([result[name] for result in results]).sum(dim=0)
                  for name in (results[0] if results else ())}
        return {name + score: value for name, counts in totals.items()
                for score, value in instance_scores(InstanceCounts.unstacked(counts)).items()}


def _crop(name: str, half: tuple[float, float] | None, grid: BEVGrid | None) -> tuple[slice, slice]:
    if half is None:
        return slice(None), slice(None)
    if grid is None:
        raise ValueError(f"metric range {name!r}: expected a grid to cut half sides {tuple(half)} m from, got none; "
                         "add grid=dict(x=.., y=..)")
    x, y = half
    if not (grid.x[0] <= -x < x <= grid.x[1] and grid.y[0] <= -y < y <= grid.y[1]):
        raise ValueError(f"metric range {name!r}: expected half sides (x, y) inside the grid x={grid.x}, y={grid.y}, "
                         f"got {tuple(half)}; use None for the whole grid")
    return grid.crop((-x, x), (-y, y))
