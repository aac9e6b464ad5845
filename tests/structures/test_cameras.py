"""The rig: any number of cameras, any leading axes, one object."""

import pytest
import torch

from bevkit.structures import CameraRig
from tests.laws.space import random_motion, random_rig


def same(a: CameraRig, b: CameraRig) -> bool:
    return a.image_size == b.image_size and all(
        torch.equal(getattr(a, name), getattr(b, name)) for name in ("intrinsics", "image_aug", "ego_from_camera"))


def test_stack_and_index_undo_each_other() -> None:
    rigs = [random_rig(seed) for seed in range(3)]
    stacked = CameraRig.stack([CameraRig.stack(rigs), CameraRig.stack(rigs[::-1])])  # leading axes [2 3]
    assert stacked.intrinsics.shape == (2, 3, 6, 3, 3) and stacked.num_cameras == 6
    assert same(stacked[0, 1], rigs[1]) and same(stacked[1][0], rigs[2])
    assert same(stacked.flatten()[4], rigs[1])


@pytest.mark.parametrize("cameras", [1, 2, 6])
def test_a_batch_projects_as_its_rigs_do(cameras: int) -> None:
    rigs = [random_rig(seed, cameras) for seed in range(4)]
    points = torch.randn(4, 9, 3, dtype=torch.float64) * 10
    together = CameraRig.stack(rigs).project(points)
    for index, rig in enumerate(rigs):
        for all_rigs, alone in zip(together, rig.project(points[index])):
            torch.testing.assert_close(all_rigs[index], alone)


def test_moved_takes_one_motion_for_each_leading_index() -> None:
    rig, motions = CameraRig.stack([random_rig(0), random_rig(1)]), random_motion(3, 2)
    moved = rig.moved(motions)
    torch.testing.assert_close(moved[1].ego_from_camera, motions[1] @ rig[1].ego_from_camera)


def test_a_rig_moves_to_a_type_with_all_it_has() -> None:
    rig = random_rig(0).float()
    assert {rig.intrinsics.dtype, rig.image_aug.dtype, rig.ego_from_camera.dtype} == {torch.float32}
    assert rig.to("cpu").image_size == rig.image_size


def test_what_does_not_fit_is_refused() -> None:
    rig = random_rig(0)
    with pytest.raises(ValueError, match=r"rig.image_aug: expected shape \[\* N 3 3\] with N=6, got \[5, 3, 3\]"):
        CameraRig(rig.intrinsics, rig.image_aug[:5], rig.ego_from_camera, rig.image_size)
    with pytest.raises(ValueError, match="rig.intrinsics: expected shape"):
        CameraRig(torch.eye(4).repeat(6, 1, 1), rig.image_aug, rig.ego_from_camera, rig.image_size)
    small = CameraRig(rig.intrinsics, rig.image_aug, rig.ego_from_camera, (48, 104))
    with pytest.raises(ValueError, match="expected one image size in a batch, got .*; resize images alike"):
        CameraRig.stack([rig, small])
