"""Scores: pure functions under thin mmengine metrics."""

from bevkit.metrics.detection import NuScenesDetectionMetric
from bevkit.metrics.forecast import ForecastMetric
from bevkit.metrics.instances import FutureInstanceMetric, InstanceCounts, count_instances, instance_scores
from bevkit.metrics.map_layers import MapMetric
from bevkit.metrics.tracking import GreedyTracker, NuScenesTrackingMetric

__all__ = ["ForecastMetric", "FutureInstanceMetric", "GreedyTracker", "InstanceCounts", "MapMetric",
           "NuScenesDetectionMetric", "NuScenesTrackingMetric", "count_instances", "instance_scores"]
