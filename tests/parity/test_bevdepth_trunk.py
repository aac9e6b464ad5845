"""ResNetPyramid against BEVDepth's trunk and neck, as far as the files tell: through the head's shared convolution."""

import torch
from torch import nn

from bevkit.importers.bevdepth import translate_bevdepth
from bevkit.models.bev_encoders import ResNetPyramid
from bevkit.structures import BEVGrid


def encoder_of(config):
    trunk, neck = config["trunk"], config["neck"]
    (x_low, y_low, _, x_high, y_high, _), cell = config["point_cloud_range"], config["cell_size_m"]
    widths = [trunk["base_channels"] * 2 ** index for index in range(trunk["num_stages"])]
    assert [trunk["in_channels"], *widths] == neck["in_channels"]
    encoder = ResNetPyramid(BEVGrid(x=(x_low, x_high, cell), y=(y_low, y_high, cell)), trunk["in_channels"], widths,
                            [2] * len(widths), trunk["strides"], neck["out_channels"])
    assert encoder.channels == config["in_channels"] and encoder.scales == tuple(neck["upsample_strides"])
    return encoder


def load_encoder(config, state):
    """The encoder with the authors' weights, and the entries that are the head's."""
    holder = nn.ModuleDict(dict(bev_encoder=encoder_of(config)))
    translation = translate_bevdepth(state, holder.state_dict())
    own = {name: value for name, value in translation.state.items() if name.startswith("bev_encoder.")}
    holder.load_state_dict(own)  # strict
    return holder["bev_encoder"].eval(), {name: value for name, value in state.items()
                                          if not name.startswith(("trunk.", "neck."))}


def test_maps_of_the_first_task(golden):
    truth = golden("detection/bevdepth_head.pt")
    config, tolerance = truth["meta"]["config"], truth["meta"]["tolerance"]
    encoder, state = load_encoder(config, truth["state_dict"])

    def conv_norm(prefix):
        weight, norm = state[f"{prefix}.conv.weight"], {key: state[f"{prefix}.bn.{key}"] for key in (
            "running_mean", "running_var", "weight", "bias")}
        return lambda x: nn.functional.batch_norm(nn.functional.conv2d(x, weight, padding=1), *norm.values()).relu()

    with torch.no_grad():
        shared = conv_norm("shared_conv")(encoder(truth["inputs"]["bev"]))
        for name, expected in truth["outputs"]["preds"][0].items():
            hidden = conv_norm(f"task_heads.0.{name}.0")(shared)
            maps = nn.functional.conv2d(hidden, state[f"task_heads.0.{name}.1.weight"],
                                        state[f"task_heads.0.{name}.1.bias"], padding=1)
            assert torch.allclose(maps, expected, atol=tolerance["atol"], rtol=tolerance["rtol"]), name
