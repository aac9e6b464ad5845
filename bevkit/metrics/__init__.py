"""Scores: pure functions under thin mmengine metrics."""

from bevkit.metrics.instances import FutureInstanceMetric, InstanceCounts, count_instances, instance_scores

__all__ = ["FutureInstanceMetric", "InstanceCounts", "count_instances", "instance_scores"]
