"""FIERY's whole network, its weights read through the importer's door, on explicit noise."""

import pytest
import torch

import bevkit.models  # noqa: F401  fills the registry
from bevkit.models.architectures.dense import DenseBEV
from bevkit.models.future import Gaussian
from tests.parity.fiery import fiery_config
from tests.parity.powerbev import imported_and_run, relative_error, turned


@pytest.fixture(scope="module")
def result(golden, tmp_path_factory):
    """Reference, import report, our network, and (raw, trace) of it on the authors' input, without noise."""
    data = golden("instance/fiery_full_b0.pt")
    config = data["meta"]["config"]
    model = DenseBEV(**fiery_config(config)).eval()
    report, raw, trace = imported_and_run(data, "fiery", model, tmp_path_factory.mktemp("checkpoint"))
    return data, report, model, raw, trace


def test_every_weight_found_its_place(result):
    data, report, *_ = result
    assert report.complete and report.unmet == {"level_ego": (False, True)}  # the reference cameras are level already
    assert len(report.used) + len(report.dropped) == len(data["state_dict"])


def test_lifted_maps(result):
    data, _, _, _, trace = result
    assert relative_error(turned(trace.bev), data["bev_raw"]) < 2e-5


def test_mean_future(result):
    data, _, _, raw, _ = result
    theirs = data["out_nonoise_segmentation"]
    tolerance = 1e-3 if theirs.dtype == torch.float16 else 2e-5
    assert relative_error(turned(raw.segmentation), theirs.float()) < tolerance


@torch.no_grad()
def test_distributions(result):
    data, _, model, raw, trace = result
    labels = turned(data["future_distribution_inputs"].float())  # [B F+1 6 Y X]: class, centre, offset, flow
    targets = dict(zip(("segmentation", "centerness", "offset", "flow"), labels.split((1, 1, 2, 2), dim=2)))
    targets["segmentation"] = targets["segmentation"].squeeze(2)
    seen = model.head(trace.fused, targets)
    for index, name in enumerate(("present", "future")):
        for ours, theirs in ((seen.latent_mean, "mu"), (seen.latent_log_sigma, "log_sigma")):
            expected = data[f"out_{name}_{theirs}"].squeeze(1)
            assert relative_error(ours[:, index, :, 0, 0], expected) < 2e-5, (name, theirs)
    assert torch.equal(raw.latent_mean, seen.latent_mean[:, :1])


@torch.no_grad()
def test_drawn_future(result):
    data, _, model, raw, trace = result
    present = Gaussian(raw.latent_mean[:, 0], raw.latent_log_sigma[:, 0])
    latent = present.mean + present.log_sigma.exp() * data["noise"].flatten(1)[..., None, None]
    raw = model.head.foresee(trace.fused, latent, present)
    for ours, theirs in (("segmentation", "segmentation"), ("center", "instance_center"),
                         ("offset", "instance_offset"), ("flow", "instance_flow")):
        assert relative_error(turned(getattr(raw, ours)), data[f"out_{theirs}"]) < 2e-5, ours
