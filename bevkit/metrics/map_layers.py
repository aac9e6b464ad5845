"""The score of map layers: intersection over union."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.evaluator import BaseMetric
from torch import Tensor

from bevkit.metrics.segmentation import SegmentationCounts, count_segmentation
from bevkit.registry import METRICS
from bevkit.structures import BEVBatch, BEVMaps


@METRICS.register_module()
class MapMetric(BaseMetric):
    """IoU of each layer in percent, over all cells of all keyframes, and their mean ``mIoU``."""

    default_prefix = "map"

    def __init__(self, collect_device: str = "cpu", prefix: str | None = None, collect_dir: str | None = None) -> None:
        super().__init__(collect_device, prefix, collect_dir)

    def process(self, data_batch: dict[str, BEVBatch], data_samples: Sequence[BEVMaps]) -> None:
        """Compares with the coder's target ``maps`` [B K Y X]."""
        targets = data_batch["batch"].targets
        if "maps" not in targets:
            raise ValueError("metric: expected targets['maps'] in the batch, got none; give the data set the "
                             "head's coder (target_coder) and a split with annotations")
        for found, truth in zip(data_samples, targets["maps"], strict=True):
            self.add(found, truth)

    def add(self, found: BEVMaps, truth: Tensor) -> None:
        """Counts one keyframe; truth [K Y X] of 0 and 1."""
        counts = [torch.stack(count_segmentation(*pair)) for pair in zip(found.inside.cpu(), truth.cpu() > 0.5)]
        self.results.append((found.layers, torch.stack(counts)))  # [K 3 2]

    def compute_metrics(self, results: list[tuple[tuple[str, ...], Tensor]]) -> dict[str, float]:
        layers, total = results[0][0], torch.stack([counts for _, counts in results]).sum(dim=0)
        scores = {f"IoU/{name}": 100 * float(SegmentationCounts(*counts).iou[1]) for name, counts in zip(layers, total)}
        return scores | {"mIoU": sum(scores.values()) / len(scores)}
