"""The camera-aware depth net in LiftSplat, and depth aggregation: plans, twins for export, what the camera changes."""

from dataclasses import replace

import pytest
import torch

from bevkit.models.view_transformers import LiftSplat
from bevkit.models.view_transformers.depth_net import camera_numbers
from tests.models.view_transformers.test_lift_splat import GRID, IMAGE_SIZE, RIG

NET = dict(type="CameraAwareDepthNet", mid_channels=8)


def build(**options):
    torch.manual_seed(0)
    view = LiftSplat(GRID, in_channels=6, channels=8, depth=(1.0, 13.0, 1.0), image_size=IMAGE_SIZE, stride=8,
                     **options)
    for module in view.modules():  # a fresh deformable convolution would be a plain one
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.normal_(module.weight, std=0.2)
    return view.eval()


def test_the_numbers_of_a_camera():
    numbers = camera_numbers(RIG)
    assert numbers.shape == (1, 3, 27) and numbers.dtype == torch.float32
    pose = RIG.ego_from_camera[0, 1, :3].float()
    assert numbers[0, 1, :15].tolist() == [160, 150, 95.5, 75.5, 0.5, 0, -0.25, 0, 0.5, -6.25, 1, 0, 0, 1, 1]
    assert torch.equal(numbers[0, 1, 15:].view(3, 4), pose)
    turn = torch.diag(torch.tensor([-0.9, 0.9, 0.9, 1.0], dtype=torch.float64))[None]
    assert torch.allclose(camera_numbers(RIG, turn)[0, 1, 10:15], torch.tensor([-0.9, 0, 0, 0.9, 0.9]))


def test_a_longer_lens_changes_the_depth():
    view, features = build(depth_net=NET), torch.randn(3, 6, 8, 12)
    longer = RIG.intrinsics.clone()
    longer[..., 0, 0] *= 2
    one, other = (view((features,), *view.plan(rig)).depth for rig in (RIG, replace(RIG, intrinsics=longer)))
    assert not torch.allclose(one, other, atol=1e-3)


def test_plans_have_names():
    assert build(depth_net=NET).plan(RIG)._fields[-1] == "cameras"
    assert build().plan(RIG)._fields == ("cells", "points", "pixels", "starts")


@pytest.mark.parametrize("options", [dict(depth_net=NET), dict(aggregate_depth=True, export_capacity=8.0)])
def test_twin_exports_with_standard_operators(tmp_path, options):
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    view = build(**options)
    twin, features = view.exportable(), torch.randn(3, 6, 8, 12)
    plan = twin.plan(RIG)
    expected = view((features,), *view.plan(RIG)).bev
    assert torch.allclose(twin((features,), *plan).bev, expected, atol=1e-4)
    path, names = str(tmp_path / "view.onnx"), ["features", *plan._fields]
    torch.onnx.export(twin, ((features,), *plan), path, dynamo=True, verbose=False, input_names=names,
                      output_names=["bev", "depth"])
    model = onnx.load(path)
    assert {node.domain for node in model.graph.node} == {""}
    assert not {"ScatterElements", "NonZero", "DeformConv"} & {node.op_type for node in model.graph.node}
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    bev = session.run(["bev"], dict(zip(names, (tensor.numpy() for tensor in (features, *plan)))))[0]
    assert torch.allclose(torch.from_numpy(bev), expected, atol=1e-3)


def test_aggregation_mixes_within_an_image_row_only():
    view = build(aggregate_depth=True)
    depth, context = torch.rand(1, 5, 3, 4), torch.randn(1, 8, 3, 4).requires_grad_()
    lifted = view.aggregation(depth, context)
    assert lifted.shape == (1, 5, 8, 3, 4)
    (grad,) = torch.autograd.grad(lifted[:, :, :, 1].sum(), context)
    assert grad[:, :, 1].abs().sum() > 0 and not grad[:, :, [0, 2]].any()
