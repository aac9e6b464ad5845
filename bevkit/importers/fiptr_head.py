"""FipTR's weights (TabGuigui/FipTR) of the network on the BEV plane and of the head.

The authors' maps have rows along y and columns along x in the ego frame, as bevkit's. Their boxes are those of
mmdet3d before 1.0 (`importers.boxes`), and their classes the vehicles alone, in an order of their own.
`fiptr_head_rules` gives the rules, to stand beside those of the front half; `translate_fiptr_head` applies them alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from bevkit.importers.base import Rule, Translation, translate
from bevkit.importers.bevformer import HEAD, attention_rules, decoder_rules, first_half, layer_rules, second_half
from bevkit.structures.classes import CLASSES

# A head of K classes scores the first K of these; the published one has the seven vehicles.
FIPTR_CLASSES = ("car", "truck", "construction_vehicle", "bus", "trailer", "motorcycle", "bicycle", "pedestrian",
                 "barrier", "traffic_cone")
OPTIONS: dict[str, Any] = {"head.bounds": (-51.2, -51.2, -5.0, 51.2, 51.2, 3.0), "head.keep_position": True}


def from_fiptr_classes(rows: Tensor) -> Tensor:
    """Reorders the rows [K ..] of a layer that scores the authors' first K classes to bevkit's order."""
    theirs = FIPTR_CLASSES[:len(rows)]
    return rows[[theirs.index(name) for name in CLASSES if name in theirs]]


def encoder_rules() -> list[Rule]:
    """Rules of the network on the BEV plane, for `ResidualFPN` with bottlenecks."""
    encoder = HEAD + r"taskfeat_encoders\."
    return [Rule(encoder + r"layers\.(.+)", r"bev_encoder.backbone.stages.\1"),
            Rule(encoder + r"up1\.conv\.(.+)", r"bev_encoder.join.\1"),
            Rule(encoder + r"up2\.(.+)", r"bev_encoder.out.\1")]


def branch_rules() -> list[Rule]:
    """Rules of the branches that read flow and masks off the maps."""
    rules = [Rule(HEAD + rf"temporal_query\.(\d+)\.layers\.{layer}\.(.+)",
                  rf"head.mask_branches.\1.query.{2 * layer}.\2") for layer in range(3)]  # a ReLU between any two
    for old, new in (("bev_up_branches", r"mask_branches.\1.map"), ("flow_conv_branches", r"flow_branches.\1")):
        block = HEAD + old + r"\.(\d+)\.layers\.(\d+)\."
        rules += [Rule(block + r"conv\.(.+)", rf"head.{new}.blocks.\2.convs.\3"),
                  Rule(block + r"up\.(.+)", rf"head.{new}.blocks.\2.skip.\3")]
    return rules


def future_rules(target: Mapping[str, Any]) -> list[Rule]:
    """Rules of the layers from map to map, which the authors count through over all frames."""
    ours = [name for name in target if name.startswith("head.future_layers.")]
    places = sorted({tuple(map(int, name.split(".")[2:4])) for name in ours})
    rules = []
    for index, (frame, layer) in enumerate(places):
        old, new = HEAD + rf"future_decoder\.layers\.{index}", f"head.future_layers.{frame}.{layer}"
        rules += [*attention_rules(old + r"\.attentions\.0", new + ".read"), *layer_rules(old, new)]
    return rules


def fiptr_head_rules(target: Mapping[str, Any]) -> tuple[list[Rule], dict[str, Any]]:
    """Returns the rules of the network on the BEV plane and the head, and the options that these weights want.

    Args: target, entries of the bevkit model.
    """
    position = HEAD + r"positional_encoding\."
    rules = [*encoder_rules(), *branch_rules(), *future_rules(target),
             *decoder_rules(target, turned=False, new="head.decoder.", classes=from_fiptr_classes),
             Rule(position + r"col_embed\.weight", "head.position.columns", first_half),
             Rule(position + r"row_embed\.weight", "head.position.rows", second_half),
             Rule(HEAD + r"future_bev_embedding\.weight", "head.cells")]
    return rules, dict(OPTIONS)


def translate_fiptr_head(state: Mapping[str, Tensor], target: Mapping[str, Any]) -> Translation:
    """Renames the authors' entries for `DenseBEV` with a `ResidualFPN` and a `FipTRHead`, and turns boxes and classes.

    Args:
        state: the authors' entries, of a whole model or of ``pts_bbox_head`` alone.
        target: entries of the bevkit model.
    """
    return translate(state, *fiptr_head_rules(target))
