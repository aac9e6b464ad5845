"""MatrixVT: where squeezed columns go on a rectangular grid, its options, and its twin for export."""

import pytest
import torch

from bevkit.models.view_transformers import MatrixVT
from bevkit.structures import CameraRig
from tests.models.view_transformers.test_lift_splat import GRID, IMAGE_SIZE, RIG, camera, rig_of


def build(**options):
    torch.manual_seed(0)
    return MatrixVT(GRID, in_channels=6, channels=8, depth=(1.0, 13.0, 1.0), image_size=IMAGE_SIZE, stride=8,
                    hidden=16, **{**dict(depth_net=dict(type="PlainDepthNet")), **options}).eval()


def test_a_bright_column_lights_the_cells_of_its_ray_at_its_depth():
    """A level camera sees a depth of a column where its pixels at that depth lie, by projection of the cells."""
    view, rig = build(product="dense"), rig_of(camera(0.3))
    product = view.ring_ray(torch.device("cpu"))
    depth, features = torch.zeros(1, 12, 12), torch.zeros(1, 1, 12)
    depth[0, 4, 7] = features[0, 0, 7] = 1.0  # column 7 says: 5 m
    bev = product(depth, features, *product.plan(view.cells(rig)))[0, 0]
    rows, columns = bev.nonzero(as_tuple=True)
    x, y = GRID.centers("x")[columns], GRID.centers("y")[rows]
    pixels, metres, _ = rig.project(torch.stack((x, y, torch.full_like(x, 1.5)), dim=-1)[None])
    assert len(rows) >= 1
    assert (metres[0, 0] - 5).abs().max() < 0.75  # within a cell's diagonal and a step of depth
    assert (pixels[0, 0, :, 0] - (7.5 * 8 - 0.5)).abs().max() < 12


@pytest.mark.parametrize("maps", ["counted", "binary"])
def test_products_and_twin_agree(maps):
    features = torch.randn(6, 6, 8, 12)
    both = CameraRig.stack([RIG[0], RIG[0].moved(camera(0.0))])
    views = [build(product="dense", maps=maps), build(product="sparse", maps=maps), build(maps=maps).exportable()]
    with torch.no_grad():
        maps_of = [view((features,), *view.plan(both)) for view in views]
    assert maps_of[0].bev.shape == (2, 8, *GRID.shape) and maps_of[0].depth.shape == (6, 12, 8, 12)
    for output in maps_of[1:]:
        assert torch.allclose(output.bev, maps_of[0].bev, atol=1e-5)
    assert maps_of[0].bev.abs().sum() > 0


def test_the_middle_of_the_map_is_kept_unless_asked():
    # A camera whose column points at the map's middle cell (y = 0, x = 0) from behind.
    rig = rig_of(torch.tensor([[0, 0, 1.0, -6.0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]], dtype=torch.float64))
    middle = 20 * 48 + 24
    kept, emptied = build().cells(rig), build(center_cell="emptied").cells(rig)
    assert (kept == middle).any() and not (emptied == middle).any()
    assert torch.equal(torch.where(kept == middle, -1, kept), emptied)


def test_distributions_stay_distributions():
    view = build()
    depth, context = torch.rand(2, 12, 8, 12).softmax(1), torch.randn(2, 8, 8, 12)
    assert torch.allclose(view.depth_squeeze(context, depth).sum(1), torch.ones(2, 12))


def test_every_weight_learns():
    view = build(depth_net=dict(type="CameraAwareDepthNet", mid_channels=8)).train()
    output = view((torch.randn(3, 6, 8, 12),), *view.plan(RIG))
    (output.bev.square().mean() + output.depth[:, 0].mean()).backward()
    assert [name for name, weight in view.named_parameters() if weight.grad is None] == []


def test_twin_exports_with_standard_operators(tmp_path):
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    twin, features = build().exportable(), torch.randn(3, 6, 8, 12)
    path, names = str(tmp_path / "matrixvt.onnx"), ["features", "ring", "ray"]
    torch.onnx.export(twin, ((features,), *twin.plan(RIG)), path, dynamo=True, verbose=False, input_names=names,
                      output_names=["bev", "depth"])
    kinds = {node.op_type for node in onnx.load(path).graph.node}
    assert not kinds & {"ScatterElements", "ScatterND", "NonZero", "GatherND"}
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    plan = twin.plan(rig_of(camera(0.0), camera(2.0), camera(-2.0, 0.02)))  # another calibration, the same graph
    feed = dict(zip(names, (tensor.numpy() for tensor in (features, *plan))))
    bev = torch.from_numpy(session.run(["bev"], feed)[0])
    assert torch.allclose(bev, twin((features,), *plan).bev, atol=1e-4)


def test_refuses_unknown_options():
    for options in (dict(maps="sum"), dict(center_cell="lost"), dict(product="fast"), dict(frustum="centre")):
        with pytest.raises(ValueError, match="expected one of"):
            build(**options)
