"""The authors' warps by ego motion and by flow, and their pose functions."""

import pytest
import torch

from bevkit.geometry.rigid import inverse, motion_matrix, motion_vector
from bevkit.geometry.warp import affine_theta_fiery, warp_affine, warp_flow
from bevkit.models.temporal import AlignAndStack
from bevkit.structures import BEVGrid, EgoMotion
from tests.parity.powerbev import poses_of, turned


@pytest.fixture(scope="module")
def reference(golden):
    return golden("instance/pb_warp.pt")


def fusion_of(maps, extent):
    """The fusion on the authors' map [B T C X Y] of half-sizes ``extent`` in metres."""
    columns, rows = maps.shape[-2:]
    grid = BEVGrid(x=(-extent[0], extent[0], 2 * extent[0] / columns), y=(-extent[1], extent[1], 2 * extent[1] / rows))
    return AlignAndStack(grid, maps.shape[2], past=maps.shape[1] - 1, warp="fiery", ego_motion=False)


def assert_same_maps(ours, theirs):
    """Both sample at positions rounded to float32, so that a steep map differs in proportion to its values."""
    assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-5 * max(1.0, theirs.abs().max().item()))


def assert_same_labels(ours, theirs):
    assert (ours != theirs).float().mean() <= 1e-3  # ties of rounding


@pytest.mark.parametrize(("maps", "ego", "extent", "expected"), [
    ("x", "ego", "spatial_extent", "cumulative_bilinear"),
    ("sq_x", "sq_ego", "sq_extent", "sq_cumulative_bilinear"),
])
def test_past_maps_are_moved_to_the_present(reference, maps, ego, extent, expected):
    x = reference[maps]
    fusion = fusion_of(x, reference[extent])
    ours = turned(x)
    fused = fusion(ours[:, -1], ours[:, :-1], *fusion.plan(EgoMotion.of(poses_of(reference[ego]))))
    assert_same_maps(turned(fused.unflatten(1, x.shape[1:3])), reference[expected])


def test_labels_are_moved_to_the_present(reference):
    labels = reference["labels"]
    fusion = fusion_of(labels, reference["spatial_extent"])
    theta, *_ = fusion.plan(EgoMotion.of(poses_of(reference["ego"])))
    moved = warp_affine(turned(labels[:, :-1]).flatten(0, 1), theta.flatten(0, 1), mode="nearest")
    expected = reference["cumulative_nearest"]
    assert_same_labels(turned(moved).unflatten(0, theta.shape[:2]), expected[:, :-1])
    assert torch.equal(labels[:, -1], expected[:, -1])


@pytest.mark.parametrize(("maps", "mode"), [("x", "bilinear"), ("labels", "nearest")])
def test_one_map_is_moved_by_one_motion(reference, maps, mode):
    theta = affine_theta_fiery(motion_matrix(reference["ego"][:, 0]), reference["spatial_extent"])
    ours = turned(warp_affine(turned(reference[maps][:, 0]), theta, mode))
    if mode == "nearest":
        assert_same_labels(ours, reference["warp_nearest"])
    else:
        assert_same_maps(ours, reference["warp_bilinear"])


@pytest.mark.parametrize(("maps", "mode"), [("x", "bilinear"), ("labels", "nearest")])
def test_future_maps_are_moved_back_to_the_first(reference, maps, mode):
    """The authors multiply the inverted motions, the first one on the left."""
    backward = inverse(motion_matrix(reference["ego"]))
    x, moved = turned(reference[maps]), []
    accumulated = torch.eye(4)
    for index in range(x.shape[1]):
        theta = affine_theta_fiery(accumulated.expand(len(x), 4, 4), reference["spatial_extent"])
        moved.append(warp_affine(x[:, index], theta, mode))
        accumulated = accumulated @ backward[:, index]
    ours = turned(torch.stack(moved, dim=1))
    if mode == "nearest":
        assert_same_labels(ours, reference["cumulative_reverse_nearest"])
    else:
        assert_same_maps(ours, reference["cumulative_reverse_bilinear"])


def test_pose_vectors(reference):
    matrices = motion_matrix(reference["ego"])
    assert torch.allclose(matrices, reference["pose_vec2mat"], atol=1e-5)
    assert torch.allclose(motion_vector(matrices), reference["mat2pose_vec"], atol=1e-5)


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_flow_warp(reference, mode):
    """Map t is read at every cell plus the flow of t."""
    labels, flow = turned(reference["labels"]), turned(reference["flow"]).flip(2)
    ours = warp_flow(labels.flatten(0, 1), flow.flatten(0, 1), mode).unflatten(0, labels.shape[:2])
    if mode == "nearest":
        assert_same_labels(turned(ours), reference["flow_warp_nearest"])
    else:
        assert_same_maps(turned(ours), reference["flow_warp_bilinear"])
