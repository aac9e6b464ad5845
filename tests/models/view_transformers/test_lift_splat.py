"""LiftSplat: where its points lie, what it refuses, and its exportable twin."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from bevkit.geometry import rigid
from bevkit.models.view_transformers import LiftSplat
from bevkit.registry import MODELS
from bevkit.structures import BEVGrid, CameraRig

GRID = BEVGrid(x=(-12.0, 12.0, 0.5), y=(-10.0, 10.0, 0.5), z=(-5.0, 3.0, 8.0))
IMAGE_SIZE = (64, 96)


def camera(yaw: float, pitch: float = 0.0) -> Tensor:
    """Returns ego_from_camera [4 4] of a camera 1.5 m above the ego that looks along ``yaw`` and down by ``pitch``."""
    turned = torch.eye(4, dtype=torch.float64)
    turned[:3, :3] = rigid.rotation_about_z(torch.tensor(yaw, dtype=torch.float64))
    axes = torch.tensor([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]], dtype=torch.float64)
    cos, sin = np.cos(pitch), np.sin(pitch)
    down = torch.tensor([[1, 0, 0, 0], [0, cos, sin, 0], [0, -sin, cos, 0], [0, 0, 0, 1]], dtype=torch.float64)
    return turned @ axes @ down


def rig_of(*cameras: Tensor) -> CameraRig:
    """One rig [M=1]; the image is half the raw one, its upper rows cut away."""
    count = len(cameras)
    intrinsics = torch.tensor([[160, 0, 95.5], [0, 150, 75.5], [0, 0, 1]], dtype=torch.float64)
    image_aug = torch.tensor([[0.5, 0, -0.25], [0, 0.5, -6.25], [0, 0, 1]], dtype=torch.float64)
    return CameraRig(intrinsics.expand(1, count, 3, 3), image_aug.expand(1, count, 3, 3), torch.stack(cameras)[None],
                     IMAGE_SIZE)


RIG = rig_of(camera(0.3), camera(2.4, 0.05), camera(-1.9))


def build(**options: object) -> LiftSplat:
    torch.manual_seed(0)
    return MODELS.build(dict(type="LiftSplat", grid=GRID, in_channels=6, channels=8, depth=(1.0, 13.0, 1.0),
                             image_size=IMAGE_SIZE, stride=8, **options))


def test_points_project_back_to_the_pixels_they_came_from():
    view = build()
    points = view.points(RIG)
    pixels, depth, _ = RIG.project(points.flatten(1, -2))  # every point in every camera
    pixels, depth = (value.unflatten(2, points.shape[1:-1]) for value in (pixels, depth))
    for index in range(RIG.num_cameras):
        u, v = pixels[0, index, index].unbind(-1)  # [D H W]
        assert torch.allclose(u, torch.arange(3.5, 96, 8, dtype=torch.float64).expand(u.shape), atol=1e-6)
        assert torch.allclose(v, torch.arange(3.5, 64, 8, dtype=torch.float64)[:, None].expand(v.shape), atol=1e-6)
        assert torch.allclose(depth[0, index, index], view.depths.view(-1, 1, 1).expand(u.shape))


def test_a_bright_pixel_lights_the_cells_of_its_ray():
    view = build()
    plan = view.plan(RIG)
    depth = torch.zeros(3, 12, 8, 12)
    depth[1, 4, 3, 7] = 1.0  # camera 1 says: 5 m
    bev = view.pooling(depth, torch.ones(3, 1, 8, 12), *plan)
    point = view.points(RIG)[0, 1, 4, 3, 7]
    column, row = GRID.cells_from_metric(point)[:2].floor().long().tolist()
    assert bev[0, 0, row, column] == 1 and bev.sum() == 1


def test_floor_and_truncation_on_the_edges_of_the_grid():
    points = torch.tensor([[-12.0, -10.0, -5.0], [-12.01, -10.0, 0.0], [-12.49, 9.99, -12.9], [-12.51, 0.0, 0.0],
                           [11.99, 9.99, 2.99], [12.0, 0.0, 0.0], [0.0, 0.0, 3.0], [float("nan"), 0.0, 0.0]])
    points = points.view(1, 1, 1, 1, 8, 3)
    floor, truncated = build().cells(points).flatten().tolist(), build(indexing="truncate").cells(points).flatten()
    assert floor == [0, -1, -1, -1, 40 * 48 - 1, -1, -1, -1]
    assert truncated.tolist() == [0, 0, 39 * 48, -1, 40 * 48 - 1, -1, -1, -1]


def test_two_instants_are_planned_as_one_by_one():
    view = build()
    features = torch.randn(6, 6, 8, 12)
    both = CameraRig.stack([RIG[0], RIG[0].moved(camera(0.0))])
    with torch.no_grad():
        together = view((features,), *view.plan(both))
        apart = [view((part,), *view.plan(both[index:index + 1])) for index, part in enumerate(features.split(3))]
    assert torch.allclose(together.bev, torch.cat([output.bev for output in apart]))
    assert together.bev.shape == (2, 8, *GRID.shape)
    assert torch.allclose(together.depth.sum(1), torch.ones(6, 8, 12))


def test_twin_for_export_agrees_and_shares_the_weights():
    view = build()
    twin = view.exportable()
    features = torch.randn(3, 6, 8, 12)
    assert [id(weight) for weight in twin.parameters()] == [id(weight) for weight in view.parameters()]
    assert torch.allclose(twin((features,), *twin.plan(RIG)).bev, view((features,), *view.plan(RIG)).bev, atol=1e-5)


def test_twin_exports_with_standard_operators(tmp_path):
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    twin = build().exportable().eval()
    features, plan = torch.randn(3, 6, 8, 12), twin.plan(RIG)
    path = str(tmp_path / "lift_splat.onnx")
    names = ["features", "taps", "groups", "members"]
    torch.onnx.export(twin, ((features,), *plan), path, dynamo=True, verbose=False, input_names=names,
                      output_names=["bev", "depth"])
    model = onnx.load(path)
    onnx.checker.check_model(model)
    assert {node.domain for node in model.graph.node} == {""}
    assert not {"ScatterElements", "ScatterND", "NonZero", "GatherND"} & {node.op_type for node in model.graph.node}
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    # Another calibration than the one exported with, the same graph.
    rig = rig_of(camera(0.0), camera(2.0), camera(-2.0, 0.02))
    plan = twin.plan(rig)
    feed = dict(zip(names, (tensor.numpy() for tensor in (features, *plan))))
    bev = torch.from_numpy(session.run(["bev"], feed)[0])
    assert torch.allclose(bev, twin((features,), *plan).bev, atol=1e-5)


def test_refuses_what_does_not_fit():
    view = build()
    with pytest.raises(ValueError, match=r"expected images of \(64, 96\)"):
        view.plan(replace(RIG, image_size=(128, 96)))
    with pytest.raises(ValueError, match="rig.intrinsics"):
        view.plan(RIG[0])
    with pytest.raises(ValueError, match="raise export_capacity"):
        build(export_capacity=1.0).exportable().plan(rig_of(camera(0.0, 0.8)))
    for options in (dict(frustum="centre"), dict(indexing="round"), dict(depth=(0.0, 5.0, 1.0)), dict(stride=7)):
        with pytest.raises(ValueError, match="expected"):
            LiftSplat(**{**dict(grid=GRID, in_channels=1, channels=1, depth=(1.0, 5.0, 1.0), image_size=IMAGE_SIZE,
                                stride=8), **options})


@pytest.mark.parametrize(("depth", "count"), [((2.0, 50.0, 1.0), 48), ((2.0, 58.0, 0.5), 112), ((1.0, 1.3, 0.1), 3),
                                              ((1.0, 60.0, 1.0), 59), ((2.0, 2.25, 1.0), 1)])
def test_depths_stop_below_the_end(depth, count):
    view = LiftSplat(GRID, 1, 1, depth, IMAGE_SIZE, 8)
    assert len(view.depths) == count and view.depths[0] == depth[0] and view.depths[-1] < depth[1]
