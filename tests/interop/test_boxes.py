"""Boxes cross to mmdet3d and back, and overlap and suppress each other as by its compiled operators."""

import math

import pytest
import torch

from bevkit.geometry import rigid
from bevkit.geometry.boxes import points_in_boxes
from bevkit.geometry.overlap import rotated_iou
from bevkit.ops.nms import circle_nms, rotated_nms
from bevkit.structures import Boxes3D, Detections3D
from bevkit.structures.classes import CLASSES

bridge = pytest.importorskip("bevkit.interop.mmdet3d", reason="mmdet3d is not installed (make test-mmdet3d)")

COUNT = 10_000
# The lidar of a nuScenes car: it looks to the right, leans a little, and stands on the roof.
LEANING = rigid.rigid_from(rigid.rotation_from_quaternion(
    torch.tensor([0.7077955119163518, -0.006492242056004365, 0.010646214713995808, -0.7063073142877817],
                 dtype=torch.float64)), torch.tensor([0.943713, 0.0, 1.84023], dtype=torch.float64))


def turned(yaw: float) -> torch.Tensor:
    """[4 4] ego_from_lidar of an upright lidar."""
    return rigid.rigid_from(rigid.rotation_about_z(torch.tensor(yaw, dtype=torch.float64)),
                            torch.tensor([0.9, 0.1, 1.8], dtype=torch.float64))


def random_boxes(count: int = COUNT, reach: float = 60.0, seed: int = 0) -> Boxes3D:
    chance = torch.Generator().manual_seed(seed)

    def between(low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(count, *shape, dtype=torch.float64, generator=chance)

    centers = torch.cat((between(-reach, reach, 2), between(-3, 3, 1)), dim=1)
    return Boxes3D.predicted(centers, between(0.3, 12, 3), between(-math.pi, math.pi), between(-15, 15, 2),
                             torch.randint(len(CLASSES), (count,), generator=chance))


def rectangles(boxes: Boxes3D) -> torch.Tensor:
    """[A 5] = x, y, l, w, yaw."""
    return torch.cat((boxes.centers[:, :2], boxes.sizes[:, :2], boxes.yaws[:, None]), dim=1)


def distinct_scores(count: int = COUNT, seed: int = 1) -> torch.Tensor:
    return (1 + torch.randperm(count, generator=torch.Generator().manual_seed(seed))).double() / (count + 1)


@pytest.mark.parametrize("ego_from_lidar", [turned(-math.pi / 2), turned(0.3), LEANING],
                         ids=["right", "left", "nuScenes"])
def test_boxes_come_back(ego_from_lidar):
    boxes = random_boxes()
    there = bridge.lidar_boxes(boxes, rigid.inverse(ego_from_lidar))
    labels = torch.tensor([bridge.NUSCENES_CLASSES.index(name) for name in CLASSES])[boxes.labels]
    back = bridge.ego_boxes(there, labels, ego_from_lidar).map(lambda value: value.to(torch.float64))
    assert torch.equal(back.labels.long(), boxes.labels)
    assert torch.allclose(back.centers, boxes.centers, atol=2e-5, rtol=0)
    assert torch.allclose(back.sizes, boxes.sizes, atol=2e-6, rtol=0)
    # mmdet3d's boxes stand upright on the lidar: what a leaning one tips is lost, the square of 1.4 degrees.
    lost = 1e-3 if ego_from_lidar is LEANING else 2e-6
    assert (back.yaws - boxes.yaws).sin().abs().max() < lost and (back.yaws - boxes.yaws).cos().min() > 0
    assert torch.allclose(back.velocities, boxes.velocities, atol=20 * lost, rtol=0)


def test_corners_are_mmdet3ds():
    boxes = random_boxes()
    theirs = bridge.lidar_boxes(boxes, torch.eye(4, dtype=torch.float64))
    # Theirs: x0y0z0, x0y0z1, x0y1z1, x0y1z0, then x1; ours: bottom then top, from front left (x1 y1).
    assert torch.allclose(theirs.corners[:, [7, 3, 0, 4, 6, 2, 1, 5]].double(), boxes.corners, atol=3e-5, rtol=0)
    assert torch.allclose(theirs.gravity_center.double(), boxes.centers, atol=1e-5, rtol=0)
    assert torch.allclose(theirs.bev.double(), rectangles(boxes), atol=1e-5, rtol=0)


def test_a_turned_lidar_moves_boxes_as_mmdet3d_does():
    boxes, ego_from_lidar = random_boxes(), turned(0.7)
    theirs = bridge.lidar_boxes(boxes, torch.eye(4, dtype=torch.float64))
    theirs.translate(-ego_from_lidar[:3, 3].float())
    theirs.rotate(-0.7)
    ours = bridge.lidar_boxes(boxes, rigid.inverse(ego_from_lidar))
    for part in (slice(0, 6), slice(7, 9)):
        assert torch.allclose(ours.tensor[:, part], theirs.tensor[:, part], atol=5e-5)
    assert (ours.yaw - theirs.yaw).cos().min() > 1 - 1e-6 and (ours.yaw - theirs.yaw).sin().abs().max() < 1e-5


def test_boxes_without_velocity_have_an_unknown_one():
    boxes = random_boxes(3)
    there = bridge.lidar_boxes(boxes, torch.eye(4, dtype=torch.float64))
    there = type(there)(there.tensor[:, :7])
    assert bridge.ego_boxes(there, boxes.labels, torch.eye(4)).velocities.isnan().all()


def test_overlap_is_mmcvs():
    from mmcv.ops import box_iou_rotated

    meetings = 0
    for ours in rectangles(random_boxes(reach=200.0)).float().split(1000):  # a million pairs each
        expected = box_iou_rotated(ours, ours)  # knows float32 only
        assert torch.allclose(rotated_iou(ours, ours).float(), expected, atol=1e-5, rtol=0)
        meetings += int((expected > 0.01).sum())
    assert meetings > COUNT * 1.2  # every box meets itself, and many another


def test_overlap_of_pairs_is_mmcvs():
    """10,000 pairs that nearly all overlap, in the frame mmdet3d has them."""
    from mmcv.ops import box_iou_rotated

    one = rectangles(random_boxes())
    other = one + 0.3 * torch.randn(one.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    other[:, 2:4] = other[:, 2:4].abs() + 0.1
    one, other = one.float(), other.float()
    expected = box_iou_rotated(one, other, aligned=True)
    ours = torch.cat([rotated_iou(a, b).diagonal() for a, b in zip(one.split(100), other.split(100))])
    assert torch.allclose(ours.float(), expected, atol=1e-5, rtol=0) and (expected > 0).double().mean() > 0.9


def assert_same_suppression(boxes: torch.Tensor, scores: torch.Tensor, threshold: float) -> int:
    from mmcv.ops import nms_rotated
    from mmdet3d.models.layers import nms_bev
    from mmdet3d.structures import xywhr2xyxyr

    ours = rotated_nms(boxes, scores, threshold)
    assert torch.equal(ours, nms_rotated(boxes, scores, threshold)[1])
    assert torch.equal(ours, nms_bev(xywhr2xyxyr(boxes), scores, threshold))
    return len(ours)


def test_suppression_is_mmcvs_and_mmdet3ds():
    assert 200 < assert_same_suppression(rectangles(random_boxes(reach=25.0)), distinct_scores(), 0.2) < COUNT / 2


@pytest.mark.parametrize("threshold", [0.01, 0.5])
def test_suppression_at_any_threshold(threshold):
    boxes, scores = rectangles(random_boxes(reach=12.0)), distinct_scores()
    kept = [assert_same_suppression(*part, threshold) for part in zip(boxes.split(500), scores.split(500))]
    assert 100 < sum(kept) < COUNT


def test_circle_suppression_is_mmdet3ds():
    from mmdet3d.models.layers import circle_nms as theirs

    centers, scores = random_boxes(reach=20.0).centers[:, :2], distinct_scores()
    for places, sure in zip(centers.split(1000), scores.split(1000)):
        expected = theirs(torch.cat((places, sure[:, None]), dim=1).numpy(), 4.0, post_max_size=COUNT)
        assert circle_nms(places, sure, 4.0).tolist() == [int(kept) for kept in expected]


def test_points_in_boxes_are_mmcvs():
    from mmcv.ops import points_in_boxes_cpu

    boxes = random_boxes()
    points = 60 * (2 * torch.rand(200, 3, generator=torch.Generator().manual_seed(3)) - 1)
    points[:, 2] /= 20
    rows = bridge.lidar_boxes(boxes, torch.eye(4)).tensor
    theirs = points_in_boxes_cpu(points[None], rows[None, :, :7])[0]  # [P A]
    ours = points_in_boxes(points.double(), boxes.centers, boxes.sizes, boxes.yaws).T
    assert ours.sum() > 1000 and (ours != theirs.bool()).sum() <= 2  # float32 at the border


def test_detections_come_back_best_first():
    boxes, scores = random_boxes(600), distinct_scores(600)
    sample = bridge.data_sample(Detections3D(boxes, scores), 7, rigid.inverse(turned(-1.5)))
    back = bridge.detections(sample, turned(-1.5))
    order = scores.argsort(descending=True)[:500]
    assert sample.metainfo["sample_idx"] == 7 and torch.equal(back.boxes.labels, boxes.labels[order])
    assert torch.allclose(back.boxes.centers.double(), boxes.centers[order], atol=2e-5)
    assert torch.allclose(back.scores.double(), scores[order], atol=1e-7)


def test_boxes_of_other_classes_stay_behind():
    boxes, scores = random_boxes(50), distinct_scores(50)
    sample = bridge.data_sample(Detections3D(boxes, scores), 0, torch.eye(4), classes=("pedestrian", "car"))
    wanted = [CLASSES.index("pedestrian"), CLASSES.index("car")]
    order = scores.argsort(descending=True)
    expected = [wanted.index(label) for label in boxes.labels[order].tolist() if label in wanted]
    assert sample.pred_instances_3d.labels_3d.tolist() == expected and expected
