"""What the BEVFormer parity tests share: modules, weights, rigs and motion from their reference file."""

from typing import Any

import torch
from torch import Tensor, nn

from bevkit.geometry.rigid import rigid_from, rotation_about_z
from bevkit.importers.base import Translation
from bevkit.importers.bevformer import translate_bevformer
from bevkit.models.heads.bevformer import BEVFormerHead
from bevkit.models.view_transformers.bevformer import BEVFormer
from bevkit.structures import BEVGrid, CameraRig


def grid_of(config: dict[str, Any]) -> BEVGrid:
    x_low, y_low, z_low, x_high, y_high, z_high = config["pc_range"]
    return BEVGrid(x=(x_low, x_high, (x_high - x_low) / config["bev_w"]),
                   y=(y_low, y_high, (y_high - y_low) / config["bev_h"]), z=(z_low, z_high, z_high - z_low))


def load(part: nn.Module, translation: Translation, absent: set[str] | frozenset[str] = frozenset()) -> None:
    """Loads translated weights; every entry of both sides must find its partner, but for those the file lacks."""
    assert translation.unknown == []
    result = part.load_state_dict(translation.state, strict=False)
    counters = {name for name in absent if name.endswith("num_batches_tracked")}  # never reported as missing
    assert result.unexpected_keys == [] and set(result.missing_keys) | counters == set(absent)


def close(ours: Tensor, theirs: Tensor, tolerance: dict[str, Any], name: str) -> bool:
    """Compares within the file's tolerance for an output."""
    own = tolerance["outputs"].get(name, tolerance)
    return torch.allclose(ours, theirs.to(ours.dtype), atol=own["atol"], rtol=own["rtol"])


def build(truth: dict[str, Any]) -> nn.ModuleDict:
    """Encoder and head with the authors' weights."""
    config, inputs = truth["meta"]["config"], truth["inputs"]
    encoder, decoder = config["encoder"], config["decoder"]
    temporal, spatial = encoder["temporal_self_attention"], encoder["spatial_cross_attention"]
    assert temporal["num_heads"] == spatial["num_heads"] and temporal["num_bev_queue"] == 2
    assert spatial["z_anchors"] * spatial["points_per_anchor"] == spatial["num_points"]
    view = BEVFormer(grid_of(config), config["embed_dims"], stride=8, layers=encoder["num_layers"],
                     levels=config["num_feature_levels"], cameras=config["num_cams"], heads=temporal["num_heads"],
                     anchors=encoder["num_points_in_pillar"], points_per_anchor=spatial["points_per_anchor"],
                     temporal_points=temporal["num_points"], ffn_channels=encoder["ffn_channels"],
                     pixel_origin="corner", rotate_center=config["rotate_center"])
    cross = decoder["cross_attention"]
    head = BEVFormerHead(grid_of(config), config["embed_dims"], queries=decoder["num_queries"],
                         layers=decoder["num_layers"], heads=cross["num_heads"], points=cross["num_points"],
                         ffn_channels=decoder["ffn_channels"], branch_layers=1)
    model = nn.ModuleDict(dict(view_transformer=view, head=head))
    state = {**truth["state_dict"], "bev_embedding.weight": inputs["bev_queries"],
             "object_query_embed": inputs["object_query_embed"],
             **{"reg_branches." + name: value for name, value in truth["reg_branches"].items()}}
    translation = translate_bevformer(state, model.state_dict(), axes="ego")
    absent = {"view_transformer.position.rows", "view_transformer.position.columns",
              *(name for name in model.state_dict() if name.startswith("head.scores."))}  # not in the file
    load(model, translation, absent)
    return model.eval()


def rig_of(truth: dict[str, Any]) -> CameraRig:
    """A rig [B ..] whose cameras are the file's matrices: their "camera axes" are (u z, v z, z)."""
    ego_from_image = torch.linalg.inv(truth["inputs"]["lidar2img"].double())
    eye = torch.eye(3, dtype=torch.float64).expand(*ego_from_image.shape[:-2], 3, 3)
    return CameraRig(eye, eye, ego_from_image, tuple(truth["meta"]["config"]["img_hw"]))


def poses_of(can_bus: Tensor) -> Tensor:
    """Poses [B 2 4 4] before and now of the authors' signals, whose map has forward in +y."""
    can_bus = can_bus.double()
    heading = can_bus[:, -2] - torch.pi / 2  # of the map's x axis
    now = torch.cat((can_bus[:, :2], torch.zeros_like(can_bus[:, :1])), dim=1)
    before = rigid_from(rotation_about_z(heading - torch.deg2rad(can_bus[:, -1])), torch.zeros_like(now))
    return torch.stack((before, rigid_from(rotation_about_z(heading), now)), dim=1)


def features_of(truth: dict[str, Any]) -> tuple[Tensor, ...]:
    return tuple(level.flatten(0, 1) for level in truth["inputs"]["mlvl_feats"])


def maps(rows: Tensor, config: dict[str, Any]) -> Tensor:
    """[B Y*X C] to [B C Y X]."""
    return rows.transpose(1, 2).unflatten(2, tuple(config["bev_hw"]))
