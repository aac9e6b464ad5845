"""An exported model is the model: same numbers, same maps, and a manifest that says what goes in and out."""

import json
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

from bevkit.engine.build import build_model
from bevkit.engine.config import load_config
from bevkit.export import tensorrt
from bevkit.export.artefact import engine_report, write_artefact
from bevkit.export.graph import instants_of, random_clip
from bevkit.export.onnx import ALLOWED, checked
from bevkit.export.parity import compare
from bevkit.export.precision import to_half
from bevkit.export.report import markdown
from bevkit.export.untrained import settle_norms
from bevkit.registry import MODELS
from tests.conftest import ROOT
from tests.export.tiny import CAMERAS, IMAGE_SIZE, SPARSE, tiny_model


def test_onnx_runtime_agrees_with_pytorch_over_a_stream(artefact):
    _, report = artefact
    parity = report["parity"]
    assert parity["instants"] == 3 and set(parity["relative_error"]) == {"segmentation", "flow", "new_past"}
    assert max(parity["relative_error"].values()) < 1e-4
    assert parity["maps_equal"] and parity["instances"] > 0
    assert report["passed"]


def test_graph_holds_standard_operators_of_fixed_shape(artefact):
    folder, report = artefact
    graph = onnx.load(folder / "model.onnx")
    checked(graph)
    assert set(report["onnx"]["operators"]) <= ALLOWED
    assert [(item.domain, item.version) for item in graph.opset_import] == [("", 18)]


def test_manifest_describes_every_input_and_output(artefact, model):
    manifest = json.loads((artefact[0] / "manifest.json").read_text())
    names = [port["name"] for port in manifest["inputs"]]
    assert names == ["images", "view_taps", "view_groups", "view_members", "past", "temporal_known",
                     "temporal_theta", "temporal_motion"]
    assert [port["name"] for port in manifest["outputs"]] == ["segmentation", "flow", "new_past"]
    assert manifest["inputs"][0]["shape"] == [1, CAMERAS, 3, *IMAGE_SIZE]
    assert manifest["grid"]["shape"] == list(model.grid.shape)
    assert manifest["decode"]["nms_kernel"] == model.head.coder.nms_kernel


def test_report_reads_well(artefact):
    text = markdown(artefact[1])
    assert "passed" in text and "| flow |" in text and "equal in all" in text


def test_what_only_trains_leaves_no_trace(tmp_path):
    """HoP's branch costs the vehicle nothing: the same bytes with and without it."""
    torch.manual_seed(0)
    taught = build_model(load_config(str(ROOT / "configs" / "tiny" / "bevdet4d.py")))
    assert "HistoricalObjectLoss" in {type(part).__name__ for part in taught.auxiliaries}
    plain = build_model(load_config(str(ROOT / "configs" / "tiny" / "bevdet4d.py"), ["model.auxiliaries=[]"]))
    plain.load_state_dict({name: value for name, value in taught.state_dict().items()
                           if not name.startswith("auxiliaries.")})
    clips = [random_clip(taught.grid, CAMERAS, taught.view_transformer.image_size, frames=2)]
    for name, model in (("taught", taught), ("plain", plain)):
        write_artefact(model.eval(), clips, tmp_path / name, with_tensorrt=False)
    assert (tmp_path / "taught" / "model.onnx").read_bytes() == (tmp_path / "plain" / "model.onnx").read_bytes()


def test_calibration_is_an_input_and_not_baked_in(artefact, model):
    """The graph was traced on one rig and drive; another drive and image must agree as well."""
    other = random_clip(model.grid, CAMERAS, IMAGE_SIZE, frames=3, seed=7)
    turned = torch.eye(4).expand(1, 3, 4, 4).clone()
    turned[..., 0, 3], turned[..., :2, :2] = 0.4, torch.tensor([[0.8, -0.6], [0.6, 0.8]])
    object.__setattr__(other, "rig", other.rig.moved(turned))
    assert compare(model, artefact[0] / "model.onnx", [other]).worst < 1e-4


def test_half_precision_is_written_into_the_graph_and_stays_close(artefact, model, clip, tmp_path):
    half = checked(to_half(checked(onnx.load(artefact[0] / "model.onnx"))))
    kinds = {value.name: value.type.tensor_type.elem_type for value in (*half.graph.value_info, *half.graph.input)}
    convolutions = [node for node in half.graph.node if node.op_type == "Conv"]
    samplers = [node for node in half.graph.node if node.op_type in ("GridSample", "Softmax")]
    assert convolutions and all(kinds[node.input[0]] == onnx.TensorProto.FLOAT16 for node in convolutions)
    assert samplers and all(kinds[node.input[0]] == onnx.TensorProto.FLOAT for node in samplers)
    ports = [*half.graph.input, *half.graph.output]
    assert all(port.type.tensor_type.elem_type != onnx.TensorProto.FLOAT16 for port in ports)
    assert (artefact[0] / "model.onnx").stat().st_size > 1.5 * half.ByteSize()
    onnx.save(half, tmp_path / "half.onnx")
    parity = compare(model, tmp_path / "half.onnx", [clip])
    assert 1e-6 < parity.worst < 1e-2
    assert parity.unequal_cells < 0.01 * parity.cells


def test_segformers_export_and_the_vehicle_decodes_them(tmp_path):
    head = dict(type="EfficientPredictionHead", future=2, channels=(8, 16), depths=(1, 1), heads=(1, 2),
                reductions=(4, 1), mlp_ratios=(2, 2), patch_sizes=(7, 3), strides=(2, 2), decoder_channels=16,
                classifier_channels=(16, 8), coder=dict(type="InstanceFlowCoder", nms_kernel=5))
    model = tiny_model(head=head)
    last = model.head.segmentation_branch.classifier[-1]  # random weights that see vehicles here and there
    last.weight.data *= 10
    last.bias.data.zero_()
    clip = random_clip(model.grid, CAMERAS, IMAGE_SIZE, frames=3)
    report = write_artefact(model, [clip], tmp_path, with_tensorrt=False)
    parity = report["parity"]
    assert max(parity["relative_error"].values()) < 1e-4
    assert parity["maps_equal"] and parity["instances"] > 0 and report["passed"]


@pytest.mark.skipif(not tensorrt.tensorrt_is_here(), reason=tensorrt.MISSING)
def test_tensorrt_for_rtx_builds_single_and_half(artefact, tmp_path):
    path = artefact[0] / "model.onnx"
    onnx.save(to_half(checked(onnx.load(path))), tmp_path / "half.onnx")
    for file in (path, tmp_path / "half.onnx"):
        report = engine_report(file)
        assert report["status"] == "built" and report["bytes"] > 100_000, report


@pytest.mark.skipif(not tensorrt.tensorrt_is_here(), reason=tensorrt.MISSING)
def test_tensorrt_for_rtx_says_what_it_refuses(tmp_path):
    make = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("NonZero", ["x"], ["y"])], "g", [make("x", onnx.TensorProto.FLOAT, [4])],
        [make("y", onnx.TensorProto.INT64, [1, None])])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)]), tmp_path / "bad.onnx")
    report = engine_report(tmp_path / "bad.onnx")
    assert report["status"] == "refused" and "bad.onnx" in report["reason"]


def test_absent_tensorrt_is_said_plainly(monkeypatch, artefact):
    monkeypatch.setattr(tensorrt, "tensorrt_is_here", lambda: False)
    report = engine_report(artefact[0] / "model.onnx")
    assert report["status"] == "not installed" and "pip install tensorrt-rtx" in report["reason"]
    with pytest.raises(ModuleNotFoundError, match="pip install"):
        tensorrt.build(artefact[0] / "model.onnx")


class Pooled(nn.Module):
    """A head in one line, so that a model without a past exports in a second."""

    def __init__(self, grid, in_channels):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 2, 1)

    def forward(self, bev):
        return (self.conv(bev),)


@pytest.mark.parametrize("temporal", [None, dict(type="AlignAndStack", past=0)])
def test_a_model_without_a_past_exports(temporal, tmp_path):
    backbone = dict(type="TimmBackbone", model_name="resnet10t", out_strides=(8,))
    model = tiny_model(temporal=temporal, head=dict(type=Pooled), image_encoder=dict(type="ImageEncoder",
                                                                                     backbone=backbone))
    clip = random_clip(model.grid, CAMERAS, IMAGE_SIZE, frames=1)
    report = write_artefact(model, [clip], tmp_path, with_tensorrt=False)
    assert report["passed"] and list(report["parity"]["relative_error"]) == ["0"]
    assert report["parity"]["maps_equal"] is None
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert [port["name"] for port in manifest["inputs"]] == ["images", "view_taps", "view_groups", "view_members"]


def test_exportable_twin_shares_weights_and_leaves_the_model_alone(model):
    before = model.view_transformer.pooling
    twin = model.exportable()
    assert twin.view_transformer is not model.view_transformer and model.view_transformer.pooling is before
    assert all(a is b for a, b in zip(twin.parameters(), model.parameters()))


def test_unknown_precision_is_refused(model, clip, tmp_path: Path):
    with pytest.raises(ValueError, match="fp32"):
        write_artefact(model, [clip], tmp_path, precision="int4")


@torch.no_grad()
def test_untrained_norms_settle_on_a_clip(clip):
    model = tiny_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    momenta = [part.momentum for part in model.modules() if isinstance(part, nn.BatchNorm2d)]
    images = model.data_preprocessor({"batch": next(instants_of(clip))})["batch"].images.flatten(0, 2)
    first = next(part for part in model.image_encoder.modules() if isinstance(part, nn.BatchNorm2d))
    seen = []
    handle = first.register_forward_pre_hook(lambda part, inputs: seen.append(inputs[0]))
    settle_norms(model, clip)
    handle.remove()
    torch.testing.assert_close(first.running_mean, seen[0].mean(dim=(0, 2, 3)), rtol=1e-4, atol=1e-5)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and all(name.startswith("image_encoder.") and name.rsplit(".")[-1] in
                           ("running_mean", "running_var", "num_batches_tracked") for name in changed)
    assert not any(part.training for part in model.modules())
    assert momenta == [part.momentum for part in model.modules() if isinstance(part, nn.BatchNorm2d)]
    assert all(level.isfinite().all() for level in model.image_encoder(images))


@torch.no_grad()
def test_a_sparse_model_of_one_frame_keeps_nothing(tmp_path):
    torch.manual_seed(0)
    model = MODELS.build(SPARSE | dict(head=SPARSE["head"] | dict(frames=1))).eval()
    report = write_artefact(model, [random_clip(model.grid, CAMERAS, IMAGE_SIZE, frames=2)], tmp_path,
                            with_tensorrt=False)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert report["passed"] and [port["name"] for port in manifest["outputs"]] == ["scores", "boxes"]
