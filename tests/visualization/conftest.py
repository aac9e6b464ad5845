"""A made-up vehicle: cameras that look ahead, back and to the sides, and boxes at known places."""

import math
from collections.abc import Callable

import pytest
import torch

from bevkit.structures import BEVClip, BEVFrame, BEVGrid, Boxes3D, CameraRig

NAMES = ("CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_FRONT_LEFT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT")
HEADINGS = (0.0, -55.0, 55.0, 180.0, 108.0, -108.0)
SIZE = (90, 160)


def camera_rig(headings: tuple[float, ...] = HEADINGS) -> CameraRig:
    """Cameras 1.5 m above the ground with 100 pixels of focal length, at headings in degrees, left positive."""
    intrinsics = torch.tensor([[100.0, 0, 79.5], [0, 100.0, 44.5], [0, 0, 1]], dtype=torch.float64)
    poses = []
    for heading in headings:
        angle = math.radians(heading)
        ahead, right = (math.cos(angle), math.sin(angle), 0.0), (math.sin(angle), -math.cos(angle), 0.0)
        pose = torch.eye(4, dtype=torch.float64)
        pose[:3, :3] = torch.tensor([right, (0.0, 0.0, -1.0), ahead], dtype=torch.float64).T
        pose[2, 3] = 1.5
        poses.append(pose)
    count = len(headings)
    return CameraRig(intrinsics.repeat(count, 1, 1), torch.eye(3, dtype=torch.float64).repeat(count, 1, 1),
                     torch.stack(poses), SIZE)


def boxes_at(*places: tuple[float, float], size: tuple[float, float, float] = (4.0, 2.0, 1.6)) -> Boxes3D:
    """Cars standing on the ground at (x, y), numbered 0, 1, .., facing forward."""
    count = len(places)
    whole = torch.zeros(count, dtype=torch.int64)
    centers = torch.tensor([(x, y, size[2] / 2) for x, y in places], dtype=torch.float64).reshape(count, 3)
    return Boxes3D(centers, torch.tensor([size], dtype=torch.float64).repeat(count, 1),
                   torch.zeros(count, dtype=torch.float64), torch.zeros(count, 2, dtype=torch.float64), whole,
                   torch.arange(count), whole, whole, whole, torch.ones(count, dtype=torch.bool))


@pytest.fixture
def grid() -> BEVGrid:
    return BEVGrid((-20.0, 20.0, 0.5), (-12.0, 12.0, 0.5))


@pytest.fixture
def rig() -> CameraRig:
    return camera_rig()


@pytest.fixture
def make_clip() -> Callable[..., BEVClip]:
    def make(past: int = 2, future: int = 3) -> BEVClip:
        frames = []
        for step in range(past + future):
            seen = step < past
            frames.append(BEVFrame(
                torch.eye(4, dtype=torch.float64), 0.5 * step, boxes_at((8.0, 4.0), (-6.0, -3.0 + step)),
                torch.full((6, 3, *SIZE), 90, dtype=torch.uint8) if seen else None, camera_rig() if seen else None,
                dict(cameras=NAMES, scene_name="scene-0001", keyframe=step, sample_token=f"{step}")))
        return BEVClip(tuple(frames), past)
    return make


@pytest.fixture
def ids(grid: BEVGrid) -> torch.Tensor:
    """[4 Y X]: instance 1 stands ahead to the left, instance 2 behind to the right moves left by a metre an instant."""
    maps = torch.zeros(4, *grid.shape, dtype=torch.int64)
    for now in range(4):
        rows, columns = grid.crop((6.0, 10.0), (3.0, 5.0))
        maps[now, rows, columns] = 1
        rows, columns = grid.crop((-8.0, -4.0), (-3.0 + now, -1.0 + now))
        maps[now, rows, columns] = 2
    return maps
