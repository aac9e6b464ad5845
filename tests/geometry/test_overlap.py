"""Laws of the overlap of turned rectangles, and of box codes and quaternions."""

import math

import pytest
import torch

from bevkit.geometry import rigid
from bevkit.geometry.box_codes import boxes_from_code, boxes_from_query, code_from_boxes, query_from_boxes
from bevkit.geometry.overlap import footprints, intersection_areas, rotated_iou


def rectangles(count: int, seed: int = 0) -> torch.Tensor:
    random = torch.rand(count, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return random * torch.tensor([10.0, 10.0, 6.0, 3.0, 7.0]) + torch.tensor([0.0, 0.0, 0.2, 0.2, 0.0])


def touching(count: int) -> torch.Tensor:
    """Rectangles, and beside them the same, half as large, turned by half a turn or a hair, or moved by a length."""
    boxes = rectangles(count)
    half, turned, hair, ahead, aside = (boxes.clone() for _ in range(5))
    half[:, 2:4] /= 2
    turned[:, 4] += math.pi
    hair[:, 4] += torch.logspace(-13, -6, count, dtype=torch.float64)
    heading = torch.stack((boxes[:, 4].cos(), boxes[:, 4].sin()), dim=1)
    ahead[:, :2] += heading * boxes[:, 2:3]
    aside[:, :2] += heading.flip(1) * torch.tensor([-1.0, 1.0]) * boxes[:, 3:4]
    return torch.cat((boxes, boxes, half, turned, hair, ahead, aside))


@pytest.mark.parametrize("boxes", [rectangles(60), touching(8)])
def test_equals_exact_polygons(boxes):
    polygon = pytest.importorskip("shapely.geometry").Polygon
    outlines = [polygon(corners) for corners in footprints(boxes).tolist()]
    expected = torch.tensor([[a.intersection(b).area / a.union(b).area for b in outlines] for a in outlines])
    assert (rotated_iou(boxes, boxes) - expected).abs().max() < 1e-6


def test_laws():
    boxes = touching(10)
    overlap = rotated_iou(boxes, boxes)
    assert torch.allclose(overlap, overlap.T, atol=1e-7) and overlap.min() >= 0 and overlap.max() <= 1 + 1e-9
    assert torch.allclose(overlap.diagonal(), torch.ones(len(boxes), dtype=torch.float64))
    far = boxes + torch.tensor([1e4, -2e4, 0, 0, 0])  # global coordinates cost no digits
    assert torch.allclose(rotated_iou(far, far), overlap, atol=1e-6)
    assert torch.allclose(intersection_areas(boxes, boxes), boxes[:, 2] * boxes[:, 3])


def test_simple_cases():
    square = torch.tensor([[0.0, 0.0, 2.0, 2.0, 0.0]])
    others = torch.tensor([[1.0, 1.0, 2.0, 2.0, 0.0], [0.0, 0.0, 2.0, 2.0, math.pi / 4], [0.0, 0.0, 1.0, 1.0, 1.0],
                           [2.0, 0.0, 2.0, 2.0, 0.0]])
    octagon = 8 * (math.sqrt(2) - 1)
    expected = torch.tensor([[1 / 7, octagon / (8 - octagon), 1 / 4, 0.0]], dtype=torch.float64)
    assert torch.allclose(rotated_iou(square, others), expected, atol=1e-7)
    assert rotated_iou(square[:0], others).shape == (0, 4)


def test_codes_come_back():
    bounds = (-51.2, -40.0, -5.0, 51.2, 40.0, 3.0)
    boxes = torch.randn(50, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    boxes[:, 3:6] = boxes[:, 3:6].abs() + 0.1
    assert torch.allclose(boxes_from_code(code_from_boxes(boxes)), boxes)
    assert torch.allclose(boxes_from_query(query_from_boxes(boxes, bounds), bounds), boxes)


def test_quaternions_come_back():
    quaternions = torch.randn(200, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    quaternions[:4] = torch.eye(4, dtype=torch.float64)  # no turn, and half turns about each axis
    rotations = rigid.rotation_from_quaternion(quaternions)
    back = rigid.quaternion_from_rotation(rotations)
    assert torch.allclose(rigid.rotation_from_quaternion(back), rotations, atol=1e-12)
    assert torch.allclose(back.norm(dim=1), torch.ones(200, dtype=torch.float64))
