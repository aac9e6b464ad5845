"""Scores: pure functions under thin mmengine metrics."""

from bevkit.metrics.detection import NuScenesDetectionMetric
from bevkit.metrics.instances import FutureInstanceMetric, InstanceCounts, count_instances, instance_scores

__all__ = ["FutureInstanceMetric", "InstanceCounts", "NuScenesDetectionMetric", "count_instances", "instance_scores"]
