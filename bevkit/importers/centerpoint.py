"""CenterPoint heads as mmdet3d, BEVDet (BEVDet4D, HoP) and BEVDepth (MatrixVT) write them down."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from bevkit.importers.base import Rule, Translation, translate
from bevkit.importers.boxes import new_heading_rows, new_size_rows

# The authors' names of the branches; each is a convolution with norm (layer 0) and a convolution (layer 1).
_BRANCHES = {"heatmap": "heatmap", "reg": "offset", "height": "height", "dim": "size", "rot": "heading",
             "vel": "velocity"}
_OLD = {"dim": new_size_rows, "rot": new_heading_rows}
HEAD = r"(?:(?:model\.)?(?:pts_bbox_head|head)\.)?"  # where the head stands in a whole model of mmdet3d, of BEVDepth


def center_head_rules(prefix: str, old_boxes: bool = False) -> list[Rule]:
    """Rules for a head's shared layer and branches.

    Args:
        prefix: regular expression of what stands before the authors' names, without groups, with the last dot.
        old_boxes: the weights were trained with mmdet3d before 1.0, whose sizes and yaws differ (`importers.boxes`).
    """
    rules = [Rule(prefix + r"shared_conv\.conv\.(.+)", r"head.shared.0.\1"),
             Rule(prefix + r"shared_conv\.bn\.(.+)", r"head.shared.1.\1")]
    for theirs, ours in _BRANCHES.items():
        branch, new = prefix + rf"task_heads\.(\d+)\.{theirs}\.", rf"head.branches.\1.{ours}."
        rules += [Rule(branch + r"0\.conv\.(.+)", new + r"0.\2"), Rule(branch + r"0\.bn\.(.+)", new + r"1.\2"),
                  Rule(branch + r"1\.(.+)", new + r"3.\2", _OLD.get(theirs) if old_boxes else None)]
    return rules


def translate_centerpoint(state: Mapping[str, Tensor], target: Mapping[str, Any]) -> Translation:
    """Renames a head of mmdet3d 1.0 or later, of BEVDet dev2 or of BEVDepth for `CenterPointHead` in `DenseBEV`."""
    return translate(state, center_head_rules(HEAD), {})


def translate_old_centerpoint(state: Mapping[str, Tensor], target: Mapping[str, Any]) -> Translation:
    """Likewise for a head trained with mmdet3d before 1.0: sizes and headings are turned."""
    return translate(state, center_head_rules(HEAD, old_boxes=True), {})
