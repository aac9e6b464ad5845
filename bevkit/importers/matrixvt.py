"""MatrixVT's weights (Megvii-BaseDetection/BEVDepth): BEVDepth's, and what squeezes images to a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from bevkit.importers.base import Rule, Translation, translate
from bevkit.importers.bevdepth import COLOURS, PREFIX, bevdepth_rules


def squeeze_rules(prefix: str = PREFIX) -> list[Rule]:
    """Rules of the squeezing of depth and of features."""
    row, new = prefix + r"horiconv\.", "view_transformer.feature_squeeze."
    return [Rule(prefix + r"depth_reducer\.vertical_weighter\.(.+)", r"view_transformer.depth_squeeze.weigh.\1"),
            Rule(row + r"merger\.(.+)", new + r"merge.\1"), Rule(row + r"reduce_conv\.(.+)", new + r"reduce.\1"),
            Rule(row + r"conv1\.(.+)", new + r"mix.0.\1"), Rule(row + r"conv2\.(.+)", new + r"mix.1.\1"),
            Rule(row + r"out_conv\.(.+)", new + r"out.\1")]


def translate_matrixvt(state: Mapping[str, Tensor], target: Mapping[str, Any]) -> Translation:
    """Renames the authors' entries for `DenseBEV`.

    Args:
        state: the authors' entries; the prefixes ``model.backbone.`` and ``model.head.`` may be there.
        target: entries of the bevkit model.
    """
    rules = [Rule(PREFIX + "bev_anchors", None, reason="computed from the grid"), *squeeze_rules(),
             *bevdepth_rules(state)]
    options = {"view_transformer.frustum": "corner", "view_transformer.indexing": "truncate",
               "view_transformer.maps": "binary", "view_transformer.center_cell": "emptied",
               "images.pixel_origin": "corner", **COLOURS}
    return translate(state, rules, options)
