"""The importer's turn from the lidar's axes to the ego's: the same world, seen from both, gives the same detections."""

import pytest
import torch
from torch import nn

from bevkit.geometry.rigid import rigid_from, rotation_about_z
from bevkit.importers.bevformer import translate_bevformer, turned_center, turned_code
from bevkit.models.heads import BEVFormerHead
from bevkit.models.view_transformers import BEVFormer
from bevkit.structures import BEVGrid, EgoMotion
from tests.parity.bevformer import features_of, load, rig_of


def build(truth, grid, state, axes, center):
    config, encoder = truth["meta"]["config"], truth["meta"]["config"]["encoder"]
    decoder, attention = truth["meta"]["config"]["decoder"], encoder["spatial_cross_attention"]
    view = BEVFormer(grid, config["embed_dims"], stride=8, layers=encoder["num_layers"],
                     levels=config["num_feature_levels"], cameras=config["num_cams"], heads=attention["num_heads"],
                     anchors=encoder["num_points_in_pillar"], points_per_anchor=attention["points_per_anchor"],
                     temporal_points=encoder["temporal_self_attention"]["num_points"],
                     ffn_channels=encoder["ffn_channels"], pixel_origin="corner", rotate_center=center)
    cross = decoder["cross_attention"]
    head = BEVFormerHead(grid, config["embed_dims"], queries=decoder["num_queries"], layers=decoder["num_layers"],
                         heads=cross["num_heads"], points=cross["num_points"], ffn_channels=decoder["ffn_channels"],
                         branch_layers=1)
    model = nn.ModuleDict(dict(view_transformer=view, head=head))
    load(model, translate_bevformer(state, model.state_dict(), axes))
    return model.eval()


def run(model, features, rig, past, poses, numbers):
    view = model["view_transformer"]
    motion = view.motion_plan(EgoMotion.of(poses))._replace(numbers=numbers)
    plan = (part.float() if part.is_floating_point() else part for part in view.plan(rig))
    with torch.no_grad():
        bev = view(features, *plan, past=past, motion=motion).bev
        return bev, model["head"](bev)


@pytest.mark.parametrize("center", [None, (3.0, 7.0)], ids=["ego", "authors"])
def test_turned_weights_see_the_same_world(golden, center):
    truth = golden("detection/bevformer_encoder.pt")
    config, inputs = truth["meta"]["config"], truth["inputs"]
    generator = torch.Generator().manual_seed(0)
    rows, columns, channels = config["bev_h"], config["bev_w"], config["embed_dims"]

    def noise(*shape):
        return torch.randn(*shape, generator=generator)

    state = {**truth["state_dict"], "bev_embedding.weight": inputs["bev_queries"],
             "object_query_embed": inputs["object_query_embed"],
             "positional_encoding.row_embed.weight": noise(rows, channels // 2),
             "positional_encoding.col_embed.weight": noise(columns, channels // 2),
             **{"reg_branches." + name: value for name, value in truth["reg_branches"].items()}}
    for layer in range(config["decoder"]["num_layers"]):
        for place, shape in (("0.weight", (channels, channels)), ("0.bias", (channels,)), ("1.weight", (channels,)),
                             ("1.bias", (channels,)), ("3.weight", (10, channels)), ("3.bias", (10,))):
            state[f"cls_branches.{layer}.{place}"] = noise(*shape)

    x_low, y_low, z_low, x_high, y_high, z_high = config["pc_range"]
    assert (x_low, y_low) == (-x_high, -y_high)
    right, forward = (x_low, x_high, (x_high - x_low) / columns), (y_low, y_high, (y_high - y_low) / rows)
    height = (z_low, z_high, z_high - z_low)
    lidar = build(truth, BEVGrid(x=right, y=forward, z=height), state, "ego", center)
    ego = build(truth, BEVGrid(x=forward, y=right, z=height), state, "lidar",
                center and turned_center(center, columns))

    ego_from_lidar = rigid_from(rotation_about_z(torch.tensor(-torch.pi / 2, dtype=torch.float64)),
                                torch.zeros(3, dtype=torch.float64))
    angles = torch.tensor([[0.3, 0.2], [1.0, 1.5]], dtype=torch.float64)
    places = torch.tensor([[[4.0, 1.0, 0], [6.0, 2.0, 0]], [[0.0, 0.0, 0], [-3.0, 5.0, 0]]], dtype=torch.float64)
    poses = rigid_from(rotation_about_z(angles), places)  # [2 2 4 4] of the ego
    past, numbers = noise(2, 1, channels, rows, columns), noise(2, 18)
    # Forward is the lidar's row and the ego's column; left is its descending column and the ego's row.
    def turned(bev):
        return bev.flip(-1).transpose(-1, -2)

    rig = rig_of(truth)
    bev, raw = run(lidar, features_of(truth), rig, past, poses @ ego_from_lidar, numbers)
    mine, mine_raw = run(ego, features_of(truth), rig.moved(ego_from_lidar.expand(2, 4, 4)), turned(past), poses,
                         numbers)
    assert torch.allclose(mine, turned(bev), atol=1e-3)
    assert torch.allclose(mine_raw.scores, raw.scores, atol=2e-3)
    x, y, length, width, z, tall, sin, cos, vx, vy = raw.boxes.unbind(-1)
    expected = torch.stack((y, -x, length, width, z, tall, -cos, sin, vy, -vx), dim=-1)
    assert torch.allclose(mine_raw.boxes, expected, atol=2e-2)


def test_old_codes_become_ours():
    """A car that drives forward at 5 m/s, 10 m ahead and 2 m to the right, as the authors' last layer writes it."""
    yaw = -torch.pi / 2 - torch.pi / 2  # mmdet3d before 1.0, in the lidar's axes: -yaw - pi/2 with yaw = pi/2
    code = torch.tensor([2.0, 10.0, 0.7, 1.5, -1.0, 0.4, torch.tensor(yaw).sin(), torch.tensor(yaw).cos(), 0.0, 5.0])
    ours = turned_code(code)
    assert ours.tolist() == pytest.approx([10.0, -2.0, 1.5, 0.7, -1.0, 0.4, 0.0, 1.0, 5.0, 0.0], abs=1e-6)


def test_refuses_unknown_axes():
    with pytest.raises(ValueError, match="axes"):
        translate_bevformer({}, {}, axes="camera")


def test_a_whole_detector_s_names_find_their_places(golden):
    """The names a released checkpoint has, with the transformer's from the reference file."""
    truth = golden("detection/bevformer_encoder.pt")
    config = truth["meta"]["config"]
    low, high = config["pc_range"][:3], config["pc_range"][3:]
    columns, rows = config["bev_w"], config["bev_h"]
    grid = BEVGrid(x=(low[1], high[1], (high[1] - low[1]) / rows), y=(low[0], high[0], (high[0] - low[0]) / columns),
                   z=(low[2], high[2], high[2] - low[2]))
    head, channels = "pts_bbox_head.", config["embed_dims"]
    state = {f"{head}transformer.{name}": value for name, value in truth["state_dict"].items()}
    state |= {f"{head}reg_branches.{name}": value for name, value in truth["reg_branches"].items()}
    state |= {head + "bev_embedding.weight": truth["inputs"]["bev_queries"], head + "code_weights": torch.ones(10),
              head + "query_embedding.weight": truth["inputs"]["object_query_embed"],
              head + "positional_encoding.row_embed.weight": torch.zeros(rows, channels // 2),
              head + "positional_encoding.col_embed.weight": torch.zeros(columns, channels // 2)}
    for layer in range(config["decoder"]["num_layers"]):
        for place, shape in (("0.weight", (channels, channels)), ("0.bias", (channels,)), ("1.weight", (channels,)),
                             ("1.bias", (channels,)), ("3.weight", (10, channels)), ("3.bias", (10,))):
            state[f"{head}cls_branches.{layer}.{place}"] = torch.zeros(shape)
    build(truth, grid, state, "lidar", None)  # asserts that every entry of both sides finds its partner
