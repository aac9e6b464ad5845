"""FipTR before its head: image backbone and neck, lift, temporal model and warp equal the authors'."""

import pytest
import torch
from torch import nn

from bevkit.geometry.rigid import inverse, motion_matrix
from bevkit.geometry.warp import affine_theta_fiptr, warp_affine
from bevkit.importers.fiptr_front import translate_fiptr_front
from bevkit.models.image import TimmBackbone, UpsampleConcat
from bevkit.models.temporal import AlignAndStack, SpatioTemporalFusion
from bevkit.models.view_transformers import LiftSplat
from bevkit.structures import BEVGrid, CameraRig, EgoMotion
from tests.parity.lifting import load
from tests.parity.powerbev import floats, no_grad_call, poses_of, prefixed, relative_error

TOLERANCE = 1e-5  # relative to the largest value


def grid_of(config):
    return BEVGrid(x=config["xbound"], y=config["ybound"], z=config["zbound"])


def load_front(state, **parts):
    """Loads the authors' entries into parts that stand under their names in DenseBEV; returns the options wanted."""
    model = nn.ModuleDict({name: nn.ModuleDict(part) if isinstance(part, dict) else part
                           for name, part in parts.items()})
    translation = translate_fiptr_front(floats(state), model.state_dict())
    load(model, translation)
    return translation.options


@pytest.fixture(scope="module")
def images(golden):
    return golden("instance/fiptr_swin_fpn.pt")


def backbone_of(config):
    strides = [config["swin_strides"][0] * 2 ** index for index in config["swin_out_indices"]]
    options = dict(patch_size=config["swin_patch_size"], embed_dim=config["swin_embed_dims"],
                   depths=config["swin_depths"], num_heads=config["swin_num_heads"],
                   window_size=config["swin_window_size"], mlp_ratio=config["swin_mlp_ratio"],
                   qkv_bias=config["swin_qkv_bias"])
    return TimmBackbone("swin_tiny_patch4_window7_224", strides, output_norm=True, model_options=options)


def test_swin(images):
    backbone = backbone_of(images["meta"]["config"])
    options = load_front(prefixed("img_backbone.", images["swin_sd"]), image_encoder=dict(backbone=backbone))
    assert options["image_encoder.backbone.windows"] == backbone.windows
    features = no_grad_call(backbone, images["image"].float())
    assert len(features) == len(images["swin_out"])
    for ours, theirs in zip(features, images["swin_out"]):
        assert relative_error(ours, theirs) <= TOLERANCE


def test_neck(images):
    config = images["meta"]["config"]
    neck = UpsampleConcat(config["fpn_in_channels"], (1, 2), config["fpn_out_channels"], align_corners=True)
    load_front(prefixed("img_neck.", images["fpn_sd"]), image_encoder=dict(neck=neck))
    (ours,) = no_grad_call(neck, tuple(images["fpn_in"]))
    assert relative_error(ours, images["fpn_out"]) <= TOLERANCE


def test_view(golden):
    truth = golden("instance/fiptr_view_lss.pt")
    config = truth["meta"]["config"]
    view = LiftSplat(grid_of(config), config["in_channels"], config["context_channels"], config["dbound"],
                     config["image_size"], config["downsample"], frustum="corner", indexing="truncate")
    options = load_front(prefixed("transformer.", truth["state_dict"]), view_transformer=view)
    assert (options["view_transformer.frustum"], options["view_transformer.indexing"]) == (view.frustum, view.indexing)
    ego_from_camera = torch.eye(4).repeat(*truth["trans"].shape[:-1], 1, 1)
    ego_from_camera[..., :3, :3], ego_from_camera[..., :3, 3] = truth["rots"], truth["trans"]
    image_aug = truth["post_rots"].clone()
    image_aug[..., :2, 2] = truth["post_trans"][..., :2]
    rig = CameraRig(truth["intrins"], image_aug, ego_from_camera, tuple(config["image_size"])).flatten()
    mine, theirs = view.cells(view.points(rig)), view.cells(truth["geometry"])
    assert (view.points(rig) - truth["geometry"]).abs().max() <= 1e-4  # metres
    maps = no_grad_call(view.depth_net, truth["feats"].flatten(0, 2))
    depth, context = maps[:, :len(view.depths)].softmax(dim=1), maps[:, len(view.depths):]
    expected = truth["bev"].flatten(0, 1)
    assert relative_error(view.pooling(depth, context, *view.pooling.plan(theirs)), expected) <= TOLERANCE
    # From the calibration: but for cells that a point on their edge reaches or leaves by rounding.
    bev = no_grad_call(view, (truth["feats"].flatten(0, 2),), *view.plan(rig)).bev
    moved = mine != theirs
    assert moved.sum() <= 1e-4 * moved.numel()
    for index in range(len(bev)):
        touched = torch.cat((mine[index][moved[index]], theirs[index][moved[index]]))
        keep = ~torch.isin(torch.arange(bev[index, 0].numel()), touched)
        error = (bev[index].flatten(1) - expected[index].flatten(1)).abs()[:, keep].max()
        assert error <= TOLERANCE * expected.abs().max()


@pytest.fixture(scope="module")
def temporal(golden):
    return golden("instance/fiptr_temporal.pt")


def motion_of(truth, augmented):
    """The ego's motion over the input frames; an augmentation of the map is a change of every ego frame."""
    poses = poses_of(truth["future_egomotion"].double())[:, : truth["x"].shape[1]]
    return EgoMotion.of(poses @ inverse(truth["aug_transform"].double())[:, None] if augmented else poses)


@pytest.mark.parametrize(("augmented", "expected"), [(False, "warped"), (True, "warped_aug")])
def test_past_maps_are_moved_to_the_present(temporal, augmented, expected):
    x = temporal["x"]
    fusion = AlignAndStack(grid_of(temporal["meta"]["config"]), x.shape[2], x.shape[1] - 1, ego_motion=False,
                           warp="fiptr")
    ours = fusion(x[:, -1], x[:, :-1], *fusion.plan(motion_of(temporal, augmented))).unflatten(1, x.shape[1:3])
    assert relative_error(ours, temporal[expected]) <= TOLERANCE


def test_the_authors_warp_moves_maps_at_rest(temporal):
    grid, x = grid_of(temporal["meta"]["config"]), temporal["x"][:, 0]
    theta = affine_theta_fiptr(torch.eye(4, dtype=torch.float64).expand(len(x), 4, 4), (grid.x, grid.y)).float()
    assert relative_error(warp_affine(x, theta), temporal["identity_warp"]) <= TOLERANCE


@pytest.mark.parametrize(("augmented", "expected"), [(False, "reverse"), (True, "reverse_aug")])
def test_future_labels_are_moved_back(temporal, augmented, expected):
    grid, labels = grid_of(temporal["meta"]["config"]), temporal["labels"]
    steps = motion_matrix(temporal["future_egomotion"][:, temporal["meta"]["config"]["label_motion_start"]:].double())
    jitter = temporal["aug_transform"].double() if augmented else torch.eye(4, dtype=torch.float64)
    present_from_frame = jitter @ inverse(jitter)
    for index in range(labels.shape[1]):
        theta = affine_theta_fiptr(present_from_frame.expand(len(labels), 4, 4), (grid.x, grid.y)).float()
        ours = warp_affine(labels[:, index].float(), theta, mode="nearest")
        assert (ours != temporal[expected][:, index]).float().mean() <= 1e-3  # ties of rounding
        if index < steps.shape[1]:
            present_from_frame = present_from_frame @ jitter @ inverse(steps[:, index]) @ inverse(jitter)


@pytest.fixture(scope="module")
def fusion(temporal):
    config = temporal["meta"]["config"]
    fusion = SpatioTemporalFusion(grid_of(config), config["in_channels"], config["receptive_field"] - 1,
                                  config["start_out_channels"], config["input_egopose"], warp="fiptr",
                                  pool_window=config["input_shape"], residual=config["with_skip_connect"])
    options = load_front(prefixed("temporal_model.", temporal["state_dict"]), temporal=fusion)
    assert options["temporal.warp"] == fusion.warp and options["temporal.residual"] == fusion.residual
    return fusion


@pytest.mark.parametrize(("augmented", "expected"), [(False, "out"), (True, "out_aug")])
def test_temporal_model(temporal, fusion, augmented, expected):
    plan = fusion.plan(motion_of(temporal, augmented))
    # The authors' planes hold the motion before the augmentation, ours as it looks on the augmented map.
    plan = plan._replace(motion=fusion.plan(motion_of(temporal, False)).motion)
    x = temporal["x"]
    assert relative_error(no_grad_call(fusion, x[:, -1], x[:, :-1], *plan), temporal[expected]) <= TOLERANCE


def test_a_missing_frame_is_the_one_after_it(temporal, fusion):
    """Where a scene begins its first frame stands for those before, with its pose, as in our data and streams."""
    x, motion = temporal["x"].clone(), motion_of(temporal, False)
    x[:, 0] = x[:, 1]
    poses = motion.global_from_ego.clone()
    poses[:, 0] = poses[:, 1]
    # In the reference a step leads to the first frame although nothing lies before it.
    steps = fusion.plan(motion).motion
    plan = fusion.plan(EgoMotion.of(poses))._replace(motion=torch.cat((steps[:, 1:2], steps[:, 1:]), dim=1))
    ours = no_grad_call(fusion, x[:, -1], x[:, :-1], *plan)
    assert relative_error(ours, temporal["out_frame0_invalid"]) <= TOLERANCE
