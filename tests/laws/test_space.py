"""What must hold in space, whatever the numbers: round trips return, the identity changes nothing, mirrors mirror."""

import pytest
import torch

from bevkit.geometry import pinhole, rigid, warp
from bevkit.structures import BEVGrid
from tests.laws.space import mirror, random_boxes, random_motion, random_rig, same_angle

GRID = BEVGrid(x=(-16.0, 16.0, 0.5), y=(-12.0, 12.0, 0.5))


def smooth_map(rows: int, columns: int) -> torch.Tensor:
    """A map [1 2 Y X] of a few slow waves, zero towards its edges."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, rows), torch.linspace(-1, 1, columns), indexing="ij")
    window = (1 - y ** 2) ** 2 * (1 - x ** 2) ** 2
    return torch.stack((window * torch.cos(3 * x + 2 * y), window * torch.sin(2 * x - 3 * y)))[None].double()


def test_project_undoes_unproject() -> None:
    rig = random_rig(0)
    pixels = torch.rand(6, 50, 2, dtype=torch.float64) * 200
    depth = torch.rand(6, 50, dtype=torch.float64) * 60 + 1
    camera_points = pinhole.unproject(rig.image_from_camera, pixels, depth)
    back, back_depth = pinhole.project(rig.image_from_camera, camera_points)
    torch.testing.assert_close(back, pixels, rtol=0, atol=1e-9)
    torch.testing.assert_close(back_depth, depth, rtol=1e-12, atol=0)


def test_a_rig_projects_what_it_unprojects() -> None:
    rig = random_rig(1)
    pixels = torch.rand(6, 30, 2, dtype=torch.float64) * torch.tensor([208.0, 96.0]) - 0.5
    depth = torch.rand(6, 30, dtype=torch.float64) * 40 + 1
    points = rig.unproject(pixels, depth)  # [N P 3] in ego
    for camera in range(6):
        found, found_depth, visible = rig.project(points[camera])
        torch.testing.assert_close(found[camera], pixels[camera], rtol=0, atol=1e-8)
        torch.testing.assert_close(found_depth[camera], depth[camera], rtol=1e-10, atol=0)
        assert visible[camera].all()


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_moved_rig_sees_moved_points_where_they_were(mirrored: bool) -> None:
    rig, motion = random_rig(2), random_motion(2)
    if mirrored:
        motion = mirror() @ motion
    points = torch.randn(40, 3, dtype=torch.float64) * 15
    pixels, depth, visible = rig.project(points)
    moved_pixels, moved_depth, moved_visible = rig.moved(motion).project(rigid.transform(motion, points))
    torch.testing.assert_close(moved_depth, depth, rtol=0, atol=1e-9)
    torch.testing.assert_close(moved_pixels[visible], pixels[visible], rtol=0, atol=1e-7)
    assert torch.equal(moved_visible, visible)


def test_every_point_around_is_seen() -> None:
    angle = torch.linspace(0, 6.28, 100, dtype=torch.float64)
    points = torch.stack((20 * angle.cos(), 20 * angle.sin(), torch.ones_like(angle)), -1)
    wide = random_rig(3, cameras=12)  # 12 x 53 degrees
    assert wide.project(points)[2].any(0).all()


def test_inverse_undoes_also_scale_and_mirror() -> None:
    motion = mirror() @ random_motion(4, 8) * torch.tensor([1.1, 1.1, 1.1, 1.0], dtype=torch.float64)[:, None]
    eye = torch.eye(4, dtype=torch.float64).expand(8, 4, 4)
    torch.testing.assert_close(rigid.inverse(motion) @ motion, eye)
    torch.testing.assert_close(motion @ rigid.inverse(motion), eye)


def test_ego_motion_returns() -> None:
    poses = random_motion(5, 6)  # global_from_ego of six instants
    points = torch.randn(6, 10, 3, dtype=torch.float64)
    steps = rigid.inverse(poses[1:]) @ poses[:-1]  # next_from_this
    here = points[0]
    for step in steps:
        here = rigid.transform(step, here)
    home = rigid.inverse(poses[0]) @ poses[-1]
    torch.testing.assert_close(rigid.transform(home, here), points[0])


def test_a_warp_by_the_identity_is_the_identity() -> None:
    bev = torch.randn(3, 4, *GRID.shape, dtype=torch.float64)
    still = torch.eye(4, dtype=torch.float64).expand(3, 4, 4)
    theta = warp.affine_theta(still, GRID.cells_from_metric_matrix(), GRID.shape)
    torch.testing.assert_close(warp.warp_affine(bev, theta), bev)
    assert torch.equal(warp.warp_affine(bev, theta, mode="nearest"), bev)
    torch.testing.assert_close(warp.warp_affine(bev, warp.affine_theta_fiery(still, (16.0, 12.0))), bev)
    assert torch.equal(warp.warp_flow(bev, torch.zeros(3, 2, *GRID.shape, dtype=torch.float64)), bev)


def test_a_warp_forth_and_back_returns_a_smooth_map() -> None:
    bev = smooth_map(*GRID.shape)
    there = rigid.motion_matrix(torch.tensor([[1.3, -0.7, 0, 0, 0, 0.15]], dtype=torch.float64))  # past_from_now
    matrix = GRID.cells_from_metric_matrix()
    once = warp.warp_affine(bev, warp.affine_theta(there, matrix, GRID.shape))
    assert (once - bev).abs().max() > 0.05  # it did move
    back = warp.warp_affine(once, warp.affine_theta(rigid.inverse(there), matrix, GRID.shape))
    inside = (..., slice(8, -8), slice(8, -8))
    assert (back - bev)[inside].abs().max() < 0.02


def test_a_warp_by_whole_cells_shifts() -> None:
    bev = torch.randn(1, 1, *GRID.shape, dtype=torch.float64)
    ahead = torch.eye(4, dtype=torch.float64)[None]
    ahead[:, 0, 3], ahead[:, 1, 3] = 1.5, -1.0  # now lies 3 columns ahead and 2 rows to the right of the past
    now = warp.warp_affine(bev, warp.affine_theta(ahead, GRID.cells_from_metric_matrix(), GRID.shape))
    torch.testing.assert_close(now[..., 2:, :-3], bev[..., :-2, 3:])
    assert now[..., :2, :].abs().max() < 1e-9 and now[..., -3:].abs().max() < 1e-9  # nothing is known there


def test_a_warp_puts_a_landmark_where_it_stands_now() -> None:
    """A pole seen at one place by the past stands, after the warp, where the poses say it stands now."""
    past_from_now = rigid.motion_matrix(torch.tensor([[2.0, 1.0, 0, 0, 0, 0.4]], dtype=torch.float64))
    in_past = torch.tensor([[5.0, 3.0, 0.0]], dtype=torch.float64)
    x, y = GRID.centers("x"), GRID.centers("y")
    bump = torch.exp(-((x - in_past[0, 0]) ** 2 + (y[:, None] - in_past[0, 1]) ** 2) / 2)[None, None]  # [1 1 Y X]
    seen = warp.warp_affine(bump, warp.affine_theta(past_from_now, GRID.cells_from_metric_matrix(), GRID.shape))[0, 0]
    weight = seen / seen.sum()
    found = torch.stack(((weight * x).sum(), (weight * y[:, None]).sum()))
    expected = rigid.transform(rigid.inverse(past_from_now[0]), in_past)[0, :2]
    torch.testing.assert_close(found, expected, rtol=0, atol=0.05)


def test_a_flow_fetches_from_where_it_points() -> None:
    values = torch.randn(1, 1, 10, 12)
    flow = torch.zeros(1, 2, 10, 12)
    flow[:, 0], flow[:, 1] = 2.0, -1.0  # two columns to higher x, one row to lower y
    fetched = warp.warp_flow(values, flow)
    assert torch.equal(fetched[..., 1:, :-2], values[..., :-1, 2:])
    assert not fetched[..., 0, :].any() and not fetched[..., -2:].any()


@pytest.mark.parametrize("mirrored", [False, True])
def test_boxes_return_from_a_move(mirrored: bool) -> None:
    boxes, motion = random_boxes(6), random_motion(6, tilt=0.0)
    if mirrored:
        motion = mirror() @ motion
    motion = motion @ torch.diag(torch.tensor([1.2, 1.2, 1.2, 1.0], dtype=torch.float64))
    back = boxes.moved(motion).moved(rigid.inverse(motion))
    for name in ("centers", "sizes", "velocities"):
        torch.testing.assert_close(getattr(back, name), getattr(boxes, name))
    assert same_angle(back.yaws, boxes.yaws).abs().max() < 1e-9


@pytest.mark.parametrize("mirrored", [False, True])
def test_moved_boxes_have_moved_corners(mirrored: bool) -> None:
    boxes, motion = random_boxes(7), random_motion(7, tilt=0.0)
    if mirrored:
        motion = mirror() @ motion
    corners = rigid.transform(motion, boxes.corners.flatten(0, 1)).reshape(-1, 8, 3)
    moved = boxes.moved(motion).corners
    # A mirror exchanges left and right, so the corners are compared as sets: every one has its partner.
    distance = torch.cdist(moved, corners)  # [A 8 8]
    assert distance.min(-1).values.max() < 1e-9 and distance.min(-2).values.max() < 1e-9


def test_unknown_velocities_stay_unknown() -> None:
    boxes = random_boxes(8)
    boxes.velocities[3] = torch.nan
    moved = boxes.moved(random_motion(8, tilt=0.0)).velocities
    assert moved[3].isnan().all() and not moved[torch.arange(len(boxes)) != 3].isnan().any()


def test_cells_and_metres_are_each_others_inverse() -> None:
    grid = BEVGrid(x=(-50.0, 50.0, 0.5), y=(-15.0, 15.0, 0.15), z=(-5.0, 3.0, 1.0))
    points = torch.randn(100, 3, dtype=torch.float64) * 20
    torch.testing.assert_close(grid.metric_from_cells(grid.cells_from_metric(points)), points)
    homogeneous = torch.cat((points[:, :2], torch.ones(100, 1)), -1) @ grid.cells_from_metric_matrix().T
    torch.testing.assert_close(homogeneous[:, :2], grid.cells_from_metric(points[:, :2]))
    torch.testing.assert_close(grid.cells_from_metric(torch.stack((grid.centers("x")[7], grid.centers("y")[11]))),
                               torch.tensor([7.5, 11.5], dtype=torch.float64))
