"""What a network without error would score: what the grid, the coding and the decoding cost by themselves."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from mmengine.config import Config

from bevkit.engine.build import build_dataset, resolve
from bevkit.metrics.detection import NuScenesDetectionMetric
from bevkit.registry import METRICS
from bevkit.structures import BEVClip, Detections3D


def labels_of(cfg: Config, which: str, coded: bool = True) -> Any:
    """Builds a data set of a config without its images and augmentation; ``coded``: with the targets of the coder."""
    cfg = copy.deepcopy(cfg)
    dataset = cfg[f"{which}_dataloader"].dataset
    dataset.update(with_images=False, pipeline=[])
    if not coded:
        dataset.target_coder = None
    return build_dataset(cfg, which)


def oracle_scores(cfg: Config) -> dict[str, float]:
    """Sends the test truth through the head's coder and the metric: RANGE/iou, /vpq, /sq, /rq in percent."""
    dataset = labels_of(cfg, "test")
    metric = METRICS.build({**resolve(cfg).test_evaluator, "copy_last": False})
    for index in range(len(dataset)):
        targets = {name: value.unsqueeze(0) for name, value in dataset[index].targets.items()}
        decoded = dataset.target_coder.decode(dataset.target_coder.flawless(targets))[0]
        metric.add(decoded.ids, targets["instance"][0])
    return metric.compute_metrics(metric.results)


def score_detections(dataset: Any, detect: Callable[[BEVClip], Detections3D]) -> dict[str, float]:
    """Scores what a function says of each clip of a data set officially; see `metrics.detection.summary`."""
    metric = NuScenesDetectionMetric()
    metric.dataset_meta = dataset.metainfo
    for index in range(len(dataset)):
        clip = dataset[index]
        metric.add(clip.present.meta["sample_token"], clip.present.global_from_ego, detect(clip))
    return {name.split("/", 1)[1]: value for name, value in metric.evaluate(len(dataset)).items()}


def truth_as_detections(clip: BEVClip) -> Detections3D:
    """Returns the true boxes of the present as if a network had found them.

    Boxes that neither lidar nor radar hit are left out: the official score knows them neither.
    """
    boxes = clip.present.boxes
    boxes = boxes[(boxes.labels >= 0) & (boxes.sensor_points != 0)]
    return _told_apart(Detections3D(boxes, torch.ones(len(boxes))))


def _told_apart(found: Detections3D) -> Detections3D:
    """Spreads scores over 0.5..1 in the order given: of equal scores the devkit's errors see one box instead of all."""
    return Detections3D(found.boxes, torch.linspace(1, 0.5, len(found.scores)))


def coded_truth(dataset: Any) -> Callable[[BEVClip], Detections3D]:
    """Returns a function that sends the truth of a clip through the coder of its data set and back."""
    coder = dataset.target_coder

    def detect(clip: BEVClip) -> Detections3D:
        targets = {name: value.unsqueeze(0) for name, value in clip.targets.items()}
        return _told_apart(coder.decode(coder.flawless(targets))[0])

    return detect
