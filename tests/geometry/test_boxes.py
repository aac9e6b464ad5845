"""Boxes against nuscenes-devkit's and against pictures one can draw by hand."""

import math

import numpy as np
import torch
from nuscenes.utils.data_classes import Box
from pyquaternion import Quaternion

from bevkit.geometry import boxes
from tests.laws.space import mirror, random_boxes


def test_corners_are_the_devkits() -> None:
    ours = random_boxes(0)
    corners = ours.corners
    for index in range(len(ours)):
        length, width, height = ours.sizes[index].tolist()
        theirs = Box(ours.centers[index].tolist(), [width, length, height],
                     Quaternion(axis=[0, 0, 1], angle=float(ours.yaws[index]))).corners().T  # [8 3]
        distance = np.linalg.norm(corners[index].numpy()[:, None] - theirs[None], axis=-1)
        assert distance.min(0).max() < 1e-9 and distance.min(1).max() < 1e-9


def test_corners_go_round_from_front_left_bottom_first() -> None:
    corners = boxes.corners(torch.zeros(1, 3), torch.tensor([[4.0, 2, 1]]), torch.zeros(1))[0]
    assert corners[0].tolist() == [2.0, 1.0, -0.5]  # front left
    assert corners[:4, 2].eq(-0.5).all() and corners[4:, 2].eq(0.5).all()
    for face in (corners[:4, :2], corners[4:, :2]):
        x, y = face.T
        area = 0.5 * (x * y.roll(-1) - y * x.roll(-1)).sum()  # positive: counter-clockwise
        assert float(area) == 8.0


def test_no_boxes_have_no_corners() -> None:
    assert boxes.corners(torch.zeros(0, 3), torch.zeros(0, 3), torch.zeros(0)).shape == (0, 8, 3)


def test_a_mirror_turns_the_sense_of_a_yaw() -> None:
    yaws = torch.tensor([0.0, 0.4, -2.0], dtype=torch.float64)
    torch.testing.assert_close(boxes.transform_yaw(mirror(), yaws), -yaws)


def test_points_are_in_the_boxes_that_cover_them() -> None:
    points = torch.tensor([[1.9, 0.9, 0.4], [1.9, 1.1, 0], [0, 0, 0.6], [10, 1.9, 0], [11.5, 0, 0]])
    inside = boxes.points_in_boxes(points, torch.tensor([[0.0, 0, 0], [10, 0, 0]]),
                                   torch.tensor([[4.0, 2, 1], [4, 2, 1]]), torch.tensor([0.0, math.pi / 2]))
    assert inside.tolist() == [[True, False, False, False, False], [False, False, False, True, False]]
    assert boxes.points_in_boxes(points, torch.zeros(0, 3), torch.zeros(0, 3), torch.zeros(0)).shape == (0, 5)
