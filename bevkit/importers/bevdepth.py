"""BEVDepth's weights (Megvii-BaseDetection/BEVDepth): Lightning checkpoints of its camera-aware lift-splat detector."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from bevkit.importers.base import Rule, Translation, translate
from bevkit.importers.centerpoint import HEAD, center_head_rules

PREFIX = r"(?:model\.)?(?:backbone\.)?"  # Lightning's, then the detector's
_BUFFERS = "the configured grid and cameras stay; a checkpoint never changes them"
_GATES = {r"{}_mlp\.fc1": "embed.0", r"{}_mlp\.fc2": "embed.2", r"{}_se\.conv_reduce": "gate.0",
          r"{}_se\.conv_expand": "gate.2"}
_PYRAMID = {r"global_avg_pool\.1": "whole.0", r"global_avg_pool\.2": "whole.1", "conv1": "join.0", "bn1": "join.1"}


# These authors read red, green, blue, turn them round, and normalise blue as red: said in our order of colours.
COLOURS: dict[str, Any] = {"data_preprocessor.mean": (103.53, 116.28, 123.675),
                           "data_preprocessor.std": (57.375, 57.12, 58.395)}


def backbone_rules(prefix: str) -> list[Rule]:
    """Rules of a ResNet backbone (timm has OpenMMLab's names) that saw blue, green, red (`COLOURS`)."""
    new = "image_encoder.backbone.model."
    return [Rule(prefix + r"conv1\.weight", new + "conv1.weight", lambda weight: weight.flip(1)),
            Rule(prefix + r"(.+)", new + r"\1")]


def image_rules(prefix: str = PREFIX) -> list[Rule]:
    """Rules of the backbone and SECOND's neck."""
    return [*backbone_rules(prefix + r"img_backbone\."),
            Rule(prefix + r"img_neck\.deblocks\.(.+)", r"image_encoder.neck.levels.\1")]


def depth_net_rules(prefix: str, new: str = "view_transformer.depth_net.", blocks: int = 3,
                    deformable: bool = True) -> list[Rule]:
    """Rules of the camera-aware depth net.

    Args:
        prefix: regular expression of the upstream prefix with its last dot.
        new: bevkit prefix with its last dot.
        blocks: residual blocks before the pyramid.
        deformable: whether a deformable convolution stands before the last layer.
    """
    rules = [Rule(prefix + r"reduce_conv\.(.+)", new + r"reduce.\1"),
             Rule(prefix + r"bn\.(.+)", new + r"camera_norm.\1"),
             Rule(prefix + r"context_conv\.(.+)", new + r"context.\1")]
    for part in ("context", "depth"):
        rules += [Rule(prefix + old.format(part) + r"\.(.+)", f"{new}{part}_gate.{name}.\\1")
                  for old, name in _GATES.items()]
    layers = prefix + r"depth_conv\."
    pyramid = layers + rf"{blocks}\."
    rules += [Rule(layers + rf"{block}\.(.+)", f"{new}blocks.{block}.\\1") for block in range(blocks)]
    for branch in range(4):
        rules += [Rule(pyramid + rf"aspp{branch + 1}\.atrous_conv\.(.+)", f"{new}pyramid.branches.{branch}.0.\\1"),
                  Rule(pyramid + rf"aspp{branch + 1}\.bn\.(.+)", f"{new}pyramid.branches.{branch}.1.\\1")]
    rules += [Rule(pyramid + old + r"\.(.+)", f"{new}pyramid.{name}.\\1") for old, name in _PYRAMID.items()]
    if deformable:
        rules += [Rule(layers + rf"{blocks + 1}\.conv_offset\.(.+)", new + r"deformable.offset.\1"),
                  Rule(layers + rf"{blocks + 1}\.weight", new + "deformable.weight")]
    last = blocks + 1 + deformable
    return [*rules, Rule(layers + rf"{last}\.(.+)", new + r"depth.\1")]


def aggregation_rules(prefix: str = PREFIX) -> list[Rule]:
    """Rules of the depth aggregation."""
    old, new = prefix + r"depth_aggregation_net\.", "view_transformer.aggregation."
    return [Rule(old + r"reduce_conv\.(.+)", new + r"reduce.\1"), Rule(old + r"conv\.(.+)", new + r"mix.\1"),
            Rule(old + r"out_conv\.0\.(.+)", new + r"out.\1")]


def bev_encoder_rules(channels: int | None = None, prefix: str = HEAD) -> list[Rule]:
    """Rules of the ResNet trunk and its pyramid, which the authors keep in the head.

    Args:
        channels: of the map of one frame. The authors stack frames newest first, bevkit oldest first; None = one frame.
        prefix: regular expression of what stands before the authors' names, without groups, with the last dot.
    """
    def turned(axis: int) -> Callable[[Tensor], Tensor]:
        def change(weight: Tensor) -> Tensor:
            width = channels or weight.shape[axis]
            return torch.cat(weight.split(width, dim=axis)[::-1], dim=axis)
        return change

    new = "bev_encoder."
    return [Rule(prefix + r"trunk\.conv1\.(.+)", new + r"stem.0.\1", turned(1)),
            Rule(prefix + r"trunk\.bn1\.(.+)", new + r"stem.1.\1"),
            *[Rule(prefix + rf"trunk\.layer{index + 1}\.(.+)", f"{new}stages.{index}.\\1") for index in range(4)],
            Rule(prefix + r"neck\.deblocks\.0\.0\.(.+)", new + r"pyramid.levels.0.0.\1", turned(0)),
            Rule(prefix + r"neck\.deblocks\.(.+)", new + r"pyramid.levels.\1")]


def bevdepth_rules(state: Mapping[str, Tensor]) -> list[Rule]:
    """All rules of the detector; the authors' entries tell how many channels a frame's map has."""
    widths = [len(value) for name, value in state.items() if name.endswith("depth_net.context_conv.weight")]
    return [Rule(PREFIX + r"(voxel_size|voxel_coord|voxel_num|frustum)", None, reason=_BUFFERS),
            *image_rules(), *depth_net_rules(PREFIX + r"depth_net\."), *aggregation_rules(),
            *bev_encoder_rules(widths[0] if widths else None), *center_head_rules(HEAD)]


def translate_bevdepth(state: Mapping[str, Tensor], target: Mapping[str, Any]) -> Translation:
    """Renames the authors' entries for `DenseBEV`.

    Args:
        state: the authors' entries; the prefixes ``model.backbone.`` and ``model.head.`` may be there.
        target: entries of the bevkit model.
    """
    options = {"view_transformer.frustum": "corner", "view_transformer.indexing": "truncate",
               "images.pixel_origin": "corner", **COLOURS}
    return translate(state, bevdepth_rules(state), options)
