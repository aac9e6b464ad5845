"""SparseBEV's weights (MCG-NJU/SparseBEV), which see the world with the axes of the lidar.

As with BEVFormer (`importers.bevformer`), forward and left of the ego take the place of the lidar's right and forward:
in the boxes that queries begin with, in what a layer says about a box, and in how it reads a place. Points inside a
box are said along its own axes and stay. Unlike BEVFormer's, these weights know mmdetection3d's newer boxes: length
before width, headings from the x axis.

A detector of images in mmdetection's form (Cascade Mask R-CNN on nuImages, from which the authors train) gives backbone
and neck; that wants ``--partial``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from bevkit.importers.base import Rule, Translation, translate
from bevkit.importers.boxes import to_our_classes

OPTIONS: dict[str, Any] = {"head.scale_weights": "shuffled", "images.pixel_origin": "corner"}  # of whole detectors
# The authors' boxes stand within +-51.2 m of the lidar (`bevformer.LIDAR_PLACE`).
OPTIONS_OF_THE_LIDAR: dict[str, Any] = {**OPTIONS, "head.bounds": (-50.26, -51.2, -3.16, 52.14, 51.2, 4.84)}
Change = Callable[[Tensor], Tensor]


def turned_box(rows: Tensor) -> Tensor:
    """Turns rows [10 ..] of (x, y, z, log l, log w, log h, sin, cos, vx, vy), places in 0..1 as logits."""
    x, y, z, length, width, height, sin, cos, vx, vy = rows.unbind(dim=0)
    return torch.stack((y, -x, z, length, width, height, -cos, sin, vy, -vx))


def turned_first_boxes(boxes: Tensor) -> Tensor:
    """Turns boxes [Q 10] whose places are 0..1 of symmetric bounds, so that right becomes 1 - left."""
    turned = turned_box(boxes.T)
    turned[1] += 1
    return turned.T.contiguous()


def turned_place_input(weight: Tensor) -> Tensor:
    """Turns weights [C 3] that read a place in 0..1; what the mirrored axis adds is `mirrored_bias`'s."""
    right, forward, up = weight.unbind(dim=1)
    return torch.stack((forward, -right, up), dim=1)


def translate_sparsebev(state: Mapping[str, Tensor], target: Mapping[str, Any], axes: str = "lidar") -> Translation:
    """Renames the authors' entries and turns them to the axes of the ego.

    Args:
        state: the authors' entries, of a whole detector, of its head or of its decoder alone.
        target: entries of the bevkit model.
        axes: whose axes the weights have, ``"lidar"`` for all released ones; those of ``"ego"`` are not turned.
    """
    if axes not in ("lidar", "ego"):
        raise ValueError(f"axes: expected lidar or ego, got {axes!r}")
    lidar_axes = axes == "lidar"
    start = r"(?:module\.)?(?:pts_bbox_head\.)?"
    layer = start + r"(?:transformer\.)?decoder\.decoder_layer\."
    names = [key for key in state if key.endswith("decoder_layer.position_encoder.0.weight")]
    place = {key.replace(".weight", ".bias"): state[key][:, 0] for key in names}  # what reads "right"

    def turn(change: Change) -> Change | None:
        return change if lidar_axes else None

    neck, outs = "image_encoder.neck.", sum(name.startswith("image_encoder.neck.out.") for name in target) // 2
    backbone = (r"(?:img_)?backbone\.", "image_encoder.backbone.model.")
    rules = [
        *vovnet_rules(*backbone),
        Rule(backbone[0] + r"(.+)", backbone[1] + r"\1"),
        # OpenMMLab counts a pyramid's further levels on behind its own.
        *(Rule(rf"(?:img_)?neck\.fpn_convs\.{outs + extra}\.conv\.(.+)", rf"{neck}extra.{extra}.\1")
          for extra in range(sum(name.startswith(f"{neck}extra.") for name in target) // 2)),
        Rule(r"(?:img_)?neck\.lateral_convs\.(\d+)\.conv\.(.+)", neck + r"lateral.\1.\2"),
        Rule(r"(?:img_)?neck\.fpn_convs\.(\d+)\.conv\.(.+)", neck + r"out.\1.\2"),
        Rule(r"(?:rpn_head|roi_head)\..+", None, reason="finds boxes in images; only its backbone and neck are wanted"),
        Rule(start + r"init_query_bbox\.weight", "head.boxes", turn(turned_first_boxes)),
        Rule(start + r"label_enc\.weight", "head.labels.weight", to_our_labels),
        Rule(start + r"code_weights", None, reason="a constant, in the config"),
        Rule(layer + r"position_encoder\.0\.weight", "head.layer.position.0.weight", turn(turned_place_input)),
        Rule(layer + r"position_encoder\.(.+)", r"head.layer.position.\1"),
        Rule(layer + r"self_attn\.attention\.attn\.in_proj_(weight|bias)", r"head.layer.attention.project.\1"),
        Rule(layer + r"self_attn\.attention\.attn\.out_proj\.(.+)", r"head.layer.attention.output.\1"),
        Rule(layer + r"self_attn\.gen_tau\.(.+)", r"head.layer.attention.reach.\1"),
        Rule(layer + r"sampling\.sampling_offset\.(.+)", r"head.layer.sampling.offsets.\1"),
        Rule(layer + r"sampling\.scale_weights\.(.+)", r"head.layer.sampling.scale_weights.\1"),
        Rule(layer + r"mixing\.parameter_generator\.(.+)", r"head.layer.mixing.generate.\1"),
        Rule(layer + r"mixing\.out_proj\.(.+)", r"head.layer.mixing.output.\1"),
        Rule(layer + r"ffn\.layers\.0\.0\.(.+)", r"head.layer.feed_forward.0.\1"),
        Rule(layer + r"ffn\.layers\.1\.(.+)", r"head.layer.feed_forward.3.\1"),
        *(Rule(layer + rf"norm{index + 1}\.(.+)", rf"head.layer.norms.{index}.\1") for index in range(3)),
        Rule(layer + r"cls_branch\.6\.(.+)", r"head.layer.scores.6.\1", to_our_classes),
        Rule(layer + r"cls_branch\.(.+)", r"head.layer.scores.\1"),
        Rule(layer + r"reg_branch\.4\.(.+)", r"head.layer.boxes.4.\1", turn(turned_box)),
        Rule(layer + r"reg_branch\.(.+)", r"head.layer.boxes.\1"),
    ]
    if lidar_axes:  # a mirrored axis reads 1 - left where it read right
        state = {key: value + place[key] if key in place else value for key, value in state.items()}
    return translate(state, rules, (OPTIONS_OF_THE_LIDAR if lidar_axes else OPTIONS) if names else {})


def vovnet_rules(image: str, ours: str) -> list[Rule]:
    """Renames a V2-99 of detectors to timm's; it was trained on blue, green, red."""
    parts = {"conv": "conv", "norm": "bn"}
    rules = [Rule(rf"{image}stem\.stem_1/conv\.weight", f"{ours}stem_0.conv.weight", lambda weight: weight.flip(1))]
    for theirs, name in parts.items():
        rules += [Rule(rf"{image}stem\.stem_{index + 1}/{theirs}\.(.+)", rf"{ours}stem_{index}.{name}.\1")
                  for index in range(3)]
    for stage, blocks in enumerate((1, 3, 9, 3)):
        for block in range(blocks):
            start = rf"{image}stage{stage + 2}\.OSA{stage + 2}_{block + 1}\."
            place = f"{ours}stages_{stage}.blocks.{block}."
            for theirs, name in parts.items():
                rules += [Rule(rf"{start}layers\.(\d+)\.[^/]+/{theirs}\.(.+)", rf"{place}conv_mid.\1.{name}.\2"),
                          Rule(rf"{start}concat\.[^/]+/{theirs}\.(.+)", rf"{place}conv_concat.{name}.\1")]
            rules.append(Rule(rf"{start}ese\.fc\.(.+)", rf"{place}attn.fc.\1"))
    return rules


def to_our_labels(rows: Tensor) -> Tensor:
    """Brings embeddings [K+1 ..] of the authors' classes to ours; the last one is of no class."""
    return torch.cat((to_our_classes(rows[:-1]), rows[-1:]))
