"""How well the paths of found objects are forecast: minADE, minFDE, miss rate and end-to-end prediction accuracy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from torch import Tensor

from bevkit.registry import METRICS
from bevkit.structures import KEYFRAME_SECONDS, BEVBatch, Boxes3D, Detections3D, steady_paths, true_paths
from bevkit.structures.classes import CLASSES

GROUPS = {"vehicle": ("car", "truck", "construction_vehicle", "bus", "trailer", "motorcycle", "bicycle"),
          "pedestrian": ("pedestrian",)}


@METRICS.register_module()
class ForecastMetric(BaseMetric):
    """Scores forecasts of detected objects as ViP3D does (Gu et al., CVPR 2023, section 4.1).

    A detection above ``score`` belongs to the nearest free true object of its group within ``reach``, surest first. Of
    its guesses the nearest counts: by mean distance (minADE), by distance at the last known step (minFDE); it hits if
    that is below ``hit``, else it misses (MR, the share of the matched). EPA = (hits - penalty * false alarms) / true
    objects. True objects are those with a lidar point, within ``range`` of the ego, whose future is known for a step at
    least; a detection that belongs to an object without a known future counts neither way. A detector that forecasts
    nothing is taken to go on at its predicted velocities.

    Args:
        steps: F keyframes to come, 0.5 s each.
        score: detections that count.
        reach, hit, range: metres.
        penalty: of a false alarm.
    """

    default_prefix = "forecast"

    def __init__(self, steps: int = 12, score: float = 0.3, reach: float = 2.0, hit: float = 2.0, range: float = 50.0,
                 penalty: float = 0.5, collect_device: str = "cpu", prefix: str | None = None,
                 collect_dir: str | None = None) -> None:
        super().__init__(collect_device, prefix, collect_dir)
        self.steps, self.score, self.reach, self.hit = steps, score, reach, hit
        self.range, self.penalty = range, penalty

    def process(self, data_batch: dict[str, BEVBatch], data_samples: Sequence[Detections3D]) -> None:
        """Takes the detections of a batch of clips with ``steps`` future frames."""
        batch = data_batch["batch"]
        for boxes, poses, found in zip(batch.boxes, batch.global_from_ego, data_samples, strict=True):
            self.add(boxes[batch.past - 1:], poses[batch.past - 1:], found)

    def add(self, boxes: Sequence[Boxes3D | None], poses: Tensor, found: Detections3D) -> None:
        """Takes one clip: true boxes and poses [F'+1 4 4] of present and future frames, and what was found."""
        present = boxes[0]
        if present is None or len(boxes) <= self.steps:
            raise ValueError(f"ForecastMetric: expected true boxes of the present and {self.steps} future keyframes, "
                             f"got {len(boxes) - 1}; set the data set's future={self.steps} and at_scene_end='unknown'")
        future = true_paths(present, poses[0], boxes[1: self.steps + 1], poses[1: self.steps + 1])
        counts = {}
        for group, names in GROUPS.items():
            labels = torch.tensor([CLASSES.index(name) for name in names])
            inside = present.centers[:, :2].norm(dim=1) <= self.range
            truth = torch.isin(present.labels, labels) & (present.sensor_points != 0) & inside
            chosen = torch.isin(found.boxes.labels.cpu(), labels) & (found.scores.cpu() > self.score)
            chosen &= found.boxes.centers[:, :2].cpu().norm(dim=1) <= self.range
            counts[group] = self.compare(present.centers[truth, :2].numpy(), future[truth].numpy(), *(
                value.cpu()[chosen].numpy() for value in (found.boxes.centers[:, :2], found.scores,
                                                          self._paths(found))))
        self.results.append(counts)  # one a clip: mmengine counts them

    def _paths(self, found: Detections3D) -> Tensor:
        """Returns the guesses [A K F 2]."""
        if found.paths is None:
            seconds = KEYFRAME_SECONDS * torch.arange(1, self.steps + 1).to(found.boxes.velocities)
            return steady_paths(found.boxes.velocities, seconds)[:, None]
        if found.paths.shape[2] < self.steps:
            raise ValueError(f"ForecastMetric: expected forecasts of {self.steps} steps or more, got "
                             f"{found.paths.shape[2]}; set steps={found.paths.shape[2]}")
        return found.paths[:, :, : self.steps]

    def compare(self, places: np.ndarray, future: np.ndarray, found: np.ndarray, scores: np.ndarray,
                guesses: np.ndarray) -> tuple[float, ...]:
        """Counts one clip: (true objects, false alarms, matched, hits, sum of minADE, sum of minFDE).

        Args: true places [A 2] and paths [A F 2] (NaN unknown); found places [D 2], scores [D], guesses [D K F 2].
        """
        known = np.isfinite(future).all(axis=-1)  # [A F]
        free, counts = np.ones(len(places), bool), np.zeros(5)
        for index in np.argsort(-scores, kind="stable"):
            distance = np.where(free, np.linalg.norm(places - found[index], axis=1), np.inf)
            nearest = int(distance.argmin()) if len(places) else -1
            if nearest < 0 or distance[nearest] > self.reach:
                counts[0] += 1
                continue
            free[nearest] = False
            steps = known[nearest]
            if not steps.any():
                continue
            # Both ends are compared where they are: the detection's own error of place belongs to its forecast.
            shift = found[index] - places[nearest]
            apart = np.linalg.norm(guesses[index] + shift - future[nearest], axis=-1)[:, steps]  # [K F']
            final = apart[:, -1].min()
            counts[1:] += 1, final < self.hit, apart.mean(axis=1).min(), final
        return (float(known.any(axis=1).sum()), *counts.tolist())

    def compute_metrics(self, results: list[dict[str, tuple[float, ...]]]) -> dict[str, float]:
        """Returns GROUP/minADE and /minFDE in metres, /MR and /EPA in 0..1 (NaN where there is nothing to score)."""
        scores = {}
        for group in GROUPS:
            truth, alarms, matched, hits, ade, fde = np.sum([row[group] for row in results], axis=0).tolist()
            nan = float("nan")
            scores.update({
                f"{group}/minADE": ade / matched if matched else nan,
                f"{group}/minFDE": fde / matched if matched else nan,
                f"{group}/MR": 1 - hits / matched if matched else nan,
                f"{group}/EPA": (hits - self.penalty * alarms) / truth if truth else nan})
        return scores
