"""FB-BEV's weights (NVlabs/FB-BEV); its map has the axes of the ego, as bevkit's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from bevkit.importers.base import Rule, Translation, translate
from bevkit.importers.bevdepth import COLOURS, backbone_rules, depth_net_rules
from bevkit.importers.bevformer import attention_rules, first_half, image_rules, layer_rules, second_half

VIEW = "view_transformer."


def translate_fbbev(state: Mapping[str, Tensor], target: Mapping[str, Any]) -> Translation:
    """Renames the authors' entries for `DenseBEV` with `ForwardBackward`.

    Args:
        state: the authors' entries.
        target: entries of the bevkit model.
    """
    backward = r"backward_projection\."
    layers = backward + r"transformer\.encoder\.layers\."
    rules = [
        *backbone_rules(r"img_backbone\."),
        *image_rules(),
        *depth_net_rules(r"depth_net\.", VIEW + "lift.depth_net.", deformable=False),
        Rule(r"forward_projection\.(dx|bx|nx|frustum)", None, reason="the configured grid and cameras stay"),
        Rule(r"frpn\.mask_net\.(.+)", VIEW + r"proposal.\1"),
        Rule(r"frpn\.ce_loss\.pos_weight", None, reason="a factor of the loss, which the config sets"),
        Rule(backward + r"bev_embedding\.weight", VIEW + "cells"),
        Rule(backward + r"positional_encoding\.col_embed\.weight", VIEW + "position.columns", first_half),
        Rule(backward + r"positional_encoding\.row_embed\.weight", VIEW + "position.rows", second_half),
        Rule(backward + r"transformer\.cams_embeds", None, reason="the authors multiply it by zero"),
        Rule(r"history_keyframe_time_conv\.(.+)", r"temporal.time.\1", _without_voxel_axis),
        Rule(r"history_keyframe_cat_conv\.(.+)", r"temporal.join.\1", _without_voxel_axis),
    ]
    count = sum(name.startswith(VIEW + "layers.") and name.endswith("norms.0.weight") for name in target)
    for layer in range(count):
        old, new = layers + str(layer), f"{VIEW}layers.{layer}"
        rules += [*attention_rules(old + r"\.attentions\.0", new + ".read"),
                  *attention_rules(old + r"\.attentions\.1(?:\.deformable_attention)?", new + ".spatial"),
                  *layer_rules(old, new)]
    options = {"temporal.low_edge": True} if any(name.startswith("temporal.") for name in target) else {}
    options |= {"view_transformer.frustum": "corner", "view_transformer.indexing": "truncate",
               "view_transformer.pixel_origin": "corner", "images.pixel_origin": "corner", **COLOURS,
               "view_transformer.self_attention": "background", "view_transformer.blind_camera": "first_query"}
    return translate(state, rules, options)


def _without_voxel_axis(value: Tensor) -> Tensor:
    """A 1x1x1 convolution of voxels [O I 1 1 1] as one of a map [O I 1 1]; other weights stay."""
    return value.squeeze(-1) if value.dim() == 5 else value
