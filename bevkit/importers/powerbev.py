"""PowerBEV's released weights (EdwardLeeLPZ/PowerBEV): the whole network and its single-frame variant."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from bevkit.importers.base import Rule, Translation, translate

DECODER = r"(?:model\.)?decoder\."
# Weights between the losses: Lightning checkpoints hold them, plain ones do not.
LOSS_WEIGHTS = ("head.segmentation_weight.log_variance", "head.flow_weight.log_variance")
LOSS_WEIGHT_RULE = Rule(r"(?:model\.)?(segmentation|flow)_weight", r"head.\1_weight.log_variance")
_GRID = "the configured grid stays; a checkpoint never changes it"
# How FIERY, and PowerBEV after it, look at images and lift them.
LIFTING_OPTIONS: dict[str, Any] = {
    "image_encoder.backbone.padding": "static_same", "view_transformer.frustum": "corner",
    "view_transformer.indexing": "truncate", "level_ego": True, "images.interpolation": "pil",
    "images.pixel_origin": "corner"}

# Layers of a residual block: the authors' name as a regular expression, and ours.
RESIDUAL_BLOCK = {r"layers\.0": "conv", r"layers\.1": "norm", r"projection\.conv_skip_proj": "skip.0",
                  r"projection\.bn_skip_proj": "skip.1"}

# The authors' EfficientNet names, by kind of block: with an expansion before the depthwise convolution, or without.
_EXPANDING = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
              "_project_conv": "conv_pwl", "_bn2": "bn3"}
_PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_SQUEEZE = {"_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand"}


def efficientnet_rules(state: Mapping[str, Tensor], target: Mapping[str, Any], prefix: str, new: str) -> list[Rule]:
    """Rules from efficientnet_pytorch's names, blocks counted through, to timm's, blocks counted by stage.

    Args:
        state: upstream entries, to see which blocks expand.
        target: entries of the bevkit model, to see where its stages begin.
        prefix, new: regular expression of the upstream prefix, and the bevkit prefix, both with the last dot.
    """
    rules = [Rule(prefix + r"_conv_stem\.(.+)", new + r"conv_stem.\1"), Rule(prefix + r"_bn0\.(.+)", new + r"bn1.\1")]
    pattern = re.compile(re.escape(new) + r"blocks\.(\d+)\.(\d+)\..+")
    places = sorted({tuple(map(int, match.groups())) for name in target if (match := pattern.fullmatch(name))})
    expanding = {int(match[1]) for name in state
                 if (match := re.fullmatch(prefix + r"_blocks\.(\d+)\._expand_conv\.weight", name))}
    for index, (stage, block) in enumerate(places):
        for old, name in {**(_EXPANDING if index in expanding else _PLAIN), **_SQUEEZE}.items():
            rules.append(Rule(prefix + rf"_blocks\.{index}\.{old}\.(.+)", new + rf"blocks.{stage}.{block}.{name}.\1"))
    return rules


def turned(value: Tensor) -> Tensor:
    """Exchanges the axes of a convolution kernel [.. .. X Y] -> [.. .. Y X]; other values stay."""
    return value.transpose(-1, -2).contiguous() if value.ndim == 4 else value


def _turned_and_swapped(value: Tensor) -> Tensor:
    return turned(value).flip(0)  # the authors' channel 0 is y


def _network_rules() -> list[Rule]:
    """Rules of the spatio-temporal network: residual blocks first by place, then by layer."""
    stconv = r"(?:model\.)?stconv\.(segmentation|flow)_"
    rules = []
    for old, new in RESIDUAL_BLOCK.items():
        last = rf"\.{old}\.(.+)"
        # downconv_2_3 is block 3 of level 2, counted from 1.
        for block in range(1, 10):
            rules += [Rule(stconv + rf"branch\.BEV_encoder\.conv\.(\d+)\.downconv_\d+_{block}" + last,
                           rf"head.\1_branch.encoder.\2.{block - 1}.{new}.\3", turned),
                      Rule(stconv + rf"branch\.BEV_decoder\.conv\.(\d+)\.upconv_\d+_{block}" + last,
                           rf"head.\1_branch.decoder.\2.{block - 1}.{new}.\3", turned)]
        rules += [Rule(stconv + r"branch\.BEV_predictor\.predictor\.(\d+)\.(\d+)" + last,
                       rf"head.\1_branch.predictor.\2.\3.{new}.\4", turned),
                  Rule(stconv + r"head\.head\.(\d+)" + last, rf"head.\1_head.\2.{new}.\3", turned)]
    rules += [Rule(r"(?:model\.)?stconv\.flow_head\.last_conv\.(.+)", r"head.flow_head.4.\1", _turned_and_swapped),
              Rule(r"(?:model\.)?stconv\.segmentation_head\.last_conv\.(.+)", r"head.segmentation_head.4.\1", turned)]
    return rules


def decoder_rules(new: str) -> list[Rule]:
    """Rules from FIERY's decoder, without its heads, to a `ResNetUNet` of a prefix, with the last dot."""
    up = DECODER + r"up{}_skip\.upsample_layer\."
    rules = [Rule(DECODER + r"first_conv\.(.+)", new + r"stem.0.\1", turned),
             Rule(DECODER + r"bn1\.(.+)", new + r"stem.1.\1")]
    for number in (1, 2, 3):
        rules += [Rule(DECODER + rf"layer{number}\.(.+)", new + rf"down.{number - 1}.\1", turned),
                  Rule(up.format(number) + r"1\.(.+)", new + rf"up.{3 - number}.0.\1", turned),
                  Rule(up.format(number) + r"2\.(.+)", new + rf"up.{3 - number}.1.\1")]
    return rules


def lifting_rules(state: Mapping[str, Tensor], target: Mapping[str, Any], prefix: str = r"(?:model\.)?") -> list[Rule]:
    """Rules of the image encoder and the lift, which FIERY and those after it share; the frozen geometry is dropped.

    Args: prefix: regular expression of what stands before their names.
    """
    image = prefix + r"encoder\."
    return [
        Rule(prefix + r"(frustum|bev_resolution|bev_start_position|bev_dimension)", None, reason=_GRID),
        *efficientnet_rules(state, target, image + r"backbone\.", "image_encoder.backbone.model."),
        Rule(image + r"upsampling_layer\.conv\.(.+)", r"image_encoder.neck.mix.\1"),
        Rule(image + r"depth_layer\.(.+)", r"view_transformer.depth_net.\1"),
    ]


def translate_powerbev(state: Mapping[str, Tensor], target: Mapping[str, Any]) -> Translation:
    """Renames the authors' entries for `DenseBEV`, turns every BEV convolution and swaps the flow's two channels.

    Args:
        state: the authors' entries; Lightning's prefix ``model.`` may be there.
        target: entries of the bevkit model.
    """
    rules = [
        *lifting_rules(state, target),
        *_network_rules(),
        *decoder_rules("bev_encoder."),
        Rule(DECODER + r"segmentation_head\.(.+)", r"head.layers.\1", turned),
        LOSS_WEIGHT_RULE,
        Rule(r"(?:.*\.)?total_(ops|params)", None, reason="counters of a profiler"),
    ]
    options = dict(LIFTING_OPTIONS)
    if any(re.match(r"(?:model\.)?stconv\.", name) for name in state):
        options["temporal.warp"] = "fiery"
    return translate(state, rules, options, optional=LOSS_WEIGHTS)
