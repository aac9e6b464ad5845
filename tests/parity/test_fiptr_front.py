"""FipTR before its head: image backbone and neck, lift, temporal model and warp equal the authors'."""

import pytest
import torch
from torch import nn

from bevkit.importers.fiptr_front import translate_fiptr_front
from bevkit.models.image import TimmBackbone, UpsampleConcat
from bevkit.models.view_transformers import LiftSplat
from bevkit.structures import BEVGrid, CameraRig
from tests.parity.lifting import load
from tests.parity.powerbev import floats, no_grad_call, prefixed, relative_error

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


def backbone_of(config, windows):
    strides = [config["swin_strides"][0] * 2 ** index for index in config["swin_out_indices"]]
    options = dict(embed_dim=config["swin_embed_dims"], depths=config["swin_depths"],
                   num_heads=config["swin_num_heads"], window_size=config["swin_window_size"],
                   mlp_ratio=config["swin_mlp_ratio"], qkv_bias=config["swin_qkv_bias"])
    return TimmBackbone("swin_tiny_patch4_window7_224", strides, windows=windows, output_norm=True,
                        model_options=options)


def test_swin(images):
    backbone = backbone_of(images["meta"]["config"], "padded")
    load_front(prefixed("img_backbone.", images["swin_sd"]), image_encoder=dict(backbone=backbone))
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
