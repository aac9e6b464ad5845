"""The authors' image encoder: EfficientNet with static padding, neck and depth layer."""

import pytest
import torch

from tests.parity.powerbev import encoder_parts, load_translated, no_grad_call, prefixed, relative_error


@pytest.mark.parametrize("variant", ["b0", "b4"])
def test_encoder_gives_the_authors_features(golden, variant):
    data = golden(f"instance/pb_encoder_{variant}.pt")
    config = data["meta"]["config"]
    parts = encoder_parts(config["encoder"], config["depth_bins"] + config["context_channels"],
                          neck_channels=data["features"].shape[1])
    load_translated(parts, prefixed("encoder.", data["state_dict"]))

    (features,) = no_grad_call(parts["image_encoder"], data["image"].float())
    maps = no_grad_call(parts["view_transformer"]["depth_net"], features)

    assert parts["image_encoder"].strides == (config["downsample"],)
    assert relative_error(features, data["features"]) < 1e-5
    assert relative_error(maps, data["head"]) < 1e-5
    depth, context = maps[:, : config["depth_bins"]].softmax(1), maps[:, config["depth_bins"]:]
    if "lifted" in data:
        assert relative_error(context.unsqueeze(2) * depth.unsqueeze(1), data["lifted"]) < 1e-5
    if "lifted_checksum" in data:
        checksum = torch.einsum("bchw,bdhw->cd", context.double(), depth.double())
        assert relative_error(checksum, data["lifted_checksum"]) < 1e-5
