"""BEVDet's weights (HuangJunJie2017/BEVDet, HoP's copy): with and without the camera-aware depth net."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from bevkit.importers.base import Rule, Translation, translate
from bevkit.importers.bevdepth import COLOURS, backbone_rules, depth_net_rules
from bevkit.importers.centerpoint import center_head_rules

_BUFFERS = "the configured grid and cameras stay; a checkpoint never changes them"


def residual_rules(prefix: str, new: str) -> list[Rule]:
    """Rules of the residual backbone (CustomResNet): prefixes with their last dot, the first a regular expression."""
    return [Rule(prefix + r"layers\.(.+)", new + r"stages.\1")]


def fpn_lss_rules(prefix: str, new: str) -> list[Rule]:
    """Rules of FPN-LSS."""
    return [Rule(prefix + r"conv\.(.+)", new + r"join.\1"), Rule(prefix + r"up2\.(.+)", new + r"out.\1")]


def image_neck_rules(prefix: str, new: str) -> list[Rule]:
    """Rules of the FPN over image features."""
    return [Rule(prefix + r"lateral_convs\.(\d+)\.conv\.(.+)", new + r"lateral.\1.\2"),
            Rule(prefix + r"fpn_convs\.(\d+)\.conv\.(.+)", new + r"out.\1.\2")]


def translate_bevdet(state: Mapping[str, Tensor], target: Mapping[str, Any]) -> Translation:
    """Renames the authors' entries for `DenseBEV`: BEVDet, BEVDepth in BEVDet's code, and BEVDet4D of both.

    Args:
        state: the authors' entries.
        target: entries of the bevkit model, to see whether its depth net has a deformable convolution.
    """
    rules, options = bevdet_rules(target)
    return translate(state, rules, options)


def bevdet_rules(target: Mapping[str, Any]) -> tuple[list[Rule], dict[str, Any]]:
    """Returns the rules of a whole model and the options that its weights want."""
    view = r"img_view_transformer\."
    deformable = any(".deformable." in name for name in target)
    rules = [
        Rule(view + r"(frustum|grid_.+|dx|bx|nx)", None, reason=_BUFFERS),
        *backbone_rules(r"img_backbone\."),
        *image_neck_rules(r"img_neck\.", "image_encoder.neck."),
        Rule(view + r"depth_net\.(weight|bias)", r"view_transformer.depth_net.\1"),
        *depth_net_rules(view + r"depth_net\.", deformable=deformable),
        *residual_rules(r"pre_process_net\.", "frame_encoder.backbone."),
        *residual_rules(r"img_bev_encoder_backbone\.", "bev_encoder.backbone."),
        *fpn_lss_rules(r"img_bev_encoder_neck\.", "bev_encoder."),
        *center_head_rules(r"pts_bbox_head\."),
    ]
    options: dict[str, Any] = {"view_transformer.frustum": "corner", "view_transformer.indexing": "truncate",
                               "images.pixel_origin": "corner", **COLOURS}
    if any(name.startswith("frame_encoder.") for name in target):  # BEVDet4D
        options |= {"temporal.warp": "low_edge", "temporal.order": "newest_first", "temporal.ego_motion": False}
    return rules, options
