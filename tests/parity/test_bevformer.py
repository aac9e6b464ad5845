"""BEVFormer's encoder and decoder against the authors', at a batch of two as the authors' at a batch of one."""

import pytest
import torch

from bevkit.geometry.warp import warp_affine
from bevkit.models.layers.seen_queries import EveryQuery, SeenQueries
from bevkit.models.view_transformers.bevformer import cell_rotation
from bevkit.models.view_transformers.pillars import look_at, pillar_points
from bevkit.structures import EgoMotion
from tests.parity.bevformer import build, close, features_of, grid_of, maps, poses_of, rig_of


@pytest.fixture(scope="module")
def truth(golden):
    return golden("detection/bevformer_encoder.pt")


@pytest.fixture(scope="module")
def model(truth):
    model = build(truth)
    view, positions = model["view_transformer"], truth["inputs"]["bev_pos"].flatten(2).transpose(1, 2)
    view.position.forward = lambda: positions  # the file has them laid out and per element
    return model


def run_encoder(truth, model, fresh, queries=None, record=None):
    """The map [B Y*X C]; ``record`` gets what the first layer's parts give."""
    view, inputs, config = model["view_transformer"], truth["inputs"], truth["meta"]["config"]
    view.queries = queries or SeenQueries()
    plan = view.plan(rig_of(truth))
    theta, shift, numbers, known = view.motion_plan(EgoMotion.of(poses_of(inputs["can_bus"]), fresh=fresh))
    assert numbers.shape == inputs["can_bus"].shape
    motion = (theta, shift, inputs["can_bus"], known)
    layer = view.layers[config["captured_layer"]]
    parts = {"tsa": layer.temporal, "sca": layer.spatial, "layer0": layer}
    hooks = [part.register_forward_hook(lambda _m, _i, out, name=name: record.__setitem__(name, out))
             for name, part in parts.items() if record is not None]
    with torch.no_grad():
        out = view(features_of(truth), *(part.float() if part.is_floating_point() else part for part in plan),
                   past=maps(inputs["prev_bev"], config).unsqueeze(1), motion=motion)
    for hook in hooks:
        hook.remove()
    return out.bev.flatten(2).transpose(1, 2)


def test_pillars(truth, model):
    outputs, config = truth["outputs"], truth["meta"]["config"]
    grid, view = grid_of(config), model["view_transformer"]
    points = pillar_points(grid, view.heights)  # [Q Z 3]
    low, high = torch.tensor(config["pc_range"], dtype=torch.float64).view(2, 3)
    expected = outputs["reference_points_3d"][0].transpose(0, 1)
    assert close((points - low) / (high - low), expected.double(), truth["meta"]["tolerance"], "reference_points_3d")
    pillars = look_at(rig_of(truth), points, "corner")
    visible = outputs["bev_mask"].transpose(0, 1)
    assert torch.equal(pillars.visible, visible)
    places = outputs["reference_points_cam"].transpose(0, 1)
    assert close(pillars.places[visible], places[visible].double(), truth["meta"]["tolerance"], "reference_points_cam")


@pytest.mark.parametrize("queries", [SeenQueries(), EveryQuery(), SeenQueries((0.9, 6))],
                         ids=["seen", "every", "capacity"])
@pytest.mark.parametrize("past", ["noprev", "prev"])
def test_encoder(truth, model, past, queries):
    outputs, tolerance, record = truth["outputs"], truth["meta"]["tolerance"], {}
    bev = run_encoder(truth, model, past == "noprev", queries, record)
    # The authors' code reads what it has of element 0 for the others as well: only that one is right in their batch.
    for name, mine in record.items():
        assert close(mine[0], outputs[f"{name}_{past}"][0], tolerance, f"{name}_{past}"), name
    assert close(bev[0], outputs[f"bev_{past}"][0], tolerance, f"bev_{past}")
    if past == "prev":
        assert close(bev[1:2], outputs["bev_prev_b1only"], tolerance, "bev_prev_b1only")
        assert not close(bev[1], outputs["bev_prev"][1], tolerance, "bev_prev")


def test_motion(truth, model):
    inputs, config = truth["inputs"], truth["meta"]["config"]
    can_bus = inputs["can_bus"].double()
    _, shift, numbers, _ = model["view_transformer"].motion_plan(EgoMotion.of(poses_of(can_bus)))
    length, angle = can_bus[:, :2].norm(dim=1), can_bus[:, -2] - torch.atan2(can_bus[:, 1], can_bus[:, 0])
    extent = torch.tensor(config["grid_length_yx"], dtype=torch.float64).flip(0) \
        * torch.tensor([config["bev_w"], config["bev_h"]])
    expected = length[:, None] * torch.stack((angle.sin(), angle.cos()), dim=1) / extent
    assert torch.allclose(shift.double(), expected, atol=1e-6)
    assert torch.allclose(numbers[:, [0, 1, -1]].double(), can_bus[:, [0, 1, -1]], atol=1e-4)


def test_decoder(truth, model):
    outputs, tolerance, head = truth["outputs"], truth["meta"]["tolerance"], model["head"]
    config = truth["meta"]["config"]
    with torch.no_grad():
        position = truth["inputs"]["object_query_embed"][:, :config["embed_dims"]]
        assert close(head.reference(position).sigmoid(), outputs["dec_init_ref"][0], tolerance, "dec_init_ref")
        states, places, _ = head.decode(maps(outputs["bev_prev"], config))
    assert close(torch.stack(states).transpose(1, 2), outputs["dec_hs"], tolerance, "dec_hs")
    assert close(torch.stack(places), outputs["dec_refs"], tolerance, "dec_refs")


def test_rotation(golden):
    truth = golden("detection/bevformer_rotate.pt")
    config, inputs = truth["meta"]["config"], truth["inputs"]
    turn = torch.deg2rad(torch.tensor([config["angle_deg"]], dtype=torch.float64))
    theta = cell_rotation(turn, config["center_xy"], (config["bev_h"], config["bev_w"]))
    mine = warp_affine(inputs["x"].unsqueeze(0), theta.float(), mode="nearest")[0]
    moved = (mine != truth["outputs"]["y"]).any(dim=0)
    # A place within rounding of a border between cells may fall to either side.
    center = torch.tensor(config["center_xy"], dtype=torch.float64)
    y, x = torch.meshgrid(torch.arange(config["bev_h"]) + 0.5, torch.arange(config["bev_w"]) + 0.5, indexing="ij")
    offset = torch.stack((x, y), dim=-1) - center
    rotation = torch.tensor([[turn.cos(), -turn.sin()], [turn.sin(), turn.cos()]], dtype=torch.float64)
    place = offset @ rotation.T + center
    border = ((place - place.round()).abs() < 1e-5).any(dim=-1)
    assert not (moved & ~border).any()
    assert config["fill"] == 0.0 and config["interpolation"] == "nearest"
