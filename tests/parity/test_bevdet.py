"""BEVDet's parts against the authors': both view transforms, the BEV encoder, the residual block, the image neck."""

import pytest
import torch
from torch import nn

from bevkit.importers.base import translate
from bevkit.importers.bevdet import image_neck_rules, residual_rules, translate_bevdet
from bevkit.models.bev_encoders import ResidualFPN
from bevkit.models.image.necks import FPN
from bevkit.models.layers import ResidualStages
from bevkit.models.view_transformers import LiftSplat
from bevkit.models.view_transformers.depth_net import camera_numbers
from bevkit.structures import BEVGrid, CameraRig
from tests.parity.lifting import authors_points, close, load, with_numbers


@pytest.fixture(scope="module")
def truth(golden):
    return golden("detection/bevdet_view_transformer.pt")


@pytest.fixture(scope="module")
def parts(golden):
    return golden("detection/bevdet_bev_encoder.pt")


def rig_and_bda(truth):
    """The rig [B ..] before the augmentation of the map, and that augmentation [B 4 4]."""
    inputs = truth["inputs"]
    image_aug, poses = inputs["post_rots"].clone(), torch.eye(4).repeat(*inputs["trans"].shape[:-1], 1, 1)
    image_aug[..., :2, 2] = inputs["post_trans"][..., :2]
    poses[..., :3, :3], poses[..., :3, 3] = inputs["rots"], inputs["trans"]
    bda = torch.eye(4).repeat(len(poses), 1, 1)
    bda[:, :3, :3] = inputs["bda"]
    return CameraRig(inputs["intrins"], image_aug, poses, tuple(truth["meta"]["config"]["input_size"])), bda


def build(truth, part):
    """A view transform with the authors' weights, under its name in their detector."""
    config = truth["meta"]["config"]
    bounds, deep = config["grid_config"], config["bevdepth"]
    depth_net = dict(type="CameraAwareDepthNet", mid_channels=deep["depth_net_mid_channels"],
                     blocks=deep["basic_blocks"], pyramid=deep["use_aspp"], deformable=deep["use_dcn"])
    view = LiftSplat(BEVGrid(x=bounds["x"], y=bounds["y"], z=bounds["z"]), config["in_channels"],
                     config["out_channels"], bounds["depth"], config["input_size"], config["downsample"],
                     frustum="corner", indexing="truncate", depth_net=depth_net if part == "bevdepth" else None)
    holder = nn.Module()
    holder.view_transformer = view
    state = {f"img_view_transformer.{name}": value for name, value in truth["state_dict"][part].items()}
    load(holder, translate_bevdet(state, holder.state_dict()))
    return view.eval()


def test_camera_numbers(truth):
    rig, bda = rig_and_bda(truth)
    assert torch.allclose(camera_numbers(rig, bda), truth["outputs"]["mlp_input"])


def test_points_of_every_cell(truth):
    """Every cell gets as many points as the authors', in float32 and their order of products."""
    view, (rig, bda) = build(truth, "lss"), rig_and_bda(truth)
    cells = view.cells(authors_points(view, rig, bda))
    first = torch.arange(len(cells)).view(-1, 1, 1, 1, 1) * view.grid.cells
    ranks = (cells + first)[cells >= 0].sort().values
    assert torch.equal(ranks, truth["outputs"]["ranks_bev"].long())
    plan = view.pooling.plan(cells)
    lengths = plan.starts.diff()
    assert torch.equal(plan.starts[:-1][lengths > 0], truth["outputs"]["interval_starts"])
    assert torch.equal(lengths[lengths > 0], truth["outputs"]["interval_lengths"])


@pytest.mark.parametrize("exportable", [False, True])
@pytest.mark.parametrize(("part", "prefix"), [("bevdepth", ""), ("lss", "lss_")])
def test_view_transform(truth, part, prefix, exportable):
    view, (rig, bda), tolerance = build(truth, part), rig_and_bda(truth), truth["meta"]["tolerance"]
    view = view.exportable() if exportable else view
    moved = rig.moved(bda)
    plan = view.plan(moved)
    mine, theirs = view.cells(view.points(moved)), view.cells(authors_points(view, rig, bda))
    if part == "bevdepth":
        plan = with_numbers(view, plan, camera_numbers(rig, bda))
    with torch.no_grad():
        output = view((truth["inputs"]["img_feat"].flatten(0, 1),), *plan)
    assert close(output.depth, truth["outputs"][f"{prefix}depth"], tolerance, f"{prefix}depth")
    # A point within rounding of a cell's edge may fall to either side.
    edge = mine != theirs
    assert edge.sum() <= 1e-4 * edge.numel()
    touched = torch.zeros(len(mine), view.grid.cells, dtype=torch.bool)
    for index in range(len(mine)):
        touched[index, torch.cat((mine[index][edge[index]], theirs[index][edge[index]])).clamp(min=0).long()] = True
    touched = touched.view(-1, 1, *view.grid.shape)
    bev, expected = (maps.masked_fill(touched, 0) for maps in (output.bev, truth["outputs"][f"{prefix}bev"]))
    assert close(bev, expected, tolerance, f"{prefix}bev")


def test_bev_encoder(parts):
    config, inputs = parts["meta"]["config"], parts["inputs"]
    stages, neck = config["encoder"], config["neck"]
    rows, columns = config["bev_hw"]
    grid = BEVGrid(x=(0, columns, 1), y=(0, rows, 1))
    encoder = ResidualFPN(grid, stages["in_channels"], stages["num_channels"], stages["num_layer"], stages["stride"],
                          neck["out_channels"])
    assert encoder.join[0].out_channels == neck["hidden_channels"]
    holder = nn.ModuleDict(dict(bev_encoder=encoder)).eval()
    state = {f"img_bev_encoder_backbone.{name}": value for name, value in parts["state_dict"]["encoder"].items()}
    state |= {f"img_bev_encoder_neck.{name}": value for name, value in parts["state_dict"]["neck"].items()}
    load(holder, translate_bevdet(state, holder.state_dict()))
    with torch.no_grad():
        maps, bev = encoder.backbone(inputs["x"]), encoder(inputs["x"])
    for ours, theirs in zip(maps, parts["outputs"]["enc"], strict=True):
        assert close(ours, theirs, parts["meta"]["tolerance"], "enc")
    assert close(bev, parts["outputs"]["bev"], parts["meta"]["tolerance"], "bev")


def test_block_before_the_fusion(parts):
    config = parts["meta"]["config"]["pre"]
    stages = ResidualStages(config["in_channels"], config["num_channels"], config["num_layer"],
                            config["stride"]).eval()
    load(stages, translate(parts["state_dict"]["pre"], residual_rules("", ""), {}))
    with torch.no_grad():
        maps = stages(parts["inputs"]["x"])
    assert close(maps[config["output_ids"][0]], parts["outputs"]["pre"], parts["meta"]["tolerance"], "pre")


def test_image_neck(parts):
    config, inputs = parts["meta"]["config"]["img_neck"], parts["inputs"]
    neck = FPN(config["in_channels"], (16, 32), config["out_channels"], outputs=len(config["out_ids"])).eval()
    load(neck, translate(parts["state_dict"]["img_neck"], image_neck_rules("", ""), {}))
    with torch.no_grad():
        (maps,) = neck((inputs["c4"], inputs["c5"]))
    assert close(maps, parts["outputs"]["img_neck"], parts["meta"]["tolerance"], "img_neck")
