"""What a network without error would score: what the grid, the coding and the decoding cost by themselves."""

from __future__ import annotations

import copy

import torch
from mmengine.config import Config

from bevkit.engine.build import build_dataset
from bevkit.metrics.instances import InstanceCounts, count_instances, instance_scores


def oracle_scores(cfg: Config) -> dict[str, float]:
    """Sends the truth of the test data through the head's coder and the metric; returns iou, vpq, sq, rq in percent."""
    cfg = copy.deepcopy(cfg)
    cfg.test_dataloader.dataset.with_images = False
    dataset = build_dataset(cfg, "test")
    counts = []
    for index in range(len(dataset)):
        targets = {name: value.unsqueeze(0) for name, value in dataset[index].targets.items()}
        decoded = dataset.target_coder.decode(dataset.target_coder.flawless(targets))[0]
        counts.append(count_instances(decoded.ids, targets["instance"][0]).stacked())
    return instance_scores(InstanceCounts.unstacked(torch.stack(counts).sum(dim=0)))
