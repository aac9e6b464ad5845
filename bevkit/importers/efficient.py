"""Weights of Efficient-Instance-Prediction (repository of miguelag99), by either naming of SegFormer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from bevkit.importers.base import Rule, Translation, translate
from bevkit.importers.powerbev import (
    LIFTING_OPTIONS,
    LOSS_WEIGHT_RULE,
    LOSS_WEIGHTS,
    RESIDUAL_BLOCK,
    lifting_rules,
    turned,
)

# Where the library "transformers" has the parts of a SegFormer's stage: in its version 4, and in late ones of 5.
_EMBEDDING = (r"encoder\.patch_embeddings\.(\d+)\.", r"stages\.(\d+)\.patch_embeddings\.")
_BLOCK = (r"encoder\.block\.(\d+)\.(\d+)\.", r"stages\.(\d+)\.blocks\.(\d+)\.")
_NORM = (r"encoder\.layer_norm\.(\d+)\.", r"stages\.(\d+)\.layer_norm\.")
# Layers of a block: either name, and ours.
_LAYERS = {
    r"(?:layer_norm_1|layernorm_before)": "attention_norm", r"(?:layer_norm_2|layernorm_after)": "ffn_norm",
    r"attention\.(?:self\.query|q_proj)": "attention.query", r"attention\.(?:self\.key|k_proj)": "attention.key",
    r"attention\.(?:self\.value|v_proj)": "attention.value", r"attention\.(?:output\.dense|o_proj)": "attention.output",
    r"attention\.(?:self\.sr|sequence_reduction\.sequence_reduction)": "attention.reduce",
    r"attention\.(?:self|sequence_reduction)\.layer_norm": "attention.reduce_norm",
    r"mlp\.(?:dense1|fc1)": "ffn.expand", r"mlp\.dwconv\.dwconv": "ffn.depthwise",
    r"mlp\.(?:dense2|fc2)": "ffn.project",
}


def _turned_and_swapped(value: Tensor) -> Tensor:
    """Turns a transposed kernel [C (F+2)*2 X Y], or a bias [(F+2)*2], and swaps the authors' y and x of every frame."""
    axis = 1 if value.ndim == 4 else 0
    return turned(value.unflatten(axis, (-1, 2)).flip(axis + 1).flatten(axis, axis + 1))


def _branch_rules() -> list[Rule]:
    """Rules of both branches."""
    segformer = r"(?:model\.)?(segmentation|flow)_branch\.segformer\."
    encoder = r"head.\1_branch.encoder."
    rules = []
    for embedding, block, norm in zip(_EMBEDDING, _BLOCK, _NORM):
        rules += [Rule(segformer + embedding + r"proj\.(.+)", encoder + r"\2.embedding.conv.\3", turned),
                  Rule(segformer + embedding + r"layer_norm\.(.+)", encoder + r"\2.embedding.norm.\3"),
                  Rule(segformer + norm + r"(.+)", encoder + r"\2.norm.\3"),
                  *[Rule(segformer + block + old + r"\.(.+)", encoder + rf"\2.blocks.\3.{new}.\4", turned)
                    for old, new in _LAYERS.items()]]
    decoder = r"(?:model\.)?(segmentation|flow)_branch\.decode_head\."
    classifier = decoder + r"classifier\.(\d+)\."
    last = r"(?:model\.)?{}_branch\.decode_head\.classifier\.(\d+)\.(weight|bias)"
    return rules + [
        Rule(decoder + r"(?:linear_c|linear_projections)\.(\d+)\.proj\.(.+)", r"head.\1_branch.decoder.levels.\2.\3"),
        Rule(decoder + r"linear_fuse\.(.+)", r"head.\1_branch.decoder.fuse.\2"),
        Rule(decoder + r"batch_norm\.(.+)", r"head.\1_branch.decoder.norm.\2"),
        *[Rule(classifier + old + r"\.(.+)", rf"head.\1_branch.classifier.\2.{new}.\3", turned)
          for old, new in RESIDUAL_BLOCK.items()],
        Rule(last.format("segmentation"), r"head.segmentation_branch.classifier.\1.\2", turned),
        Rule(last.format("flow"), r"head.flow_branch.classifier.\1.\2", _turned_and_swapped),
    ]


def translate_efficient(state: Mapping[str, Tensor], target: Mapping[str, Any]) -> Translation:
    """Renames the authors' entries for `DenseBEV`, turns every BEV convolution and swaps the flow's two channels.

    Args:
        state: the authors' entries; Lightning's prefix ``model.`` may be there.
        target: entries of the bevkit model.
    """
    rules = [*lifting_rules(state, target, r"(?:model\.)?feature_extractor\."), *_branch_rules(), LOSS_WEIGHT_RULE]
    options = {**LIFTING_OPTIONS, "temporal.warp": "fiery", "images.interpolation": "bilinear"}
    translation = translate(state, rules, options, optional=LOSS_WEIGHTS)
    if reductions := _reductions(translation.state):
        translation.options["head.reductions"] = reductions
    return translation


def _reductions(state: Mapping[str, Tensor]) -> tuple[int, ...]:
    """Reads off weights in our names by how much the attention of each stage reduces the map."""
    pattern = re.compile(r"head\.\w+\.encoder\.(\d+)\.blocks\.0\.attention\.(query|reduce)\.weight")
    found: dict[int, int] = {}
    for name, value in state.items():
        if match := pattern.fullmatch(name):
            stage, size = int(match[1]), value.shape[-1] if match[2] == "reduce" else 1
            found[stage] = max(size, found.get(stage, 1))
    return tuple(found[stage] for stage in sorted(found))
