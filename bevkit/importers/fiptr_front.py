"""The front half of FipTR's weights (TabGuigui/FipTR): image backbone, neck, lift and temporal model.

`fiptr_front_rules` gives the rules, to stand beside those of the head; `translate_fiptr_front` applies them alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from bevkit.importers.base import Rule, Translation, translate
from bevkit.importers.fiery import folded, temporal_rules
from bevkit.importers.powerbev import turned

POOL_WINDOW = (128, 128)  # rows and columns, in all the authors' configurations, whose maps have 200 x 200 cells
_FRUSTUM = "the configured cameras and depths stay; a checkpoint never changes them"
_COMPUTED = "follows from the window's size"
# What a block of mmdetection's Swin transformer calls its layers, and timm.
_BLOCK = {r"attn\.w_msa\.": "attn.", r"ffn\.layers\.0\.0\.": "mlp.fc1.", r"ffn\.layers\.1\.": "mlp.fc2.",
          r"norm1\.": "norm1.", r"norm2\.": "norm2."}


def merging_rows(values: Tensor) -> Tensor:
    """Brings the 4C inputs [.. 4C] of a patch merging to timm's order: (C, row, column) becomes (column, row, C)."""
    return values.unflatten(-1, (-1, 2, 2)).transpose(-1, -3).flatten(-3)


def swin_rules(state: Mapping[str, Tensor], prefix: str, new: str) -> list[Rule]:
    """Rules from mmdetection's Swin transformer to a `TimmBackbone` of one with ``output_norm``.

    Args:
        state: upstream entries, to see which stages they give out.
        prefix, new: regular expression of the upstream prefix, and the bevkit prefix, both with the last dot.
    """
    stage, ours = prefix + r"stages\.(\d+)\.blocks\.(\d+)\.", new + r"model.layers_\1.blocks.\2."
    rules = [Rule(prefix + r"patch_embed\.projection\.(.+)", new + r"model.patch_embed.proj.\1"),
             Rule(prefix + r"patch_embed\.norm\.(.+)", new + r"model.patch_embed.norm.\1"),
             Rule(stage + r"attn\.w_msa\.relative_position_index", None, reason=_COMPUTED)]
    rules += [Rule(stage + old + r"(.+)", ours + name + r"\3") for old, name in _BLOCK.items()]
    # mmdetection halves a map at the end of a stage, timm at the beginning of the next.
    stages = _numbers(state, prefix + r"stages\.(\d+)\.downsample\.reduction\.weight")
    for index in stages:
        old, name = prefix + rf"stages\.{index}\.downsample\.", new + f"model.layers_{index + 1}.downsample."
        rules.append(Rule(old + r"(norm|reduction)\.(.+)", name + r"\1.\2", merging_rows))
    for index, number in enumerate(_numbers(state, prefix + r"norm(\d+)\.weight")):
        rules.append(Rule(prefix + rf"norm{number}\.(.+)", new + rf"norms.{index}.\1"))
    return rules


def _numbers(state: Mapping[str, Tensor], pattern: str) -> list[int]:
    """Returns the numbers (group 1) in the names that a pattern matches, ascending."""
    return sorted({int(match[1]) for name in state if (match := re.fullmatch(pattern, name))})


def folded_alone(value: Tensor) -> Tensor:
    """Turns a kernel [O I T Y X] over T frames into one over the channels of these frames [O T*I Y X].

    The authors' maps are [Y X] as ours; FIERY's are not.
    """
    return turned(folded(value))


def fiptr_front_rules(state: Mapping[str, Tensor]) -> tuple[list[Rule], dict[str, Any]]:
    """Returns the rules of all that comes before the head, and the options that these weights want.

    Args:
        state: the authors' entries, of a whole detector.
    """
    rules = [
        *swin_rules(state, r"img_backbone\.", "image_encoder.backbone."),
        Rule(r"img_neck\.up\.conv\.(.+)", r"image_encoder.neck.mix.\1"),
        Rule(r"transformer\.frustum", None, reason=_FRUSTUM),
        Rule(r"transformer\.depthnet\.(.+)", r"view_transformer.depth_net.\1"),
        *temporal_rules(folded_alone),
    ]
    options: dict[str, Any] = {
        "image_encoder.backbone.windows": "padded", "image_encoder.backbone.output_norm": True,
        "image_encoder.neck.align_corners": True, "view_transformer.frustum": "corner",
        "view_transformer.indexing": "truncate", "temporal.warp": "fiptr", "temporal.residual": True,
        "temporal.pool_window": POOL_WINDOW, "images.pixel_origin": "corner",
    }
    return rules, options


def translate_fiptr_front(state: Mapping[str, Tensor], target: Mapping[str, Any]) -> Translation:
    """Renames the authors' entries of image backbone, neck, lift and temporal model for `DenseBEV`."""
    rules, options = fiptr_front_rules(state)
    return translate(state, rules, options)
