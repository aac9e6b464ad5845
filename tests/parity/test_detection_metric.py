"""The devkit's detection score on the reference boxes, through the path that bevkit's metric takes."""

import math

import pytest
from nuscenes.eval.common.data_classes import EvalBoxes
from nuscenes.eval.detection.data_classes import DetectionBox, DetectionConfig

from bevkit.metrics.detection import ERRORS, score_boxes, summary


def boxes_of(rows: list[dict]) -> EvalBoxes:
    boxes = EvalBoxes()
    for row in rows:
        boxes.add_boxes(row["sample_token"], [DetectionBox.deserialize(row)])
    return boxes


def same(ours: float, theirs: float) -> bool:
    return math.isnan(ours) and math.isnan(theirs) or ours == pytest.approx(theirs, rel=1e-9, abs=1e-9)


def test_score(golden):
    data = golden("detection/nuscenes_det_metric.json")
    result = data["result"]
    config = DetectionConfig.deserialize(result["cfg"])
    metrics = score_boxes(boxes_of(data["gt"]), boxes_of(data["pred"]), config)
    scores = summary(metrics)
    assert same(scores.pop("NDS"), result["nd_score"]) and same(scores.pop("mAP"), result["mean_ap"])
    for name, short in ERRORS.items():
        assert same(scores.pop(f"m{short}"), result["tp_errors"][name])
    for name, value in result["mean_dist_aps"].items():
        assert same(scores.pop(f"AP/{name}"), value)
    for name, errors in result["label_tp_errors"].items():
        for kind, value in errors.items():
            ours = scores.pop(f"{ERRORS[kind]}/{name}", math.nan)  # what is not asked of a class is left out
            assert same(ours, value)
    assert not scores
