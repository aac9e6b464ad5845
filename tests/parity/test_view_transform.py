"""LiftSplat against the authors' lift-splat numerics: corner frustum, truncated indices (PowerBEV, FIERY)."""

from typing import Any

import pytest
import torch
from torch import Tensor

from bevkit.models.view_transformers import LiftSplat
from bevkit.structures import BEVGrid, CameraRig

GEOMETRY_TOLERANCE = 1e-4  # metres
BEV_TOLERANCE = 5e-6


@pytest.fixture(scope="module")
def truth(golden) -> dict[str, Any]:
    return golden("instance/pb_view_transform.pt")


@pytest.fixture(scope="module")
def config(truth) -> dict[str, Any]:
    return truth["meta"]["config"]


@pytest.fixture(scope="module")
def rig(truth, config) -> CameraRig:
    intrinsics, ego_from_camera = truth["intrinsics"].flatten(0, 1), truth["extrinsics"].flatten(0, 1)  # [M N ..]
    return CameraRig(intrinsics, torch.eye(3).expand(intrinsics.shape), ego_from_camera, tuple(config["image_size"]))


def build(config: dict[str, Any], indexing: str = "truncate") -> LiftSplat:
    grid = BEVGrid(x=config["x_bound"], y=config["y_bound"], z=config["z_bound"])
    return LiftSplat(grid, in_channels=1, channels=config["context_channels"], depth=config["d_bound"],
                     image_size=config["image_size"], stride=config["downsample"], frustum="corner", indexing=indexing)


def pooled(view: LiftSplat, logits: Tensor, plan: tuple[Tensor, ...]) -> Tensor:
    """Pools what stands in place of the 1x1 layer's output; the authors' [row = x, column = y] order."""
    depths = len(view.depths)
    return view.pooling(logits[:, :depths].softmax(dim=1), logits[:, depths:], *plan).transpose(-1, -2)


def test_frustum(truth, config):
    view = build(config)
    u, v = view.pixels()
    depths, rows, columns, _ = truth["frustum"].shape
    assert (len(view.depths), *view.feature_size) == (depths, rows, columns)
    expected = torch.stack(torch.broadcast_tensors(u, v[:, None], view.depths.view(-1, 1, 1)), dim=-1)
    assert torch.allclose(expected.float(), truth["frustum"], atol=1e-5)


def test_points(truth, config, rig):
    assert (build(config).points(rig) - truth["geometry"]).abs().max() <= GEOMETRY_TOLERANCE


@pytest.mark.parametrize("exportable", [False, True])
def test_map_of_the_authors_points(truth, config, exportable):
    view = build(config)
    view = view.exportable() if exportable else view
    plan = view.pooling.plan(view.cells(truth["geometry"]))
    bev = pooled(view, truth["head_logits"], plan)
    assert (bev - truth["bev"].flatten(0, 1)).abs().max() <= BEV_TOLERANCE
    exact = pooled(view, truth["head_logits"].double(), plan)
    assert (exact - truth["bev_f64sum"].flatten(0, 1)).abs().max() <= BEV_TOLERANCE


@pytest.mark.parametrize("exportable", [False, True])
def test_map_from_calibration(truth, config, rig, exportable):
    view = build(config)
    mine, theirs = view.cells(view.points(rig)), view.cells(truth["geometry"])
    # A point that lies on the edge of a cell within rounding may fall to either side: at most one in ten thousand.
    moved = mine != theirs
    assert moved.sum() <= 1e-4 * moved.numel()
    view = view.exportable() if exportable else view
    bev = pooled(view, truth["head_logits"], view.plan(rig)).transpose(-1, -2).flatten(2)  # [M C Y*X]
    expected = truth["bev"].flatten(0, 1).transpose(-1, -2).flatten(2)
    for index in range(len(bev)):
        touched = torch.cat((mine[index][moved[index]], theirs[index][moved[index]]))
        keep = ~torch.isin(torch.arange(bev.shape[-1]), touched)
        assert (bev[index][:, keep] - expected[index][:, keep]).abs().max() <= BEV_TOLERANCE


def test_truncation_keeps_one_more_cell_of_points(truth, config):
    kept = {indexing: (build(config, indexing).cells(truth["geometry"]) >= 0).sum()
            for indexing in ("truncate", "floor")}
    assert kept["truncate"] - kept["floor"] == truth["trunc_points"]


def test_grid_of_the_authors(truth, config):
    grid = build(config).grid
    start = [float(grid.centers(axis)[0]) for axis in "xyz"]
    assert torch.allclose(truth["bev_start_position"], torch.tensor(start))
    assert truth["bev_dimension"].tolist() == [grid.shape[1], grid.shape[0], grid.heights]
