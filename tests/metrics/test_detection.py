"""The official score: as the devkit's own run, truth scores 1, what is left out, what is written."""

import json
import math
from pathlib import Path

import pytest
import torch

from bevkit.datasets import NuScenesClips
from bevkit.engine.oracle import score_detections, truth_as_detections
from bevkit.engine.prior import fit_prior
from bevkit.metrics import NuScenesDetectionMetric
from bevkit.metrics.attributes import attribute_by_rule
from bevkit.metrics.detection import submission_rows
from bevkit.structures import Boxes3D, Detections3D
from bevkit.structures.classes import ATTRIBUTES, CLASSES


@pytest.fixture(scope="module")
def clips(small_world: Path) -> NuScenesClips:
    return NuScenesClips(small_world, "v1.0-mini", split="mini_val", with_images=False)


def blurred(clip) -> Detections3D:
    """The truth, some of it displaced, turned, or given to another class, by how its position falls."""
    found = truth_as_detections(clip)
    boxes, odd = found.boxes, (found.boxes.centers[:, 0] * 7).long() % 5
    centers, yaws, labels = boxes.centers.clone(), boxes.yaws.clone(), boxes.labels.clone()
    centers[odd == 1, 0] += 0.8
    yaws[odd == 2] += 0.4
    labels[odd == 3] = (labels[odd == 3] + 1) % len(CLASSES)
    scores = (odd + 1) / 7 + boxes.centers[:, 1] / 1e4
    return Detections3D(Boxes3D.predicted(centers, boxes.sizes * 1.1, yaws, boxes.velocities * 0.9, labels), scores)


def metric_of(clips: NuScenesClips, out: Path | None = None) -> NuScenesDetectionMetric:
    metric = NuScenesDetectionMetric(out)
    metric.dataset_meta = clips.metainfo
    return metric


def test_equals_the_devkits_own_run(clips, tmp_path):
    from nuscenes import NuScenes
    from nuscenes.eval.common.config import config_factory
    from nuscenes.eval.detection.evaluate import DetectionEval

    metric = metric_of(clips, tmp_path / "out")
    for index in range(len(clips)):
        clip = clips[index]
        metric.add(clip.present.meta["sample_token"], clip.present.global_from_ego, blurred(clip))
    ours = metric.evaluate(len(clips))

    tables = NuScenes("v1.0-mini", str(clips.dataroot), verbose=False)
    run = DetectionEval(tables, config_factory("detection_cvpr_2019"), str(tmp_path / "out" / "results_nusc.json"),
                        "mini_val", str(tmp_path / "devkit"), verbose=False)
    theirs = run.evaluate()[0]
    assert ours["nuscenes/NDS"] == theirs.nd_score and ours["nuscenes/mAP"] == theirs.mean_ap
    assert 0.1 < theirs.mean_ap < 0.9
    written = json.loads((tmp_path / "out" / "metrics_summary.json").read_text())
    assert written["mean_dist_aps"] == theirs.mean_dist_aps


def test_truth_scores_one(clips):
    from nuscenes.eval.common.config import config_factory

    scores, reach = score_detections(clips, truth_as_detections), config_factory("detection_cvpr_2019").class_range
    near = [CLASSES[label] for index in range(len(clips)) for boxes in [truth_as_detections(clips[index]).boxes]
            for label, place in zip(boxes.labels.tolist(), boxes.centers)
            if place[:2].norm() < reach[CLASSES[label]] - 1]
    present = set(near)
    for name in CLASSES:
        # 1 but for classes of which no box is near enough to count, whose score is 0 by definition
        assert scores[f"AP/{name}"] == pytest.approx(1) or (scores[f"AP/{name}"] == 0 and name not in present | {"car"})
    assert scores["AP/car"] == pytest.approx(1)


def test_truth_scores_one_on_real_boxes(nuscenes_real, tmp_path):
    clips = NuScenesClips(nuscenes_real, "v1.0-meta", with_images=False, keyframes=(0, 4), cache_dir=tmp_path)
    scores = score_detections(clips, truth_as_detections)
    # Boxes hit by radar alone count for the devkit; bevkit knows lidar points only.
    assert scores["AP/pedestrian"] > 0.95 and scores["AP/car"] > 0.85
    assert scores["AP/bus"] == 0  # there is none


def test_prior_says_little(clips, small_world):
    train = NuScenesClips(small_world, "v1.0-mini", split="mini_train", with_images=False)
    prior = fit_prior(train, 20)
    assert 0 < len(prior.scores) <= 200 and prior.scores.max() <= 1 + 1e-9
    cars = prior.boxes.labels == 0
    seen = torch.cat([truth_as_detections(train[index]).boxes.sizes[truth_as_detections(train[index]).boxes.labels == 0]
                      for index in range(len(train))])
    assert torch.allclose(prior.boxes.sizes[cars], seen.mean(dim=0).expand(int(cars.sum()), 3))
    own, other = (score_detections(data, lambda clip: prior)["mAP"] for data in (train, clips))
    assert other < 0.2 and own > 0


def test_nothing_found_scores_zero(clips):
    nothing = Detections3D(Boxes3D.empty(), torch.zeros(0))
    scores = score_detections(clips, lambda clip: nothing)
    assert scores["mAP"] == 0 and scores["NDS"] == 0 and scores["mATE"] == 1


def test_parts_of_a_split_are_told(clips, caplog):
    part = NuScenesClips(clips.dataroot, "v1.0-mini", split="mini_val", keyframes=(0, 3), with_images=False)
    scores = score_detections(part, truth_as_detections)
    assert scores["AP/car"] == pytest.approx(1)
    assert f"without {len(clips) - 3} keyframes" in caplog.text


def test_test_split_is_written_only(clips, tmp_path):
    metric = metric_of(clips, tmp_path)
    metric.dataset_meta = clips.metainfo | dict(split="test")
    clip = clips[0]
    metric.add("token", clip.present.global_from_ego, truth_as_detections(clip))
    count = len(truth_as_detections(clip).scores)
    assert metric.evaluate(1) == {"nuscenes/submitted_boxes": count}
    assert len(json.loads((tmp_path / "results_nusc.json").read_text())["results"]["token"]) == count
    assert not (tmp_path / "metrics_summary.json").exists()


def test_metric_needs_a_data_set():
    metric = NuScenesDetectionMetric()
    metric.dataset_meta = dict(classes=CLASSES)
    metric.add("token", torch.eye(4), Detections3D(Boxes3D.empty(), torch.zeros(0)))
    with pytest.raises(ValueError, match="use a NuScenesClips"):
        metric.evaluate(1)


def test_rows_are_global_and_limited():
    count = 600
    boxes = Boxes3D.predicted(torch.tensor([[1.0, 2.0, 3.0]]).expand(count, 3), torch.tensor([[4.0, 2.0, 1.5]]).expand(
        count, 3), torch.zeros(count), torch.tensor([[3.0, math.nan]]).expand(count, 2), torch.zeros(count).long())
    pose = torch.tensor([[0.0, -1, 0, 10], [1, 0, 0, 20], [0, 0, 1, 30], [0, 0, 0, 1]])  # a quarter turn to the left
    rows = submission_rows("token", pose, Detections3D(boxes, torch.linspace(0, 1, count)))
    assert len(rows) == 500 and rows[0]["detection_score"] == 1
    row = rows[0]
    assert row["translation"] == pytest.approx([8, 21, 33]) and row["size"] == [2.0, 4.0, 1.5]
    assert row["rotation"] == pytest.approx([math.sqrt(0.5), 0, 0, math.sqrt(0.5)])
    assert row["velocity"] == [0, 0] and row["attribute_name"] == "vehicle.parked"  # unknown counts as standing


@pytest.mark.parametrize("name, speed, attribute", [
    ("car", 5.0, "vehicle.moving"), ("car", 0.1, "vehicle.parked"), ("bus", 0.0, "vehicle.stopped"),
    ("pedestrian", 1.0, "pedestrian.moving"), ("pedestrian", 0.0, "pedestrian.standing"),
    ("bicycle", 3.0, "cycle.with_rider"), ("motorcycle", 0.0, "cycle.without_rider"), ("barrier", 0.0, None),
    ("traffic_cone", 9.0, None)])
def test_attribute_rule(name, speed, attribute):
    found = attribute_by_rule(torch.tensor([CLASSES.index(name)]), torch.tensor([[0.0, -speed]]))
    assert found.tolist() == [-1 if attribute is None else ATTRIBUTES.index(attribute)]


def test_predicted_attributes_stay():
    boxes = truth_like(ATTRIBUTES.index("vehicle.stopped"))
    row, = submission_rows("token", torch.eye(4), Detections3D(boxes, torch.ones(1)))
    assert row["attribute_name"] == "vehicle.stopped"


def truth_like(attribute: int) -> Boxes3D:
    boxes = Boxes3D.predicted(torch.zeros(1, 3), torch.ones(1, 3), torch.zeros(1), torch.zeros(1, 2),
                              torch.zeros(1).long())
    boxes.attributes[0] = attribute
    return boxes
