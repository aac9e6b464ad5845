"""What the tests of Efficient-Instance-Prediction share: heads and models built from the authors' config."""

from typing import Any

from tests.parity.powerbev import dense_config


def head_config(config: dict) -> dict[str, Any]:
    """The options of the head for a reference file's config; a list of keys says less than a file of tensors."""
    assert config["head_kernel"] == config["head_stride"] == config["strides"][0]  # the map comes back at its size
    options = dict(future=config["n_future_frames"], channels=config["hidden_sizes"],
                   depths=config["depths"], heads=config["num_attention_heads"], reductions=config["sr_ratios"],
                   mlp_ratios=config["mlp_ratios"], patch_sizes=config["patch_sizes"], strides=config["strides"])
    if "decoder_hidden_size" in config:
        width, *classifier = config["classifier_channels"]
        assert width == config["decoder_hidden_size"]
        options |= dict(decoder_channels=width, classifier_channels=classifier, classes=config["n_classes"])
    return options


def model_config(config: dict) -> dict[str, Any]:
    """The config of DenseBEV, without its type, with the numerics of the authors."""
    frames = config["time_receptive_field"]
    temporal = dict(type="AlignAndStack", past=frames - 1, ego_motion=config["input_egopose"], warp="fiery")
    return dense_config(config, static=True) | dict(
        temporal=temporal, bev_encoder=None, head=dict(type="EfficientPredictionHead", **head_config(config)))
