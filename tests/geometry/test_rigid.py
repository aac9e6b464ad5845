"""Rigid motions against independent answers: pyquaternion, scipy, and pictures one can draw by hand."""

import math

import numpy as np
import torch
from pyquaternion import Quaternion
from scipy.spatial.transform import Rotation

from bevkit.geometry import rigid
from tests.laws.space import mirror, random_motion


def test_quaternions_turn_as_the_devkit_turns_them() -> None:
    quaternions = torch.randn(20, 4, dtype=torch.float64) * 3  # any length
    expected = np.stack([Quaternion(*values).rotation_matrix for values in quaternions.tolist()])
    torch.testing.assert_close(rigid.rotation_from_quaternion(quaternions), torch.from_numpy(expected))


def test_rotations_keep_leading_axes() -> None:
    assert rigid.rotation_from_quaternion(torch.randn(2, 3, 4)).shape == (2, 3, 3, 3)
    assert rigid.rotation_about_z(torch.tensor(0.3)).shape == (3, 3)
    assert rigid.rigid_from(torch.eye(3), torch.zeros(5, 2, 3)).shape == (5, 2, 4, 4)


def test_a_quarter_turn_takes_forward_to_the_left() -> None:
    turn = rigid.rotation_about_z(torch.tensor(math.pi / 2, dtype=torch.float64))
    torch.testing.assert_close(turn @ torch.tensor([1.0, 0, 0], dtype=torch.float64),
                               torch.tensor([0.0, 1, 0], dtype=torch.float64))
    assert abs(float(rigid.yaw_of(turn)) - math.pi / 2) < 1e-12


def test_a_motion_vector_is_rx_ry_rz() -> None:
    vector = torch.rand(10, 6, dtype=torch.float64) - 0.5
    matrix = rigid.motion_matrix(vector)
    expected = Rotation.from_euler("XYZ", vector[:, 3:].numpy()).as_matrix()  # capital letters: turning axes, Rx Ry Rz
    torch.testing.assert_close(matrix[:, :3, :3], torch.from_numpy(expected))
    torch.testing.assert_close(rigid.motion_vector(matrix), vector)
    assert rigid.motion_vector(torch.eye(4)).tolist() == [0.0] * 6


def test_level_keeps_place_and_heading_and_stands_upright() -> None:
    poses = random_motion(0, 30, tilt=0.2)
    level = rigid.level(poses)
    torch.testing.assert_close(level[:, :3, 3], poses[:, :3, 3])
    heading = [Quaternion(matrix=pose[:3, :3].numpy()).yaw_pitch_roll[0] for pose in poses]
    torch.testing.assert_close(rigid.yaw_of(level), torch.tensor(heading, dtype=torch.float64))
    up = torch.tensor([0.0, 0, 1], dtype=torch.float64).expand(30, 3)
    torch.testing.assert_close(level[:, :3, 2], up)
    torch.testing.assert_close(level[:, 2, :3], up)
    torch.testing.assert_close(rigid.level(level), level)


def test_level_keeps_a_mirror_and_a_scale() -> None:
    pose = random_motion(1, tilt=0.1) @ mirror() @ torch.diag(torch.tensor([2.0, 2, 2, 1], dtype=torch.float64))
    level = rigid.level(pose)
    assert torch.linalg.det(level[:3, :3]).item() < 0
    torch.testing.assert_close(torch.linalg.det(level[:3, :3]), torch.linalg.det(pose[:3, :3]))
    # A level pose, mirrored and scaled, is level already.
    flat = rigid.level(random_motion(2)) @ mirror()
    torch.testing.assert_close(rigid.level(flat), flat)
