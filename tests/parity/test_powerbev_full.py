"""The authors' whole network, its weights read through the importer's door."""

import pytest
import torch

import bevkit.models  # noqa: F401  fills the registry
from bevkit.importers import import_checkpoint
from bevkit.models.architectures.dense import DenseBEV
from bevkit.structures import BEVBatch, CameraRig
from tests.parity.powerbev import dense_config, floats, poses_of, prefixed, relative_error, turned, turned_flow


@pytest.fixture(scope="module")
def result(golden, tmp_path_factory):
    """Reference, import report, and (raw, trace) of our network on the authors' input."""
    data = golden("instance/pb_full_b0.pt")
    config = data["meta"]["config"]
    model = DenseBEV(**dense_config(config)).eval()
    path = tmp_path_factory.mktemp("checkpoint") / "lightning.ckpt"
    torch.save({"epoch": 1, "state_dict": prefixed("model.", floats(data["state_dict"]))}, path)
    report = import_checkpoint(path, "powerbev", model)

    frames = config["time_receptive_field"]  # the authors read no others
    intrinsics = data["intrinsics"][:, :frames]
    batch = BEVBatch(
        images=data["image"][:, :frames].float(),
        rig=CameraRig(intrinsics, torch.eye(3).expand_as(intrinsics), data["extrinsics"][:, :frames],
                      tuple(config["image_size"])),
        global_from_ego=poses_of(data["future_egomotion"][:, :frames]), timestamps=torch.zeros(len(intrinsics), frames),
        boxes=[], targets={}, meta=[])
    with torch.no_grad():
        raw, trace = model.run_clip(batch)
    return data, report, raw, trace


def test_every_weight_found_its_place(result):
    data, report, _, _ = result
    assert report.complete and report.unmet == {"level_ego": (False, True)}  # the reference cameras are level already
    assert len(report.used) + len(report.dropped) == len(data["state_dict"])


def test_bev_before_and_after_the_warp(result):
    data, _, _, trace = result
    assert relative_error(turned(trace.bev), data["bev_raw"]) < 2e-5
    frames, channels = data["bev_warped"].shape[1:3]
    warped = trace.fused.unflatten(1, (frames, -1))[:, :, :channels]
    assert relative_error(turned(warped), data["bev_warped"]) < 2e-5


def test_segmentation_and_flow(result):
    data, _, raw, _ = result
    assert relative_error(turned(raw.segmentation), data["segmentation"]) < 2e-5
    assert relative_error(turned_flow(raw.flow), data["instance_flow"]) < 2e-5
