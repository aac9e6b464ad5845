"""Tracks made of detections by their velocities, and the official nuScenes tracking score of them."""

from __future__ import annotations

import json
import unittest
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bevkit.files import write_atomically
from bevkit.metrics.detection import USES, NuScenesDetectionMetric, Rows, truth_and_found
from bevkit.registry import METRICS

if TYPE_CHECKING:
    from nuscenes.eval.tracking.data_classes import TrackingMetrics

# How far from where its velocity puts it an object may be found again, metres; CenterPoint's (CVPR 2021) numbers. The
# classes are those that nuScenes tracks.
REACH = {"bicycle": 3.0, "bus": 5.5, "car": 4.0, "motorcycle": 13.0, "pedestrian": 1.0, "trailer": 3.0, "truck": 4.0}
MISSING = "tracking: expected the package motmetrics, which nuscenes-devkit's TrackingEval reads; " \
          'pip install ".[tracking]"'


@dataclass
class Track:
    """An object that is being followed: where it was at the last keyframe, how it moves, how long it was not seen."""

    number: int
    name: str
    place: np.ndarray  # [2] metres
    velocity: np.ndarray  # [2] m/s
    unseen: float = 0.0  # seconds


class GreedyTracker:
    """Follows objects of one scene through its keyframes (CenterPoint, CVPR 2021, section 4.2).

    Each detection, the surest first, is moved back by its velocity and takes the nearest track of its class within
    reach that nobody took; else it begins a track. A track that nobody takes goes on by its own velocity for a while.

    Args:
        reach: metres, by class; classes not named are not tracked.
        patience: seconds that a track is followed unseen.
    """

    def __init__(self, reach: Mapping[str, float] = REACH, patience: float = 1.6) -> None:
        self.reach, self.patience = dict(reach), patience
        self.tracks: list[Track] = []
        self.seconds: float | None = None
        self.count = 0

    def __call__(self, rows: Rows, seconds: float) -> Rows:
        """Takes the detections of the next keyframe, in the global frame; returns rows with a ``tracking_id``."""
        elapsed = 0.0 if self.seconds is None else seconds - self.seconds
        if elapsed < 0:
            raise ValueError(f"tracker: expected keyframes in order, got {seconds:.3f} s after {self.seconds:.3f} s")
        self.seconds = seconds
        known, found, taken = self.tracks, [], set()
        for row in sorted(rows, key=lambda row: -row["detection_score"]):
            name = row["detection_name"]
            if name not in self.reach:
                continue
            place, velocity = np.asarray(row["translation"][:2]), np.asarray(row["velocity"])
            before = place - velocity * elapsed
            near = [(float(np.linalg.norm(track.place - before)), index) for index, track in enumerate(known)
                    if track.name == name and index not in taken]
            distance, index = min(near, default=(np.inf, -1))
            if distance < self.reach[name]:
                taken.add(index)
                number = known[index].number
            else:
                number, self.count = self.count, self.count + 1
            found.append((Track(number, name, place, velocity), row))
        lost = [track for index, track in enumerate(known) if index not in taken]
        for track in lost:
            track.place = track.place + track.velocity * elapsed
            track.unseen += elapsed
        self.tracks = [track for track, _ in found] + [track for track in lost if track.unseen < self.patience]
        return [tracking_row(row, track.number) for track, row in found]


def tracking_row(row: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Writes a detection of a track as the tracking benchmark wants it."""
    shared = ("sample_token", "translation", "size", "rotation", "velocity")
    return dict({name: row[name] for name in shared}, tracking_id=str(number), tracking_name=row["detection_name"],
                tracking_score=row["detection_score"])


def track_scenes(results: Mapping[str, Rows], scenes: Sequence[Sequence[tuple[str, float]]], **options: Any
                 ) -> dict[str, Rows]:
    """Tracks the detections {sample token: rows} of scenes, each its keyframes (sample token, seconds) in order."""
    tracked: dict[str, Rows] = {}
    for number, keyframes in enumerate(scenes):
        tracker = GreedyTracker(**options)
        for token, seconds in keyframes:
            rows = tracker(results.get(token, []), seconds)
            tracked[token] = [dict(row, tracking_id=f"{number}-{row['tracking_id']}") for row in rows]
    return tracked


def score_tracks(path: Path, tables: Any, split: str, tokens: Sequence[str]) -> TrackingMetrics:
    """Scores a tracking results file on keyframes of a split by the devkit's loaders, filters and `TrackingEval`.

    Args: tables: the devkit's ``NuScenes``.

    Raises:
        ValueError: motmetrics is not installed, or there is nothing annotated.
    """
    from nuscenes.eval.common.config import config_factory
    from nuscenes.eval.tracking.data_classes import TrackingBox

    try:
        from nuscenes.eval.tracking.evaluate import TrackingEval
        from nuscenes.eval.tracking.loaders import create_tracks
    except (ImportError, unittest.SkipTest) as error:  # the devkit skips itself where pandas is missing
        raise ValueError(MISSING) from error
    config = config_factory("tracking_nips_2019")
    truth, found = truth_and_found(path, tables, tokens, config, TrackingBox)
    run = TrackingEval.__new__(TrackingEval)  # its constructor takes whole splits alone
    run.cfg, run.verbose, run.output_dir, run.render_classes = config, False, None, None
    run.tracks_gt, run.tracks_pred = (create_tracks(boxes, tables, split, gt=gt)
                                      for boxes, gt in ((truth, True), (found, False)))
    return run.evaluate()[0]


@METRICS.register_module()
class NuScenesTrackingMetric(NuScenesDetectionMetric):
    """Tracks detections through their scenes (`GreedyTracker`) and scores the tracks officially.

    Stands beside `NuScenesDetectionMetric` in a config's evaluators. Needs the extra ``tracking``.

    Args:
        out: folder for results_tracking.json and tracking_summary.json; None writes neither.
        patience: seconds that a track is followed unseen.
    """

    default_prefix = "tracking"

    def __init__(self, out: str | Path | None = None, patience: float = 1.6, **options: Any) -> None:
        super().__init__(out, **options)
        self.patience = patience

    def score(self, rows: dict[str, Rows], meta: Mapping[str, Any], folder: Path) -> dict[str, float]:
        """Returns AMOTA, AMOTP, MOTA, MOTP, recall, identity switches, and AMOTA/CLASS, as the devkit has them."""
        if meta["split"] is None:
            raise ValueError("tracking: expected a split, got None; name one of the devkit's or of splits.json")
        from nuscenes import NuScenes

        tables, path = NuScenes(meta["version"], str(meta["dataroot"]), verbose=False), folder / "results_tracking.json"
        tracked = track_scenes(rows, scenes_of(tables, rows), patience=self.patience)
        write_atomically(path, json.dumps(dict(meta=USES, results=tracked)))
        if meta["split"] == "test":
            return dict(submitted_tracks=float(len({row["tracking_id"] for rows in tracked.values() for row in rows})))
        metrics = score_tracks(path, tables, meta["split"], list(rows)).serialize()
        write_atomically(folder / "tracking_summary.json", json.dumps(metrics, indent=2))
        scores = {name: float(metrics[key]) for name, key in (
            ("AMOTA", "amota"), ("AMOTP", "amotp"), ("MOTA", "mota"), ("MOTP", "motp"), ("recall", "recall"),
            ("switches", "ids"))}
        return scores | {f"AMOTA/{name}": float(value) for name, value in metrics["label_metrics"]["amota"].items()}


def scenes_of(tables: Any, tokens: Mapping[str, Any]) -> list[list[tuple[str, float]]]:
    """Groups keyframes of the devkit's ``NuScenes`` by scene, in order: (sample token, seconds)."""
    scenes: dict[str, list[tuple[str, float]]] = {}
    for sample in sorted(tables.sample, key=lambda sample: sample["timestamp"]):
        if sample["token"] in tokens:
            scenes.setdefault(sample["scene_token"], []).append((sample["token"], 1e-6 * sample["timestamp"]))
    return list(scenes.values())
