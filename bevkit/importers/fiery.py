"""FIERY's released weights (wayveai/fiery), and those of BEVerse's motion head (zhangyp15/BEVerse) beside them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from bevkit.importers.base import Rule, Translation, translate
from bevkit.importers.powerbev import DECODER, LIFTING_OPTIONS, decoder_rules, lifting_rules, turned

# Weights between the losses: Lightning checkpoints hold them, plain ones do not.
_WEIGHTS = {"segmentation": "segmentation", "centerness": "center", "offset": "offset", "flow": "flow"}
_HEADS = {"segmentation_head": "segmentation_head", "instance_center_head": "center_head",
          "instance_offset_head": "offset_head", "instance_future_head": "flow_head"}
# The authors' names within blocks, and ours.
_CONV_NORM = {"conv": "0", "norm": "1"}
_BOTTLENECK = {r"layers\.conv_down_project": "branch.0.0", r"layers\.abn_down_project\.0": "branch.0.1",
               r"layers\.conv": "branch.1.0", r"layers\.abn\.0": "branch.1.1",
               r"layers\.conv_up_project": "branch.2.0", r"layers\.abn_up_project\.0": "branch.2.1",
               r"projection\.conv_skip_proj": "skip.0", r"projection\.bn_skip_proj": "skip.1"}
_GRU = {"conv_update": "update", "conv_reset": "reset", r"conv_state_tilde\.conv": "candidate.0",
        r"conv_state_tilde\.norm": "candidate.1"}
Change = Callable[[Tensor], Tensor] | None


def folded(value: Tensor) -> Tensor:
    """Turns a kernel [O I T X Y] over T frames into one over the channels of these frames [O T*I Y X]."""
    return value.permute(0, 2, 1, 4, 3).flatten(1, 2).contiguous() if value.ndim == 5 else value


def temporal_rules(change: Change = folded) -> list[Rule]:
    """Rules of the temporal blocks."""
    block = r"(?:model\.)?temporal_model\.model\.(\d+)\."
    places = {r"convolution_paths\.0\.0": "reduce.0", r"convolution_paths\.0\.1": "motion",
              r"convolution_paths\.1\.0": "reduce.1", r"convolution_paths\.1\.1": "space",
              r"convolution_paths\.2": "reduce.2", r"pyramid_pooling\.features\.0\.conv_bn_relu": "pool",
              r"aggregation\.0": "aggregate"}
    rules = [Rule(block + rf"{old}\.{layer}\.(.+)", rf"temporal.blocks.\1.{new}.{index}.\2", change)
             for old, new in places.items() for layer, index in _CONV_NORM.items()]
    return [*rules, Rule(block + r"projection\.(\d)\.(.+)", r"temporal.blocks.\1.skip.\2.\3", change)]


def _distribution_rules(start: str, change: Change) -> list[Rule]:
    """Rules of both distributions, whose names follow a regular expression."""
    which = start + r"(present|future)_distribution\."
    rules = [Rule(which + rf"encoder\.model\.(\d+)\.{old}\.(.+)", rf"head.\1_distribution.encoder.\2.{new}.\3", change)
             for old, new in _BOTTLENECK.items()]
    # Behind a pooling, if there is one.
    return [*rules, Rule(which + r"last_conv\.[01]\.(.+)", r"head.\1_distribution.parameters_of.\2", change)]


def _unit_rules(prefix: str, change: Change) -> list[Rule]:
    """Rules of the predictor's recurrent units."""
    return [Rule(prefix + rf"\.(\d+)\.{old}\.(.+)", rf"head.predictor.units.\1.{new}.\2", change)
            for old, new in _GRU.items()]


def translate_fiery(state: Mapping[str, Tensor], target: Mapping[str, Any]) -> Translation:
    """Renames the authors' entries for `DenseBEV` and turns every BEV convolution.

    The authors' maps are [X Y]; their vectors are (row, column) = (x, y), as ours.

    Args:
        state: the authors' entries; Lightning's prefix ``model.`` may be there.
        target: entries of the bevkit model.
    """
    future = r"(?:model\.)?future_prediction\."
    rules = [
        *lifting_rules(state, target),
        *temporal_rules(),
        *_distribution_rules(r"(?:model\.)?", turned),
        *_unit_rules(future + "spatial_grus", turned),
        *[Rule(future + rf"res_blocks\.(\d+)\.(\d+)\.{old}\.(.+)", rf"head.predictor.blocks.\1.\2.{new}.\3", turned)
          for old, new in _BOTTLENECK.items()],
        *decoder_rules("head.decoder."),
        *[Rule(DECODER + rf"{old}\.(.+)", rf"head.{new}.\1", turned) for old, new in _HEADS.items()],
        *[Rule(rf"(?:model\.)?{old}_weight", f"head.{new}_weight.log_variance") for old, new in _WEIGHTS.items()],
    ]
    options = dict(LIFTING_OPTIONS)
    if any(re.match(r"(?:model\.)?temporal_model\.", name) for name in state):
        options["temporal.warp"] = "fiery"
    if any(re.match(r"(?:model\.)?future_distribution\.", name) for name in state):
        options.update({"head.raw_labels": True, "head.coder.reuse_ids": True})
    return translate(state, rules, options, tuple(f"head.{name}_weight.log_variance" for name in _WEIGHTS.values()))


def translate_beverse_motion(state: Mapping[str, Tensor], target: Mapping[str, Any]) -> Translation:
    """Renames the distributions and the future prediction of BEVerse's motion head; its maps are [Y X], as ours.

    The rest of a BEVerse checkpoint finds no place: import with ``--partial``.
    """
    start = r"(?:.+\.)?"
    future = start + r"future_prediction\."
    rules = [
        *_distribution_rules(start, None),
        *_unit_rules(future + "gru_cells", None),
        *[Rule(future + rf"offset_conv\.{old}\.(.+)", rf"head.predictor.flow.0.{new}.\1")
          for old, new in _CONV_NORM.items()],
        Rule(future + r"offset_pred\.(.+)", r"head.predictor.flow.1.\1"),
        *[Rule(future + rf"spatial_conv\.{old}\.(.+)", rf"head.predictor.mix.{new}.\1")
          for old, new in _CONV_NORM.items()],
    ]
    return translate(state, rules, {"head.raw_labels": True})
