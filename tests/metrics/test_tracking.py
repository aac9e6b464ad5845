"""Tracks: who is followed, for how long, and that true boxes score as true tracks."""

from pathlib import Path

import pytest

from bevkit.datasets import NuScenesClips
from bevkit.engine.oracle import truth_as_detections
from bevkit.metrics import GreedyTracker, NuScenesTrackingMetric
from bevkit.metrics.tracking import track_scenes


def row(x: float, vx: float = 0.0, name: str = "car", score: float = 0.5, y: float = 0.0) -> dict:
    return dict(sample_token="t", translation=[x, y, 0.0], size=[2.0, 4.0, 1.5], rotation=[1.0, 0.0, 0.0, 0.0],
                velocity=[vx, 0.0], detection_name=name, detection_score=score)


def ids(tracker: GreedyTracker, rows: list[dict], seconds: float) -> list[str]:
    return [found["tracking_id"] for found in tracker(rows, seconds)]


def test_a_car_is_followed_by_its_velocity():
    tracker = GreedyTracker()
    assert ids(tracker, [row(0, 20)], 0.0) == ["0"]
    assert ids(tracker, [row(10, 20)], 0.5) == ["0"]  # ten metres on, out of reach but for its velocity
    assert ids(tracker, [row(40, 0)], 1.0) == ["1"]


def test_the_surest_takes_its_track_first_and_classes_do_not_mix():
    tracker = GreedyTracker()
    assert ids(tracker, [row(0, score=0.9), row(3, score=0.8), row(1, name="bus", score=0.1)], 0.0) == ["0", "1", "2"]
    found = tracker([row(1.4, score=0.3), row(2.0, score=0.7), row(1.2, name="bus", score=0.5)], 0.5)
    assert [(one["tracking_name"], one["tracking_id"]) for one in found] == [("car", "1"), ("bus", "2"), ("car", "0")]


def test_what_is_unseen_goes_on_for_a_while():
    tracker = GreedyTracker(patience=1.6)
    ids(tracker, [row(0, 10)], 0.0)
    for seconds in (0.5, 1.0):
        assert ids(tracker, [], seconds) == []
    assert ids(tracker, [row(15, 10)], 1.5) == ["0"]
    for seconds in (2.0, 2.5, 3.0, 3.5):
        ids(tracker, [], seconds)
    assert ids(tracker, [row(40, 10)], 4.0) == ["1"]


def test_what_nuscenes_does_not_track_is_left_out_and_time_runs_on():
    tracker = GreedyTracker()
    assert tracker([row(0, name="barrier")], 1.0) == []
    with pytest.raises(ValueError, match="in order"):
        tracker([], 0.5)


def test_scenes_have_tracks_of_their_own():
    found = track_scenes({"a": [row(0)], "b": [row(0)], "c": [row(0)]}, [[("a", 0.0), ("b", 0.5)], [("c", 1.0)]])
    assert [found[token][0]["tracking_id"] for token in "abc"] == ["0-0", "0-0", "1-0"]


def test_true_boxes_make_true_tracks(small_world: Path, tmp_path: Path):
    pytest.importorskip("motmetrics", reason="the extra `tracking` is not installed")
    clips = NuScenesClips(small_world, "v1.0-mini", split="mini_val", with_images=False)
    metric = NuScenesTrackingMetric(tmp_path)
    metric.dataset_meta = clips.metainfo
    for index in range(len(clips)):
        clip = clips[index]
        metric.add(clip.present.meta["sample_token"], clip.present.global_from_ego, truth_as_detections(clip))
    scores = metric.evaluate(len(clips))
    assert scores["tracking/recall"] > 0.99 and scores["tracking/AMOTA"] > 0.9
    assert (tmp_path / "results_tracking.json").is_file() and (tmp_path / "tracking_summary.json").is_file()


def test_a_split_is_wanted(small_world: Path):
    clips = NuScenesClips(small_world, "v1.0-mini", split=None, with_images=False)
    metric = NuScenesTrackingMetric()
    metric.dataset_meta = clips.metainfo
    metric.results = [(clips[0].present.meta["sample_token"], [])]
    with pytest.raises(ValueError, match="split"):
        metric.compute_metrics(metric.results)
