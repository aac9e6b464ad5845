"""Rigid motions as 4x4 matrices named ``a_from_b``; products cancel in the reading."""

from __future__ import annotations

import torch
from torch import Tensor


def rigid_from(rotation: Tensor, translation: Tensor) -> Tensor:
    """Joins a rotation [* 3 3] and a translation [* 3] (metres) to a matrix [* 4 4]."""
    batch = torch.broadcast_shapes(rotation.shape[:-2], translation.shape[:-1])  # type: ignore[no-untyped-call]
    matrix = rotation.new_zeros((*batch, 4, 4))
    matrix[..., :3, :3] = rotation
    matrix[..., :3, 3] = translation
    matrix[..., 3, 3] = 1
    return matrix


def _matrix3(*entries: Tensor) -> Tensor:
    """Lays nine entries [*], row by row, into matrices [* 3 3]."""
    return torch.stack(entries, dim=-1).reshape(*entries[0].shape, 3, 3)


def rotation_from_quaternion(quaternion: Tensor) -> Tensor:
    """Turns quaternions [* 4] (w, x, y, z; any length but zero) into rotations [* 3 3]."""
    w, x, y, z = (quaternion / quaternion.norm(dim=-1, keepdim=True)).unbind(-1)
    rows = (
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    )
    return _matrix3(*rows)


def rotation_about_z(angle: Tensor) -> Tensor:
    """Turns angles [*] (radians, counter-clockwise seen from above) into rotations [* 3 3]."""
    cos, sin = angle.cos(), angle.sin()
    zero, one = torch.zeros_like(angle), torch.ones_like(angle)
    return _matrix3(cos, -sin, zero, sin, cos, zero, zero, zero, one)


def transform(a_from_b: Tensor, points: Tensor) -> Tensor:
    """Moves points [* P 3] of frame b into frame a by an affine matrix [* 4 4]."""
    return points @ a_from_b[..., :3, :3].transpose(-1, -2) + a_from_b[..., None, :3, 3]


def inverse(a_from_b: Tensor) -> Tensor:
    """Returns ``b_from_a`` of an affine matrix [* 4 4]; scale and mirror of a BEV augmentation are allowed."""
    linear = torch.linalg.inv(a_from_b[..., :3, :3])
    return rigid_from(linear, -(linear @ a_from_b[..., :3, 3:]).squeeze(-1))


def yaw_of(a_from_b: Tensor) -> Tensor:
    """Reads the heading [*] (radians) of b's x axis in a from a matrix [* 3 3] or [* 4 4]."""
    return torch.atan2(a_from_b[..., 1, 0], a_from_b[..., 0, 0])


def level(global_from_ego: Tensor) -> Tensor:
    """Returns ``global_from_level`` [* 4 4]: the same origin as the ego frame and its heading, but z straight up.

    This is the "flat" ego of FIERY and PowerBEV. Its heading is the last angle of Rx Ry Rz, as pyquaternion's
    ``yaw_pitch_roll`` has it, which differs from `yaw_of` by about the product of pitch and roll (1e-4 rad on roads).
    A mirrored or scaled ego frame (BEV augmentation) stays so.
    """
    linear = global_from_ego[..., :3, :3]
    determinant = torch.linalg.det(linear)
    scale, sense = determinant.abs() ** (1 / 3), determinant.sign()
    rotation = rotation_about_z(torch.atan2(-linear[..., 0, 1] * sense, linear[..., 0, 0])) * scale[..., None, None]
    rotation[..., :, 1] *= sense[..., None]
    return rigid_from(rotation, global_from_ego[..., :3, 3])


def motion_vector(a_from_b: Tensor) -> Tensor:
    """Reads (tx, ty, tz, rx, ry, rz) [* 6] from a rigid matrix [* 4 4] whose rotation is Rx(rx) Ry(ry) Rz(rz).

    Metres and radians; the vector that FIERY (appendix) and PowerBEV append to their BEV features.
    """
    rotation = a_from_b[..., :3, :3]
    rx = torch.atan2(-rotation[..., 1, 2], rotation[..., 2, 2])
    ry = torch.asin(rotation[..., 0, 2].clamp(-1, 1))
    rz = torch.atan2(-rotation[..., 0, 1], rotation[..., 0, 0])
    return torch.cat((a_from_b[..., :3, 3], torch.stack((rx, ry, rz), dim=-1)), dim=-1)


def motion_matrix(vector: Tensor) -> Tensor:
    """Builds the rigid matrix [* 4 4] of a vector [* 6] = (tx, ty, tz, rx, ry, rz): undoes `motion_vector`."""
    rx, ry, rz = vector[..., 3:].unbind(-1)
    zero, one = torch.zeros_like(rx), torch.ones_like(rx)
    about_x = _matrix3(one, zero, zero, zero, rx.cos(), -rx.sin(), zero, rx.sin(), rx.cos())
    about_y = _matrix3(ry.cos(), zero, ry.sin(), zero, one, zero, -ry.sin(), zero, ry.cos())
    return rigid_from(about_x @ about_y @ rotation_about_z(rz), vector[..., :3])


def quaternion_from_rotation(rotation: Tensor) -> Tensor:
    """Turns rotations [* 3 3] into unit quaternions [* 4] (w, x, y, z): undoes `rotation_from_quaternion`."""
    (a, b, c), (d, e, f), (g, h, i) = (row.unbind(-1) for row in rotation.unbind(-2))
    # Four times the products of the quaternion with each of its own parts; the row of the largest part is exact.
    products = torch.stack((torch.stack((1 + a + e + i, h - f, c - g, d - b), dim=-1),
                            torch.stack((h - f, 1 + a - e - i, b + d, c + g), dim=-1),
                            torch.stack((c - g, b + d, 1 - a + e - i, f + h), dim=-1),
                            torch.stack((d - b, c + g, f + h, 1 - a - e + i), dim=-1)), dim=-2)  # [* 4 4]
    largest = products.diagonal(dim1=-2, dim2=-1).argmax(dim=-1)
    row = products.gather(-2, largest[..., None, None].expand(*largest.shape, 1, 4)).squeeze(-2)  # [* 4]
    length: Tensor = torch.linalg.vector_norm(row, dim=-1, keepdim=True)
    return row / length
