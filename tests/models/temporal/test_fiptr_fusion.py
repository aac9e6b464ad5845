"""What FipTR changes of FIERY's temporal fusion: means over windows, the present added, and its warp."""

import onnxruntime
import pytest
import torch
from torch import nn

from bevkit.export.onnx import checked, trace
from bevkit.geometry.rigid import rigid_from, rotation_about_z
from bevkit.geometry.warp import affine_theta, affine_theta_fiptr, warp_affine
from bevkit.models.temporal import SpatioTemporalFusion
from bevkit.models.temporal.temporal_blocks import TemporalBlock, mean_of_two
from bevkit.structures import BEVGrid, EgoMotion

GRID = BEVGrid(x=(-24, 24, 2), y=(-15, 15, 2))  # 15 x 24 cells


def at_rest(past):
    return EgoMotion.of(torch.eye(4, dtype=torch.float64).expand(2, past + 1, 4, 4))


@pytest.mark.parametrize("window", [(7, 6), (3, 6), (2, 4), (5, 5)])
def test_means_are_a_pooling_over_two_frames_and_whole_windows(window):
    maps = torch.randn(2, 4, 3, 7, 6)
    pool = nn.AvgPool3d((2, *window), (1, *window), (1, 0, 0), count_include_pad=False)
    torch.testing.assert_close(mean_of_two(maps, window), pool(maps.transpose(1, 2)).transpose(1, 2)[:, :4])


def test_one_window_over_the_map_is_the_mean_over_the_map():
    torch.manual_seed(0)
    whole, window = TemporalBlock(6, 4).eval(), TemporalBlock(6, 4, (7, 6)).eval()
    window.load_state_dict(whole.state_dict())
    maps = torch.randn(2, 3, 6, 7, 6)
    with torch.no_grad():
        torch.testing.assert_close(window(maps), whole(maps))


def test_cells_beyond_the_last_whole_window_count_in_no_mean():
    block, maps = TemporalBlock(6, 4, (5, 5)).eval(), torch.randn(1, 2, 6, 7, 8)
    other = maps.clone()
    other[..., 6, 7] += 1
    with torch.no_grad():
        moved = (block(other) - block(maps)).abs().amax(dim=(0, 1, 2)) > 1e-6
    assert moved.any() and not moved[:5, :6].any()  # a convolution reaches one cell far


def test_the_present_is_added():
    torch.manual_seed(0)
    plain, residual = (SpatioTemporalFusion(GRID, 5, past=2, channels=5, residual=added).eval()
                       for added in (False, True))
    residual.load_state_dict(plain.state_dict())
    bev, past, plan = torch.randn(2, 5, *GRID.shape), torch.randn(2, 2, 5, *GRID.shape), plain.plan(at_rest(2))
    with torch.no_grad():
        torch.testing.assert_close(residual(bev, past, *plan), plain(bev, past, *plan) + bev)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="residual"):
        SpatioTemporalFusion(GRID, 5, past=2, channels=7, residual=True)
    with pytest.raises(ValueError, match="pool_window"):
        SpatioTemporalFusion(GRID, 5, past=2, pool_window=(16, 4))


def test_labels_at_rest_stay_and_features_are_smeared():
    theta = affine_theta_fiptr(torch.eye(4, dtype=torch.float64)[None], (GRID.x, GRID.y)).float()
    maps = torch.randint(5, (1, 1, *GRID.shape)).float()
    assert torch.equal(warp_affine(maps, theta, mode="nearest"), maps)
    assert (warp_affine(maps, theta) - maps).abs().max() > 0.1


def test_the_warp_is_the_true_one_to_half_a_cell():
    now_from_past = rigid_from(rotation_about_z(torch.tensor([0.3], dtype=torch.float64)),
                               torch.tensor([[4.0, -2.5, 0.7]], dtype=torch.float64))
    exact = affine_theta(torch.linalg.inv(now_from_past), GRID.cells_from_metric_matrix(), GRID.shape)
    theta = affine_theta_fiptr(now_from_past, (GRID.x, GRID.y))
    rows, columns = GRID.shape
    corners = torch.tensor([[x, y, 1] for x in (-1, 1) for y in (-1, 1)], dtype=torch.float64)
    apart = (theta - exact) @ corners.T * torch.tensor([columns, rows])[:, None] / 2  # [1 2 4] in cells
    assert 0.3 < apart.abs().max() < 0.8  # half a cell along each axis, turned


def test_the_exported_graph_computes_the_same():
    torch.manual_seed(0)
    fusion = SpatioTemporalFusion(GRID, 5, past=2, channels=5, warp="fiptr", pool_window=(7, 9), residual=True).eval()
    steps = rigid_from(rotation_about_z(torch.tensor([0.0, 0.1, 0.25], dtype=torch.float64)),
                       torch.tensor([[0, 0, 0], [2.0, 0.3, 0], [4.5, 0.2, 0]], dtype=torch.float64))
    theta, motion = fusion.plan(EgoMotion.of(steps[None]))
    inputs = dict(bev=torch.randn(1, 5, *GRID.shape), past=torch.randn(1, 2, 5, *GRID.shape), theta=theta,
                  motion=motion)
    model = checked(trace(fusion, inputs, ["fused"]))
    (ours,) = onnxruntime.InferenceSession(model.SerializeToString()).run(
        None, {name: value.numpy() for name, value in inputs.items()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(ours), fusion(*inputs.values()), rtol=1e-4, atol=1e-5)
