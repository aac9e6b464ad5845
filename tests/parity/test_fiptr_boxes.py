"""Boxes of mmdet3d before 1.0, as FipTR's head regresses them: turned to ours they are the same boxes, moved alike."""

from dataclasses import replace

import pytest
import torch

from bevkit.geometry.box_codes import boxes_from_code
from bevkit.geometry.rigid import rigid_from, rotation_about_z
from bevkit.importers.boxes import new_code_rows
from bevkit.models.coders.boxes import boxes_of, inside
from bevkit.structures import Boxes3D

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def truth(golden):
    return golden("instance/fiptr_boxes_mmdet3d017.pt")


def from_old(boxes):
    """Boxes [A 9] of the old convention, z at the bottom, as a head regresses them and the importer turns its rows."""
    x, y, z, width, length, height, yaw, vx, vy = boxes.double().T
    rows = torch.stack((x, y, width.log(), length.log(), z + height / 2, height.log(), yaw.sin(), yaw.cos(), vx, vy))
    ours = boxes_from_code(new_code_rows(rows).T)
    return Boxes3D.predicted(ours[:, :3], ours[:, 3:6], ours[:, 6], ours[:, 7:],
                             torch.zeros(len(boxes), dtype=torch.int64))


def assert_same_points(ours, theirs):
    """Points [A P 2 or 3] in any order."""
    apart = torch.cdist(ours.double(), theirs.double())
    assert max(apart.amin(1).max(), apart.amin(2).max()) <= 2 * TOLERANCE


def assert_same_boxes(ours, theirs):
    """Boxes with the same place, size, heading and velocity."""
    ours, theirs = boxes_of(ours), boxes_of(from_old(theirs))
    turn = torch.remainder(ours[:, 6] - theirs[:, 6] + torch.pi, 2 * torch.pi) - torch.pi
    assert turn.abs().max() <= TOLERANCE
    keep = torch.arange(9) != 6
    torch.testing.assert_close(ours[:, keep], theirs[:, keep], rtol=TOLERANCE, atol=TOLERANCE)


def test_corners(truth):
    boxes = from_old(truth["tensor"])
    torch.testing.assert_close(boxes.centers.float(), truth["gravity_center"], rtol=TOLERANCE, atol=TOLERANCE)
    torch.testing.assert_close(boxes.centers.float(), truth["raw_gravity_centre_boxes"][:, :3], rtol=TOLERANCE,
                               atol=TOLERANCE)
    assert_same_points(boxes.corners, truth["corners"])
    assert_same_points(boxes.corners[:, :4, :2], truth["bottom_corners_0374"])


@pytest.mark.parametrize("name", ["rotated_angle_0.4", "rotated_by_matrix", "flip_horizontal", "flip_vertical"])
def test_moved_boxes(truth, name):
    config = truth["meta"]["config"]
    linear = {"rotated_angle_0.4": rotation_about_z(torch.tensor(-config["rotate_angle"], dtype=torch.float64)),
              "rotated_by_matrix": truth["rot_mat"].double().T,  # theirs multiplies rows
              "flip_horizontal": torch.diag(torch.tensor([1.0, -1, 1], dtype=torch.float64)),
              "flip_vertical": torch.diag(torch.tensor([-1.0, 1, 1], dtype=torch.float64))}[name]
    moved = from_old(truth["tensor"]).moved(rigid_from(linear, torch.zeros(3, dtype=torch.float64)))
    # A matrix of rounded numbers scales a little; ours scales the boxes along, theirs their places alone.
    scale = torch.linalg.det(linear).abs() ** (1 / 3)
    assert_same_boxes(replace(moved, sizes=moved.sizes / scale), truth[name])


def test_whole_turns_and_range(truth):
    boxes = from_old(truth["tensor"])
    assert_same_boxes(boxes, truth["limit_yaw"])
    low_x, low_y, high_x, high_y = truth["meta"]["config"]["in_range_box"]
    ours = inside(boxes.centers, (low_x, low_y, -torch.inf, high_x, high_y, torch.inf))
    assert torch.equal(ours, truth["in_range_bev"])
