"""ForwardBackward against FB-BEV's forward projection, region proposal and backward projection."""

import pytest
import torch
from torch import nn

from bevkit.datasets.lidar import nearest_depths
from bevkit.importers.fbbev import translate_fbbev
from bevkit.models.auxiliaries import LidarDepthLoss
from bevkit.models.layers.seen_queries import EveryQuery, SeenQueries
from bevkit.models.view_transformers.depth_net import camera_numbers
from bevkit.models.view_transformers.forward_backward import ForwardBackward
from bevkit.models.view_transformers.pillars import look_at, pillar_points
from bevkit.ops.bev_pool import SortedPooling
from bevkit.structures import BEVGrid, CameraRig, Trace
from tests.parity.bevformer import close, load


def grid_of(config):
    grid = config["grid_config"]
    return BEVGrid(x=grid["x"], y=grid["y"], z=grid["z"])


def build(config, state, absent, **options):
    """The view transform with the authors' weights; ``absent``: prefixes of what the file does not hold."""
    net = config.get("depth_net_cfg", dict(in_channels=8, mid_channels=8, basic_blocks=1))
    cross, refine = config.get("cross_attention", {}), config.get("self_attention", {})
    view = ForwardBackward(
        grid_of(config), net["in_channels"], config["context_channels"], config["grid_config"]["depth"],
        config["input_size"], config["downsample"], frustum="corner", indexing="truncate", pixel_origin="corner",
        depth_net=dict(type="CameraAwareDepthNet", mid_channels=net["mid_channels"], blocks=net["basic_blocks"],
                       deformable=False),
        layers=config.get("num_layers", 1), heads=refine.get("num_heads", 8),
        points_per_anchor=cross.get("points_per_anchor", 2), ffn_channels=config.get("ffn_channels"), **options)
    model = nn.ModuleDict(dict(view_transformer=view))
    translation = translate_fbbev(state, model.state_dict())
    load(model, translation, {name for name in model.state_dict() if name.startswith(absent)})
    return view.eval()


def rig_of(inputs, config, augmented=True):
    image_aug = torch.eye(3).repeat(*inputs["post_rots"].shape[:2], 1, 1)
    image_aug[..., :2, :2], image_aug[..., :2, 2] = inputs["post_rots"][..., :2, :2], inputs["post_trans"][..., :2]
    poses = torch.eye(4).repeat(*inputs["rots"].shape[:2], 1, 1)
    poses[..., :3, :3], poses[..., :3, 3] = inputs["rots"], inputs["trans"]
    rig = CameraRig(inputs["intrins"], image_aug, poses, tuple(config["input_size"]))
    turn = torch.eye(4).repeat(len(poses), 1, 1)
    turn[:, :3, :3] = inputs["bda"]
    return rig.moved(turn) if augmented else rig


def flat(maps):
    """[B N ..] to [B*N ..]."""
    return maps.flatten(0, 1)


# ---- forward projection ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def forward_truth(golden):
    return golden("detection/fbbev_depth_forward.pt")


@pytest.fixture(scope="module")
def forward_view(forward_truth):
    state = {"depth_net." + name: value for name, value in forward_truth["state_dict"].items()}
    own = tuple("view_transformer." + name for name in ("proposal.", "cells", "position.", "layers."))
    return build(forward_truth["meta"]["config"], state, own)


def test_depth_net(forward_truth, forward_view):
    inputs, outputs, tolerance = (forward_truth[key] for key in ("inputs", "outputs", "meta"))
    config, tolerance = tolerance["config"], tolerance["tolerance"]
    numbers = camera_numbers(rig_of(inputs, config, augmented=False), inputs["bda"])
    assert close(numbers, outputs["mlp_input"], tolerance, "mlp_input")
    with torch.no_grad():
        maps = forward_view.lift.depth_net(flat(inputs["img_feat"]), numbers)
    bins = config["num_depth_bins"]
    assert close(maps[:, :bins].softmax(1), flat(outputs["depth_prob"]), tolerance, "depth_prob")
    assert close(maps[:, bins:], flat(outputs["context"]), tolerance, "context")


def test_lifted_points(forward_truth, forward_view):
    config, outputs = forward_truth["meta"]["config"], forward_truth["outputs"]
    points = forward_view.lift.points(rig_of(forward_truth["inputs"], config))
    every = points[:, :, ::config["lidar_coor_stride_depth"]]
    assert close(every, outputs["lidar_coor"], forward_truth["meta"]["tolerance"], "lidar_coor")


def test_voxels_and_their_sum(forward_truth, forward_view):
    """The map is the sum of the authors' voxels over z; cells beside a point within rounding of a border aside."""
    config, outputs = forward_truth["meta"]["config"], forward_truth["outputs"]
    lift, tolerance = forward_view.lift, forward_truth["meta"]["tolerance"]
    rig = rig_of(forward_truth["inputs"], config)
    points = lift.points(rig)
    index = lift.grid.cells_from_metric(points)
    near = ((index - index.round()).abs() < 1e-4).any(dim=-1)
    cells = lift.cells(points)
    heights = index[..., 2].trunc().int()
    rows, columns = lift.grid.shape
    voxels = torch.where(cells >= 0, heights * rows * columns + cells, -1)
    pool = SortedPooling((lift.grid.heights * rows, columns))
    volume = pool(flat(outputs["depth_prob"]), flat(outputs["context"]), *pool.plan(voxels))
    volume = volume.unflatten(2, (-1, rows)).permute(0, 1, 3, 4, 2)  # [B C Y X Z]
    doubtful = torch.zeros(len(points), rows * columns, dtype=torch.bool)
    for mask, own, edge in zip(doubtful, index, near):
        around = own[edge][:, None, :2].round() + torch.tensor([[-1, -1], [-1, 0], [0, -1], [0, 0]])
        inside = ((around >= 0) & (around < torch.tensor([columns, rows]))).all(-1)
        mask[(around[..., 1] * columns + around[..., 0])[inside].long()] = True
        floor = own[edge][:, :2].trunc()
        inside = ((floor >= 0) & (floor < torch.tensor([columns, rows]))).all(-1)
        mask[(floor[..., 1] * columns + floor[..., 0])[inside].long()] = True
    sure = ~doubtful.view(-1, 1, rows, columns)
    assert sure.float().mean() > 0.5
    assert close(volume * sure.unsqueeze(-1), outputs["voxel"] * sure.unsqueeze(-1), tolerance, "voxel")
    plan = lift.plan(rig)
    bev = lift.pooling(flat(outputs["depth_prob"]), flat(outputs["context"]), *plan[:-1])
    assert close(bev * sure, outputs["voxel"].sum(-1) * sure, tolerance, "voxel")


def test_collapsed_map(forward_truth, forward_view):
    config, outputs = forward_truth["meta"]["config"], forward_truth["outputs"]
    grid = config["grid_config"]
    view = build({**config, "grid_config": {**grid, "z": config["collapsed_grid_z"]}},
                 {"depth_net." + name: value for name, value in forward_truth["state_dict"].items()},
                 ("view_transformer.proposal.", "view_transformer.cells", "view_transformer.position.",
                  "view_transformer.layers."))
    plan = view.lift.plan(rig_of(forward_truth["inputs"], config))
    bev = view.lift.pooling(flat(outputs["depth_prob"]), flat(outputs["context"]), *plan[:-1])
    wrong = (bev - outputs["bev_collapsed"]).abs() > 1e-4 + 1e-4 * outputs["bev_collapsed"].abs()
    assert wrong.any(dim=1).float().mean() < 0.01  # points within rounding of a border


def test_depth_loss(forward_truth):
    config, outputs = forward_truth["meta"]["config"], forward_truth["outputs"]
    images = forward_truth["inputs"]["gt_depth"]
    height, width = config["input_size"]
    v, u = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack((u, v), dim=-1).flatten(0, 1).float()
    labels = torch.stack([nearest_depths(pixels.expand(len(cameras), -1, -1), cameras.flatten(1), (height, width),
                                         config["downsample"], min_depth=0.0) for cameras in images])
    loss = LidarDepthLoss(config["grid_config"]["depth"], config["depth_net_cfg"]["loss_depth_weight"])
    nothing = torch.zeros(0)
    value = loss.loss(Trace((), flat(outputs["depth_prob"]), nothing, nothing, nothing), {"depth": labels.unsqueeze(1)})
    assert close(value["loss_depth"], outputs["depth_loss"], forward_truth["meta"]["tolerance"], "depth_loss")


# ---- backward projection --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def truth(golden):
    return golden("detection/fbbev_backward.pt")


@pytest.fixture(scope="module")
def view(truth):
    state = {f"{part}.{name}": value for part, weights in truth["state_dict"].items()
             for name, value in weights.items()}
    assert not truth["meta"]["config"]["cams_embeds_used"]
    return build(truth["meta"]["config"], state, ("view_transformer.lift.",), self_attention="background",
                 blind_camera="first_query", threshold=truth["meta"]["config"]["frpn"]["mask_threshold"])


def test_anchors(truth, view):
    inputs, outputs, config = truth["inputs"], truth["outputs"], truth["meta"]["config"]
    tolerance = truth["meta"]["tolerance"]
    points = pillar_points(view.grid, view.grid.centers("z"))
    assert close(points, outputs["ref_3d"].flatten(0, 1), tolerance, "ref_3d")
    pillars = look_at(rig_of(inputs, config), points, "corner", margin=1e-5)
    visible = outputs["per_cam_mask"].transpose(0, 1)
    assert torch.equal(pillars.visible, visible)
    for mine, name in ((pillars.places, "reference_points_cam"), (pillars.depth.unsqueeze(-1), "query_depth")):
        assert close(mine[visible], outputs[name].transpose(0, 1)[visible], tolerance, name)


def test_region_proposal(truth, view):
    outputs, config = truth["outputs"], truth["meta"]["config"]
    with torch.no_grad():
        logits = view.proposal(truth["inputs"]["lss_bev"])
    assert close(logits, outputs["frpn_logit"], truth["meta"]["tolerance"], "frpn_logit")
    assert torch.equal(logits.sigmoid() > config["frpn"]["mask_threshold"], outputs["frpn_mask"])


def refine(truth, view, queries, wanted, record):
    """The refined map of the authors' context, depth and coarse map."""
    inputs, view.queries = truth["inputs"], queries
    plan = view.plan(rig_of(inputs, truth["meta"]["config"]))
    layer = view.layers[truth["meta"]["config"]["captured_layer"]]
    hooks = [part.register_forward_hook(lambda _m, _i, out, name=name: record.__setitem__(name, out))
             for name, part in (("self_attn", layer.read), ("cross_attn", layer.spatial))]
    seen = plan[plan._fields.index("places") + 1:]
    with torch.no_grad():
        bev = view.refine(inputs["lss_bev"], flat(inputs["context"]), flat(inputs["depth_prob"]),
                          plan.places.flatten(0, 1), queries.sight(*seen), wanted)
    for hook in hooks:
        hook.remove()
    return bev


@pytest.mark.parametrize("queries", [EveryQuery(), SeenQueries(), SeenQueries((0.9, 6))],
                         ids=["every", "seen", "capacity"])
def test_refinement_without_mask(truth, view, queries):
    outputs, tolerance, record = truth["outputs"], truth["meta"]["tolerance"], {}
    bev = refine(truth, view, queries, None, record)
    for name, mine in record.items():
        assert close(mine, outputs[f"nomask_{name}"], tolerance, f"nomask_{name}"), name
    assert close(bev, outputs["bev_refined"], tolerance, "bev_refined")
    again = truth["inputs"]["lss_bev"] + bev  # what `forward` gives with readd
    assert close(again, outputs["readd_voxel"].mean(-1), tolerance, "readd_voxel")
    assert close(truth["inputs"]["lss_bev"], truth["inputs"]["voxel"].mean(-1), tolerance, "readd_voxel")


def test_refinement_with_the_authors_mask(truth, view):
    outputs, tolerance, record = truth["outputs"], truth["meta"]["tolerance"], {}
    wanted = outputs["frpn_mask"].float().flatten(1)
    bev = refine(truth, view, EveryQuery(), wanted, record)
    for name, mine in record.items():
        assert close(mine, outputs[f"masked_{name}"], tolerance, f"masked_{name}"), name
    assert close(bev, outputs["bev_refined_masked"], tolerance, "bev_refined_masked")
