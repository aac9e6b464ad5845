"""bevkit's detections score the same by mmdet3d's NuScenesMetric as by bevkit's own metric."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bevkit.datasets import NuScenesClips
from bevkit.engine.oracle import score_detections, truth_as_detections
from bevkit.metrics.detection import ERRORS
from bevkit.structures import Detections3D
from bevkit.structures.classes import CLASSES
from tests.interop.infos import lidar_from_ego, write_infos

bridge = pytest.importorskip("bevkit.interop.mmdet3d", reason="mmdet3d is not installed (make test-mmdet3d)")


def imperfect(dataset: NuScenesClips, number: int) -> Detections3D:
    """The truth of a frame, displaced, resized and turned; some missing, some of a wrong class; all unequally sure."""
    chance = torch.Generator().manual_seed(number)
    truth = truth_as_detections(dataset[number]).boxes

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(len(truth), *shape, generator=chance, dtype=torch.float64)

    wrong = torch.randint(len(CLASSES), (len(truth),), generator=chance)
    labels = torch.where(torch.rand(len(truth), generator=chance) < 0.1, wrong, truth.labels)
    velocities = truth.velocities.nan_to_num() + 0.5 * noise(2)
    velocities[::7] = torch.nan  # unknown
    boxes = replace(truth, centers=truth.centers + 0.5 * noise(3), sizes=truth.sizes * (0.1 * noise(3)).exp(),
                    yaws=truth.yaws + 0.2 * noise(), velocities=velocities, labels=labels,
                    attributes=torch.full_like(labels, -1))
    kept = torch.rand(len(truth), generator=chance) < 0.9
    scores = torch.rand(len(truth), generator=chance, dtype=torch.float64)
    return Detections3D(boxes[kept], scores[kept])


def test_same_score(small_world, tmp_path):
    from mmdet3d.evaluation.metrics import NuScenesMetric

    path = tmp_path / "infos.pkl"
    dataset = write_infos(path, small_world, "mini_val")
    found = [imperfect(dataset, number) for number in range(len(dataset))]
    numbers = {dataset[number].present.meta["sample_token"]: number for number in range(len(dataset))}
    ours = score_detections(dataset, lambda clip: found[numbers[clip.present.meta["sample_token"]]])

    metric = NuScenesMetric(str(small_world), str(path))
    metric.dataset_meta = dict(classes=bridge.NUSCENES_CLASSES, version="v1.0-mini")
    for number, each in enumerate(found):
        metric.process({}, [bridge.data_sample(each, number, lidar_from_ego(dataset, number)).to_dict()])
    theirs = {name.split("/", 1)[1].replace("pred_instances_3d_NuScenes/", ""): value
              for name, value in metric.evaluate(len(found)).items()}

    assert 0.1 < ours["mAP"] < 0.9
    assert theirs["NDS"] == pytest.approx(ours["NDS"], abs=1e-5)
    assert theirs["mAP"] == pytest.approx(ours["mAP"], abs=1e-6)
    for short in ERRORS.values():
        assert theirs[f"m{short}"] == pytest.approx(ours[f"m{short}"], abs=2e-4)  # mmdet3d rounds to four digits
    for name in CLASSES:
        aps = [theirs[f"{name}_AP_dist_{distance}"] for distance in (0.5, 1.0, 2.0, 4.0)]
        assert np.mean(aps) == pytest.approx(ours[f"AP/{name}"], abs=1e-4)


def test_the_info_file_says_what_the_tables_say(small_world, tmp_path):
    dataset = write_infos(tmp_path / "infos.pkl", small_world, "mini_val")
    read = NuScenesClips(small_world, "v1.0-mini", infos=tmp_path / "infos.pkl", with_images=False)
    assert len(read) == len(dataset)
    for number in (0, len(read) - 1):
        one, other = dataset[number].present, read[number].present
        assert torch.allclose(one.rig.ego_from_camera, other.rig.ego_from_camera)
        boxes = one.boxes[one.boxes.labels >= 0]
        assert torch.allclose(boxes.centers, other.boxes.centers) and torch.equal(boxes.labels, other.boxes.labels)
