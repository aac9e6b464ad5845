"""BEVFormer's weights (fundamentalvision/BEVFormer), which see the world with the axes of the lidar.

nuScenes' lidar looks along +y with +x to the right, bevkit's ego along +x with +y to the left. So the authors' map has
forward in its rows; turning it to bevkit's moves rows of the cells' embeddings, exchanges the embeddings of rows and
columns, and turns every learned step on the map and every regressed place, heading and velocity. What looks at images
stays. The lidar also stands before and above the ego's origin: `LIDAR_PLACE` says by how much to move the grid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from bevkit.importers.base import Rule, Translation, translate
from bevkit.importers.boxes import new_code_rows, to_our_classes

LIDAR_PLACE = (0.94, 0.0, 1.84)  # metres in the ego frame of nuScenes' vehicles
ROTATE_CENTER = (100.0, 100.0)  # around which all the authors' configurations turn the past map, whatever its size

HEAD = r"(?:pts_bbox_head\.)?"
TRANSFORMER = HEAD + r"(?:transformer\.)?"
VIEW = "view_transformer."
DETECTOR = "head."
Change = Callable[[Tensor], Tensor]


def turned_steps(rows: Tensor) -> Tensor:
    """Turns rows [2*K ..] that give K steps (right, forward) on the lidar's map into (forward, left)."""
    right, forward = rows.unflatten(0, (-1, 2)).unbind(dim=1)
    return torch.stack((forward, -right), dim=1).flatten(0, 1)


def turned_place(rows: Tensor) -> Tensor:
    """Turns rows [3 ..] that give logits of (right, forward, up) in a symmetric range into (forward, left, up)."""
    return torch.stack((rows[1], -rows[0], rows[2]))


def turned_code(rows: Tensor) -> Tensor:
    """Turns rows [10 ..] of a box code in the lidar's axes and mmdet3d's old convention into bevkit's."""
    x, y, length, width, z, height, sin, cos, vx, vy = new_code_rows(rows).unbind(dim=0)
    return torch.stack((y, -x, length, width, z, height, -cos, sin, vy, -vx))


def first_half(rows: Tensor) -> Tensor:
    """Puts embeddings [n C/2] into the first half of the channels."""
    return torch.cat((rows, torch.zeros_like(rows)), dim=1)


def second_half(rows: Tensor) -> Tensor:
    """Puts embeddings [n C/2] into the second half of the channels."""
    return torch.cat((torch.zeros_like(rows), rows), dim=1)


def attention_rules(old: str, new: str, steps: Change | None = None) -> list[Rule]:
    """Rules of a deformable attention: prefixes without the last dot; what happens to its steps."""
    return [Rule(old + r"\.sampling_offsets\.(.+)", new + r".sampling.offsets.\1", steps),
            Rule(old + r"\.attention_weights\.(.+)", new + r".sampling.weights.\1"),
            Rule(old + r"\.value_proj\.(.+)", new + r".value.\1"),
            Rule(old + r"\.output_proj\.(.+)", new + r".output.\1")]


def layer_rules(old: str, new: str) -> list[Rule]:
    """Rules of a transformer layer's feed-forward part and norms: prefixes without the last dot."""
    return [Rule(old + r"\.ffns\.0\.layers\.0\.0\.(.+)", new + r".feed_forward.0.\1"),
            Rule(old + r"\.ffns\.0\.layers\.1\.(.+)", new + r".feed_forward.3.\1"),
            Rule(old + r"\.norms\.(.+)", new + r".norms.\1")]


def encoder_rules(target: Mapping[str, Any], turned: bool) -> list[Rule]:
    """Rules of the encoder, of a model on the lidar's axes or on the ego's."""
    rules = []
    for layer in range(_count(target, VIEW + "layers.")):
        old, new = TRANSFORMER + rf"encoder\.layers\.{layer}", f"{VIEW}layers.{layer}"
        rules += [*attention_rules(old + r"\.attentions\.0", new + ".temporal", turned_steps if turned else None),
                  *attention_rules(old + r"\.attentions\.1(?:\.deformable_attention)?", new + ".spatial"),
                  *layer_rules(old, new)]
    shape = tuple(len(target[f"{VIEW}position.{axis}"]) for axis in ("rows", "columns")) \
        if VIEW + "position.rows" in target else (1, 1)

    def cells(rows: Tensor) -> Tensor:  # ours [row, column] = theirs [row = our column, column = last - our row]
        return rows.unflatten(0, (shape[1], shape[0])).flip(1).transpose(0, 1).flatten(0, 1)

    def flipped_half(rows: Tensor) -> Tensor:
        return first_half(rows.flip(0))

    levels = len(target.get(VIEW + "level_embedding", ())) or None
    position = HEAD + r"positional_encoding\."
    return [*rules,
            Rule(TRANSFORMER + "cams_embeds", VIEW + "camera_embedding"),
            # The authors make four rows whatever their pyramid has, and read the first ones.
            Rule(TRANSFORMER + "level_embeds", VIEW + "level_embedding", lambda rows: rows[:levels]),
            Rule(TRANSFORMER + r"can_bus_mlp\.norm\.(.+)", VIEW + r"motion.4.\1"),
            Rule(TRANSFORMER + r"can_bus_mlp\.(.+)", VIEW + r"motion.\1"),
            Rule(HEAD + r"bev_embedding\.weight", VIEW + "cells", cells if turned else None),
            Rule(position + r"col_embed\.weight", VIEW + ("position.rows" if turned else "position.columns"),
                 flipped_half if turned else first_half),
            Rule(position + r"row_embed\.weight", VIEW + ("position.columns" if turned else "position.rows"),
                 second_half)]


def decoder_rules(target: Mapping[str, Any], turned: bool, new: str = DETECTOR, classes: Change = to_our_classes
                  ) -> list[Rule]:
    """Rules of the decoder, its queries and branches.

    Args: new, where it stands, with the last dot; classes, what happens to the rows that score them.
    """
    rules = []
    for layer in range(_count(target, new + "layers.")):
        old, ours = TRANSFORMER + rf"decoder\.layers\.{layer}", f"{new}layers.{layer}"
        rules += [Rule(old + r"\.attentions\.0\.attn\.(.+)", ours + r".speak.\1"),
                  *attention_rules(old + r"\.attentions\.1", ours + ".read", turned_steps if turned else None),
                  *layer_rules(old, ours)]
    last = {branch: _count(target, f"{new}{branch}.0.") - 1 for branch in ("scores", "boxes")}
    branches = HEAD + r"{}_branches\.(\d+)\."
    return [*rules,
            Rule(TRANSFORMER + r"reference_points\.(.+)", new + r"reference.\1", turned_place if turned else None),
            Rule(HEAD + r"(?:query_embedding\.weight|object_query_embed)", new + "queries"),
            Rule(branches.format("cls") + rf"({last['scores']}\..+)", new + r"scores.\1.\2", classes),
            Rule(branches.format("cls") + "(.+)", new + r"scores.\1.\2"),
            Rule(branches.format("reg") + rf"({last['boxes']}\..+)", new + r"boxes.\1.\2",
                 turned_code if turned else new_code_rows),
            Rule(branches.format("reg") + "(.+)", new + r"boxes.\1.\2"),
            Rule(HEAD + "code_weights", None, reason="factors of the loss, which the config sets")]


def _count(target: Mapping[str, Any], prefix: str) -> int:
    """Returns one more than the greatest number that follows a prefix in a model's names."""
    return max((int(name[len(prefix):].split(".")[0]) + 1 for name in target if name.startswith(prefix)), default=0)


def image_rules() -> list[Rule]:
    """Rules of a ResNet backbone (timm has OpenMMLab's names) and a feature pyramid."""
    neck = "image_encoder.neck."
    return [Rule(r"img_backbone\.(.+)", r"image_encoder.backbone.model.\1"),
            Rule(r"img_neck\.lateral_convs\.(\d+)\.conv\.(.+)", neck + r"lateral.\1.\2"),
            Rule(r"img_neck\.fpn_convs\.(\d+)\.conv\.(.+)", neck + r"out.\1.\2")]


def translate_bevformer(state: Mapping[str, Tensor], target: Mapping[str, Any], axes: str = "lidar") -> Translation:
    """Renames the authors' entries for `DenseBEV` and turns them to the axes of the ego.

    Args:
        state: the authors' entries, of a whole detector or of its transformer.
        target: entries of the bevkit model.
        axes: whose axes the weights' map has, ``"lidar"`` for all released ones; those of ``"ego"`` are not turned.
    """
    if axes not in ("lidar", "ego"):
        raise ValueError(f"axes: expected lidar or ego, got {axes!r}")
    turned = axes == "lidar"
    rules = [*image_rules(), *encoder_rules(target, turned), *decoder_rules(target, turned)]
    outs = _count(target, "image_encoder.neck.out.")
    # OpenMMLab counts a pyramid's further levels on behind its own.
    rules = [Rule(rf"img_neck\.fpn_convs\.{outs + extra}\.conv\.(.+)", rf"image_encoder.neck.extra.{extra}.\1")
             for extra in range(_count(target, "image_encoder.neck.extra."))] + rules
    options: dict[str, Any] = {"view_transformer.pixel_origin": "corner", "images.pixel_origin": "corner"}
    if turned and VIEW + "position.rows" in target:
        options["view_transformer.rotate_center"] = turned_center(ROTATE_CENTER, len(target[VIEW + "position.rows"]))
    return translate(state, rules, options)


def turned_center(center: tuple[float, float], rows: int) -> tuple[float, float]:
    """Turns a place (right, forward) in cells of the lidar's map to (column, row) of the ego's, which has ``rows``."""
    return center[1], rows - center[0]
