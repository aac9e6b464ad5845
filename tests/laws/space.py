"""Random but fixed motions, rigs and boxes for the laws."""

import math

import torch
from torch import Tensor

from bevkit.geometry.rigid import motion_matrix, rigid_from
from bevkit.structures import Boxes3D, CameraRig


def random_motion(seed: int, *batch: int, tilt: float = 0.1) -> Tensor:
    """Rigid motions [*batch 4 4], float64: some tens of metres, any heading, a little pitch and roll."""
    generator = torch.Generator().manual_seed(seed)
    vector = torch.rand(*batch, 6, generator=generator, dtype=torch.float64) * 2 - 1
    return motion_matrix(vector * torch.tensor([30.0, 30.0, 2.0, tilt, tilt, math.pi], dtype=torch.float64))


def mirror() -> Tensor:
    """Exchanges left and right [4 4]."""
    return torch.diag(torch.tensor([1.0, -1.0, 1.0, 1.0], dtype=torch.float64))


def random_rig(seed: int, cameras: int = 6) -> CameraRig:
    """Cameras [N ..] all around, looking level, with images that were resized, cropped and turned."""
    generator = torch.Generator().manual_seed(seed)
    turn = torch.arange(cameras, dtype=torch.float64) * 2 * math.pi / cameras
    # camera axes in ego: x right, y down, z forward
    cos, sin, zero, one = turn.cos(), turn.sin(), torch.zeros_like(turn), torch.ones_like(turn)
    right, down, forward = (torch.stack(axis, -1) for axis in ((sin, -cos, zero), (zero, zero, -one), (cos, sin, zero)))
    position = torch.rand(cameras, 3, generator=generator, dtype=torch.float64) + torch.tensor([0.0, 0.0, 1.0])
    intrinsics = torch.tensor([[400.0, 0, 200], [0, 400, 110], [0, 0, 1]], dtype=torch.float64).repeat(cameras, 1, 1)
    angle = torch.rand(cameras, generator=generator, dtype=torch.float64) * 0.2 - 0.1
    augmentation = torch.stack((0.5 * angle.cos(), -0.5 * angle.sin(), 8 * one, 0.5 * angle.sin(), 0.5 * angle.cos(),
                                -12 * one, zero, zero, one), -1).reshape(cameras, 3, 3)
    return CameraRig(intrinsics, augmentation, rigid_from(torch.stack((right, down, forward), -1), position), (96, 208))


def random_boxes(seed: int, count: int = 20) -> Boxes3D:
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(count, 9, generator=generator, dtype=torch.float64)
    whole = torch.arange(count)
    return Boxes3D(centers=uniform[:, :3] * 40 - 20, sizes=uniform[:, 3:6] * 4 + 0.5, yaws=uniform[:, 6] * 6 - 3,
                   velocities=uniform[:, 7:] * 20 - 10, labels=whole % 10, track_ids=whole, visibility=whole % 5,
                   sensor_points=whole - 1, attributes=whole % 8, vehicle=whole % 2 == 0)


def same_angle(a: Tensor, b: Tensor) -> Tensor:
    """The difference of two angles, free of full turns."""
    return torch.atan2((a - b).sin(), (a - b).cos())
