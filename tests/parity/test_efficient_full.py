"""The authors' whole network, its weights read through the importer's door."""

import pytest
import torch

import bevkit.models  # noqa: F401  fills the registry
from bevkit.models.architectures.dense import DenseBEV
from bevkit.models.coders import InstanceFlowCoder
from bevkit.models.future import InstanceFlowOutput
from tests.parity.efficient import model_config
from tests.parity.powerbev import imported_and_run, relative_error, turned, turned_flow


@pytest.fixture(scope="module")
def result(golden, tmp_path_factory):
    """Reference, import report, our network, and its (raw, trace) on the authors' input."""
    data = golden("instance/eip_full_b0.pt")
    config = data["meta"]["config"]
    model = DenseBEV(**model_config(config)).eval()
    report, raw, trace = imported_and_run(data, "efficient", model, tmp_path_factory.mktemp("checkpoint"))
    return data, report, model, raw, trace


def test_every_weight_found_its_place(result):
    data, report, *_ = result
    assert report.complete and report.unmet == {"level_ego": (False, True)}  # the reference cameras are level already
    assert len(report.used) + len(report.dropped) == len(data["state_dict"])


def test_depth_and_warped_bev(result):
    data, _, _, _, trace = result
    depth = data["depth"].flatten(0, 2)  # [V D H W]
    assert relative_error(trace.depth, depth) < 1e-5
    frames, channels = data["bev_warped"].shape[1:3]
    warped = trace.fused.unflatten(1, (frames, -1))[:, :, :channels]
    assert relative_error(turned(warped), data["bev_warped"]) < 1e-5


def test_segmentation_and_flow(result):
    data, _, _, raw, _ = result
    assert relative_error(turned(raw.segmentation), data["segmentation"]) < 1e-5
    assert relative_error(turned_flow(raw.flow), data["instance_flow"]) < 1e-5


def test_instances(result):
    data, _, model, _, _ = result
    config = data["meta"]["config"]
    coder = InstanceFlowCoder(model.grid, center_threshold=config["center_threshold"],
                              max_centers=config["max_centers"])
    assert coder.nms_kernel == config["nms_kernel"]
    found = coder.decode(InstanceFlowOutput(turned(data["segmentation"]), turned_flow(data["instance_flow"])))
    for ours, theirs in zip(found, turned(data["instance_ids"].long()), strict=True):
        assert torch.equal(ours.ids, theirs[1:])
