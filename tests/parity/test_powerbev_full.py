"""The authors' whole network, its weights read through the importer's door."""

import pytest

import bevkit.models  # noqa: F401  fills the registry
from bevkit.models.architectures.dense import DenseBEV
from tests.parity.powerbev import (
    dense_config,
    imported_and_run,
    relative_error,
    turned,
    turned_flow,
)


@pytest.fixture(scope="module")
def result(golden, tmp_path_factory):
    """Reference, import report, and (raw, trace) of our network on the authors' input."""
    data = golden("instance/pb_full_b0.pt")
    config = data["meta"]["config"]
    model = DenseBEV(**dense_config(config)).eval()
    report, raw, trace = imported_and_run(data, "powerbev", model, tmp_path_factory.mktemp("checkpoint"))
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
