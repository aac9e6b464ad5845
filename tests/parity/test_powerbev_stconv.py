"""The authors' multi-branch spatio-temporal network."""

import pytest
import torch

from tests.parity.powerbev import (
    head_of,
    load_translated,
    named_part,
    no_grad_call,
    prefixed,
    relative_error,
    turned,
    turned_flow,
)

WEIGHTS = ("log_variance",)


@pytest.fixture(scope="module")
def reference(golden):
    data = golden("instance/pb_stconv_small.pt")
    head = head_of(data["meta"]["config"], data["meta"]["config"]["in_channels"])
    load_translated(named_part("head", head), prefixed("stconv.", data["state_dict"]), but_for=WEIGHTS)
    return data, head.eval()


@pytest.mark.parametrize("case", ["a", "b"])
def test_head_gives_the_authors_maps(reference, case):
    data, head = reference
    raw = no_grad_call(head, turned(data[f"in_{case}"].float().flatten(1, 2)))
    assert relative_error(turned(raw.segmentation), data[f"out_{case}_segmentation"]) < 5e-6
    assert relative_error(turned_flow(raw.flow), data[f"out_{case}_flow"]) < 5e-6


def test_every_level_of_the_network_agrees(reference):
    data, head = reference
    branch = head.segmentation_branch
    with torch.no_grad():
        x = turned(data["in_b"].float().flatten(1, 2))
        encoded = []
        for level in branch.encoder:
            x = level(x)
            encoded.append(x)
        predicted = [predict(level) for predict, level in zip(branch.predictor, encoded, strict=True)]
        features = branch(turned(data["in_b"].float().flatten(1, 2)))
    for ours, theirs in zip(encoded, data["mid_b_enc"], strict=True):
        assert relative_error(turned(ours), theirs.flatten(1, 2).float()) < 1e-3
    stored = data["mid_b_pred"]
    for ours, theirs in zip(predicted[-len(stored):], stored, strict=True):
        assert relative_error(turned(ours), theirs.flatten(1, 2).float()) < 1e-3
    assert relative_error(turned(features), data["mid_b_seg_feat"].float()) < 1e-3


@pytest.mark.parametrize("size", [(33, 20), (25, 51)])
def test_any_map_size_comes_back(reference, size):
    data, head = reference
    frames, channels = data["in_a"].shape[1:3]
    raw = no_grad_call(head, torch.zeros(1, frames * channels, *size))
    assert raw.segmentation.shape[-2:] == size and raw.flow.shape[-2:] == size
