"""What stands still in the world lies on one cell of every aligned map."""

import pytest
import torch

from bevkit.geometry.rigid import inverse, motion_matrix, rigid_from, rotation_about_z, transform
from bevkit.models.temporal import AlignAndStack
from bevkit.structures import BEVGrid, EgoMotion

GRID = BEVGrid(x=(-20, 28, 0.5), y=(-15, 15, 0.6))  # neither square nor centred, cells not square either


def poses(*planar: tuple[float, float, float]) -> torch.Tensor:
    """global_from_ego [1 S 4 4] of (x, y, yaw)."""
    values = torch.tensor(planar, dtype=torch.float64)
    shift = torch.cat((values[:, :2] + 1000, torch.zeros(len(values), 1, dtype=torch.float64)), dim=1)
    return rigid_from(rotation_about_z(values[:, 2]), shift).unsqueeze(0)


def painted(points: torch.Tensor) -> torch.Tensor:
    """Maps [S 1 Y X] with a soft spot of 1.5 m around each ego point [S 3]."""
    x, y = GRID.centers("x"), GRID.centers("y")
    distance = (x[None, None] - points[:, 0, None, None]) ** 2 + (y[None, :, None] - points[:, 1, None, None]) ** 2
    return torch.exp(-distance / (2 * 1.5 ** 2)).unsqueeze(1).float()


def centre(maps: torch.Tensor) -> torch.Tensor:
    """Centre of mass (x, y) in metres of maps [S Y X]."""
    mass = maps.double() / maps.double().sum((1, 2), keepdim=True)
    return torch.stack(((mass.sum(1) * GRID.centers("x")).sum(1), (mass.sum(2) * GRID.centers("y")).sum(1)), dim=-1)


def test_a_landmark_comes_to_lie_on_its_present_place():
    global_from_ego = poses((0, 0, 0.3), (3, 1.5, 0.15), (6, 2.0, -0.2))
    landmark = transform(global_from_ego[0, -1], torch.tensor([[4.0, -3.0, 0.0]], dtype=torch.float64))
    in_each = transform(inverse(global_from_ego[0]), landmark).squeeze(1)  # [S+1 3]
    maps = painted(in_each).unsqueeze(0)  # [1 S+1 1 Y X]
    fusion = AlignAndStack(GRID, 1, past=2, ego_motion=False)
    fused = fusion(maps[:, -1], maps[:, :-1], *fusion.plan(EgoMotion.of(global_from_ego)))
    assert torch.allclose(centre(fused[0]), torch.tensor([4.0, -3.0], dtype=torch.float64), atol=0.05)
    assert (centre(maps[0, :, 0]) - torch.tensor([4.0, -3.0])).abs().max() > 2  # it did move


def test_half_precision_maps_are_sampled_at_precise_places():
    global_from_ego = poses((0, 0, 0.3), (3, 1.5, 0.15))
    maps = torch.rand(1, 2, 1, *GRID.shape)
    fusion = AlignAndStack(GRID, 1, past=1)
    plan = fusion.plan(EgoMotion.of(global_from_ego))
    precise = fusion(maps[:, 1], maps[:, 0:1], *plan)
    coarse = fusion(maps[:, 1].bfloat16(), maps[:, 0:1].bfloat16(), *plan)
    assert coarse.dtype == torch.bfloat16 and (coarse - precise)[:, 0].abs().max() < 0.01


@pytest.mark.parametrize("warp, grid", [("exact", GRID), ("fiery", BEVGrid(x=(-24, 24, 0.5), y=(-15, 15, 0.6)))])
def test_at_rest_maps_stay_and_motion_is_zero(warp, grid):
    fusion = AlignAndStack(grid, 3, past=2, warp=warp)
    bev, past = torch.rand(2, 3, *GRID.shape), torch.rand(2, 2, 3, *GRID.shape)
    fused = fusion(bev, past, *fusion.plan(EgoMotion.of(torch.eye(4, dtype=torch.float64).expand(2, 3, 4, 4))))
    frames = fused.unflatten(1, (3, 9))
    assert fused.shape[1] == fusion.channels
    assert torch.allclose(frames[:, :, :3], torch.cat((past, bev[:, None]), 1), atol=1e-4)
    assert frames[:, :, 3:].abs().max() < 1e-6


def test_motion_planes_belong_to_the_step_before():
    steps = torch.tensor([[-2.0, 0.1, 0.0, 0.01, -0.02, 0.3], [-1.0, 0.0, 0.05, 0.0, 0.0, -0.1]], dtype=torch.float64)
    first = torch.eye(4, dtype=torch.float64)
    second = first @ inverse(motion_matrix(steps[0]))
    global_from_ego = torch.stack((first, second, second @ inverse(motion_matrix(steps[1])))).unsqueeze(0)
    motion = AlignAndStack(GRID, 1, past=2).plan(EgoMotion.of(global_from_ego)).motion
    assert torch.allclose(motion[0], torch.cat((torch.zeros(1, 6), steps.float())), atol=1e-6)


def test_without_a_past_there_is_nothing_to_align():
    fusion = AlignAndStack(GRID, 3, past=0)
    bev = torch.rand(2, 3, *GRID.shape)
    fused = fusion(bev, bev.new_zeros(2, 0, 3, *GRID.shape),
                   *fusion.plan(EgoMotion.of(torch.eye(4, dtype=torch.float64).expand(2, 1, 4, 4))))
    assert torch.equal(fused[:, :3], bev) and fused.shape[1] == fusion.channels == 9


def test_an_unknown_warp_is_named():
    with pytest.raises(ValueError, match="warp"):
        AlignAndStack(GRID, 1, warp="flat")
