"""The official nuScenes detection score (Caesar et al., CVPR 2020), by nuscenes-devkit itself."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from mmengine.evaluator import BaseMetric
from torch import Tensor

from bevkit.files import write_atomically
from bevkit.geometry import rigid
from bevkit.metrics.attributes import attribute_by_rule
from bevkit.registry import METRICS
from bevkit.structures import BEVBatch, Detections3D
from bevkit.structures.classes import ATTRIBUTES, CLASSES

if TYPE_CHECKING:
    from nuscenes.eval.common.data_classes import EvalBoxes
    from nuscenes.eval.detection.data_classes import DetectionConfig, DetectionMetrics

log = logging.getLogger(__name__)
MAX_BOXES = 500  # a keyframe, by the rules of the benchmark
ERRORS = {"trans_err": "ATE", "scale_err": "ASE", "orient_err": "AOE", "vel_err": "AVE", "attr_err": "AAE"}
USES = dict(use_camera=True, use_lidar=False, use_radar=False, use_map=False, use_external=False)
Rows = list[dict[str, Any]]


def submission_rows(token: str, global_from_ego: Tensor, found: Detections3D) -> Rows:
    """Writes the detections of one keyframe as the benchmark wants them: global frame, best 500, an attribute each.

    A predicted attribute (`Boxes3D.attributes`) stays; where it is -1 the rule by class and speed decides. An unknown
    velocity is written as zero, which is what the official score takes for "standing".

    Args: global_from_ego [4 4]; boxes in this ego frame.
    """
    chosen = found.scores.argsort(descending=True, stable=True)[:MAX_BOXES]
    scores = found.scores[chosen].double().cpu()
    boxes = found.boxes[chosen].to("cpu").map(lambda value: value.double() if value.is_floating_point() else value)
    pose = global_from_ego.double().cpu()
    attributes = torch.where(boxes.attributes >= 0, boxes.attributes, attribute_by_rule(boxes.labels, boxes.velocities))
    turns = rigid.quaternion_from_rotation(pose[:3, :3] @ rigid.rotation_about_z(boxes.yaws))  # [A 4]
    there = boxes.moved(pose)
    columns = (there.centers, there.sizes[:, [1, 0, 2]], turns, there.velocities.nan_to_num(), scores)  # w, l, h
    return [dict(sample_token=token, translation=center, size=size, rotation=turn, velocity=velocity,
                 detection_name=CLASSES[label], detection_score=score,
                 attribute_name=ATTRIBUTES[attribute] if attribute >= 0 else "")
            for center, size, turn, velocity, score, label, attribute in zip(
                *(column.tolist() for column in (*columns, boxes.labels, attributes)))]


def write_submission(path: Path, results: dict[str, Rows]) -> None:
    """Writes a results file for the benchmark's server; {sample token: rows}."""
    write_atomically(path, json.dumps(dict(meta=USES, results=results)))


def score_submission(path: Path, dataroot: str, version: str, split: str | None, tokens: Sequence[str]
                     ) -> DetectionMetrics:
    """Scores a results file on keyframes by the devkit's loaders, filters and `DetectionEval.evaluate`.

    The devkit's own constructor takes whole splits of versions that it knows; this takes any keyframes of any tables.
    On a whole split both give the same numbers; on less a warning says so.

    Raises:
        ValueError: none of these keyframes has an annotated box.
    """
    from nuscenes import NuScenes
    from nuscenes.eval.common.config import config_factory
    from nuscenes.eval.detection.data_classes import DetectionBox

    tables = NuScenes(version, str(dataroot), verbose=False)
    left_out = len(keyframes_of(tables, split)) - len(tokens)
    if left_out:
        log.warning("scored without %d keyframes of the split: the data set leaves them out", left_out)
    config = config_factory("detection_cvpr_2019")
    truth, found = truth_and_found(path, tables, tokens, config, DetectionBox)
    return score_boxes(truth, found, config)


def truth_and_found(path: Path, tables: Any, tokens: Sequence[str], config: Any, kind: type
                    ) -> tuple[EvalBoxes, EvalBoxes]:
    """Loads the true boxes of keyframes and those of a results file and drops those that the benchmark does not count.

    Args:
        tables: the devkit's ``NuScenes``.
        config: of the benchmark, with ``class_range`` and ``max_boxes_per_sample``.
        kind: the devkit's ``DetectionBox`` or ``TrackingBox``.
    """
    from nuscenes.eval.common.loaders import (
        add_center_dist,
        filter_eval_boxes,
        load_gt_of_sample_tokens,
        load_prediction_of_sample_tokens,
    )

    with contextlib.redirect_stderr(io.StringIO()):  # a progress bar that nobody asked for
        truth = load_gt_of_sample_tokens(tables, list(tokens), kind)
    found, _ = load_prediction_of_sample_tokens(str(path), config.max_boxes_per_sample, kind, list(tokens))
    if not truth.all:
        raise ValueError(f"metric: expected annotated boxes in the {len(tokens)} keyframes of {tables.version}, got "
                         "none; use a split with annotations")
    for boxes in (truth, found):
        add_center_dist(tables, boxes)
        if boxes.all:  # the devkit's filter stumbles where nothing at all was predicted
            filter_eval_boxes(tables, boxes, config.class_range)
    return truth, found


def score_boxes(truth: EvalBoxes, found: EvalBoxes, config: DetectionConfig) -> DetectionMetrics:
    """Runs the devkit's `DetectionEval.evaluate` on boxes as they are, without its loaders and filters."""
    from nuscenes.eval.detection.evaluate import DetectionEval

    run = DetectionEval.__new__(DetectionEval)
    run.cfg, run.verbose, run.gt_boxes, run.pred_boxes = config, False, truth, found
    return run.evaluate()[0]


def keyframes_of(tables: Any, split: str | None) -> list[str]:
    """Lists the sample tokens of a split of the devkit's or of ``splits.json``; None = all."""
    from nuscenes.utils.splits import get_scenes_of_split

    names = None if split is None else set(get_scenes_of_split(split, tables))
    scenes = {scene["token"] for scene in tables.scene if names is None or scene["name"] in names}
    return [sample["token"] for sample in tables.sample if sample["scene_token"] in scenes]


def summary(metrics: DetectionMetrics) -> dict[str, float]:
    """Returns NDS, mAP, mean errors mATE .. mAAE, AP/CLASS and ATE/CLASS .. AAE/CLASS as the devkit has them.

    0..1; m, rad, m/s. An error that the benchmark does not ask of a class is left out; a class that was never found has
    the error 1.
    """
    scores = dict(NDS=metrics.nd_score, mAP=metrics.mean_ap)
    scores.update({f"m{short}": metrics.tp_errors[name] for name, short in ERRORS.items()})
    scores.update({f"AP/{name}": float(value) for name, value in metrics.mean_dist_aps.items()})
    for name in metrics.mean_dist_aps:
        errors = {short: float(metrics.get_label_tp(name, error)) for error, short in ERRORS.items()}
        scores.update({f"{short}/{name}": value for short, value in errors.items() if not math.isnan(value)})
    return scores


@METRICS.register_module()
class NuScenesDetectionMetric(BaseMetric):
    """Writes the detections of all keyframes as a submission and scores it officially.

    Where the tables are, and which split, it knows from the data set (``metainfo``). On the split ``test``, whose truth
    is not public, it writes the submission alone. A keyframe that the data set left out (at the start of a scene,
    say) is left out of the score, with a warning: such a score is not the official one.

    Args:
        out: folder for results_nusc.json and metrics_summary.json; None writes neither.
    """

    default_prefix = "nuscenes"

    def __init__(self, out: str | Path | None = None, collect_device: str = "cpu", prefix: str | None = None,
                 collect_dir: str | None = None) -> None:
        super().__init__(collect_device, prefix, collect_dir)
        self.out = None if out is None else Path(out)

    def process(self, data_batch: dict[str, BEVBatch], data_samples: Sequence[Detections3D]) -> None:
        """Takes the detections of a batch of clips; they are those of each clip's present."""
        batch = data_batch["batch"]
        present = batch.past - 1
        for meta, poses, found in zip(batch.meta, batch.global_from_ego, data_samples, strict=True):
            self.add(meta[present]["sample_token"], poses[present], found)

    def add(self, token: str, global_from_ego: Tensor, found: Detections3D) -> None:
        """Takes the detections of one keyframe, in the ego frame of a pose [4 4]."""
        self.results.append((token, submission_rows(token, global_from_ego, found)))

    def compute_metrics(self, results: list[tuple[str, Rows]]) -> dict[str, float]:
        """Returns what `summary` says, or on the split ``test`` the number of boxes written."""
        meta, rows = self.dataset_meta or {}, dict(results)
        if not {"dataroot", "version", "split"} <= set(meta):
            raise ValueError("metric: expected dataroot, version and split from the data set's metainfo, got "
                             f"{', '.join(meta) or 'nothing'}; use a NuScenesClips data set")
        with tempfile.TemporaryDirectory() as spare:
            folder = self.out or Path(spare)
            folder.mkdir(parents=True, exist_ok=True)
            return self.score(rows, meta, folder)

    def score(self, rows: dict[str, Rows], meta: Mapping[str, Any], folder: Path) -> dict[str, float]:
        """Writes {sample token: rows} into a folder and scores them."""
        path = folder / "results_nusc.json"
        write_submission(path, rows)
        if meta["split"] == "test":
            return dict(submitted_boxes=float(sum(map(len, rows.values()))))
        metrics = score_submission(path, meta["dataroot"], meta["version"], meta["split"], list(rows))
        write_atomically(folder / "metrics_summary.json", json.dumps(metrics.serialize(), indent=2))
        return summary(metrics)
