"""SparseBEV's weights, turned from the lidar's axes to the ego's, see the same world; whole files find their places."""

import re

import pytest
import torch

from bevkit.engine.build import build_model
from bevkit.engine.config import load_config
from bevkit.geometry.rigid import rigid_from, rotation_about_z
from bevkit.importers import fit
from bevkit.importers.sparsebev import translate_sparsebev
from bevkit.models.heads.sparse import SparseQueryHead
from bevkit.models.layers.sparse_decoder import SparseViews
from bevkit.ops.multi_view_sampling import stack_views
from tests.conftest import ROOT

NAMES = {"init_query_bbox.weight": "boxes", "label_enc.weight": "labels.weight"}
PARTS = {"position_encoder": "position", "self_attn.attention.attn.in_proj_": "attention.project.",
         "self_attn.attention.attn.out_proj": "attention.output", "self_attn.gen_tau": "attention.reach",
         "sampling.sampling_offset": "sampling.offsets", "sampling.scale_weights": "sampling.scale_weights",
         "mixing.parameter_generator": "mixing.generate", "mixing.out_proj": "mixing.output",
         "ffn.layers.0.0": "feed_forward.0", "ffn.layers.1": "feed_forward.3", "norm1": "norms.0", "norm2": "norms.1",
         "norm3": "norms.2", "cls_branch": "scores", "reg_branch": "boxes"}


def authors_names(head: SparseQueryHead) -> dict[str, torch.Tensor]:
    """Names the weights of a head as the authors do."""
    state, own = {}, head.state_dict()
    for theirs, ours in NAMES.items():
        state[theirs] = own[ours]
    for theirs, ours in PARTS.items():
        for name, value in own.items():
            if name.startswith(f"layer.{ours}"):
                state["transformer.decoder.decoder_layer." + name.replace(f"layer.{ours}", theirs)] = value
    return {f"pts_bbox_head.{name}": value for name, value in state.items()}


def head_of(bounds) -> SparseQueryHead:
    torch.manual_seed(0)
    return SparseQueryHead(16, 2, bounds, queries=9, layers=2, heads=2, groups=2, points=2, levels=2, ffn_channels=16,
                           out_points=8).eval()


@torch.no_grad()
def test_turned_weights_see_the_same_world():
    lidar = head_of((-40.0, -40.0, -5.0, 40.0, 40.0, 3.0))
    random = torch.Generator().manual_seed(1)
    for value in lidar.parameters():
        value.add_(0.2 * torch.randn(value.shape, generator=random))
    ego = head_of((-40.0, -40.0, -5.0, 40.0, 40.0, 3.0))
    state = translate_sparsebev(authors_names(lidar), ego.state_dict()).state
    ego.load_state_dict({name.removeprefix("head."): value for name, value in state.items()})
    order = translate_sparsebev(authors_names(lidar), ego.state_dict(), "ego").state
    lidar.load_state_dict({name.removeprefix("head."): value for name, value in order.items()})  # classes alike
    features = [torch.randn(2, 3, 16, *size, generator=random) for size in ((8, 12), (4, 6))]
    values = stack_views(features, 2)
    from_lidar = torch.randn(1, 2, 3, 3, 4, generator=random)
    ego_from_lidar = rigid_from(rotation_about_z(torch.tensor(-torch.pi / 2)), torch.zeros(3))
    ages = torch.tensor([[0.0, 0.5]])
    theirs = lidar(SparseViews(*values, from_lidar, ages))
    ours = ego(SparseViews(*values, from_lidar @ torch.linalg.inv(ego_from_lidar), ages))
    torch.testing.assert_close(ours.scores, theirs.scores, rtol=1e-4, atol=1e-4)
    x, y, length, width, z, height, sin, cos, vx, vy = theirs.boxes.unbind(dim=-1)
    turned = torch.stack((y, -x, length, width, z, height, -cos, sin, vy, -vx), dim=-1)
    torch.testing.assert_close(ours.boxes, turned, rtol=1e-4, atol=1e-3)


def authors_backbone_name(name: str) -> str:
    """Names an entry of a backbone as the authors do: torchvision's ResNet, or the VoVNet of detectors."""
    if found := re.fullmatch(r"stem_(\d)\.(conv|bn)\.(.+)", name):
        part = {"conv": "conv", "bn": "norm"}[found[2]]
        return f"stem.stem_{int(found[1]) + 1}/{part}.{found[3]}"
    if found := re.fullmatch(r"stages_(\d)\.blocks\.(\d+)\.(.+)", name):
        osa = f"OSA{int(found[1]) + 2}_{int(found[2]) + 1}"
        rest = found[3].replace("attn.fc.", "ese.fc.").replace("conv_concat.", f"concat.{osa}_concat/")
        rest = re.sub(r"conv_mid\.(\d)\.", rf"layers.\1.{osa}_\1/", rest)
        return f"stage{int(found[1]) + 2}.{osa}." + rest.replace("/bn.", "/norm.")
    return name


def authors_file(model) -> dict[str, torch.Tensor]:
    """Names the weights of a whole model as the authors do."""
    state = authors_names(model.head)
    for name, value in model.state_dict().items():
        if name.startswith("image_encoder.backbone.model."):
            theirs = authors_backbone_name(name.removeprefix("image_encoder.backbone.model."))
            state[f"img_backbone.{theirs}"] = value
        elif name.startswith("image_encoder.neck."):
            part, index, rest = name.removeprefix("image_encoder.neck.").split(".", 2)
            state[f"img_neck.{'lateral_convs' if part == 'lateral' else 'fpn_convs'}.{index}.conv.{rest}"] = value
    return state


@pytest.mark.parametrize("name", ["r50_256x704", "r101_512x1408", "v99_640x1600"])
def test_a_whole_file_finds_its_places(name):
    path = str(ROOT / "configs" / "detection" / f"sparsebev_{name}.py")
    with torch.device("meta"):
        model = build_model(load_config(path))
    model.to_empty(device="cpu")
    state = authors_file(model)
    translation = translate_sparsebev(state, model.state_dict())
    assert set(translation.state) == set(model.state_dict()) and not translation.unknown
    assert set(translation.options) == {"head.scale_weights", "head.bounds", "images.pixel_origin"}
    image = {name.removeprefix("img_"): value for name, value in state.items() if name.startswith("img_")}
    partial = translate_sparsebev({**image, "rpn_head.rpn_conv.weight": torch.zeros(1)}, model.state_dict())
    assert not partial.unknown and not partial.options and len(partial.dropped) == 1
    assert all(name.startswith("image_encoder.") for name in partial.state)


def test_a_v2_99_was_trained_on_blue_green_red():
    stem = torch.randn(64, 3, 3, 3)
    found = translate_sparsebev({"img_backbone.stem.stem_1/conv.weight": stem}, {}).state
    torch.testing.assert_close(found["image_encoder.backbone.model.stem_0.conv.weight"], stem[:, [2, 1, 0]])


def test_what_the_weights_want_is_told():
    told = load_config(str(ROOT / "configs" / "detection" / "sparsebev_r50_256x704.py"))
    model = build_model(told)
    translation = translate_sparsebev(authors_file(model), model.state_dict())
    wanted = {"head.scale_weights", "head.bounds"}
    assert wanted <= set(fit(translation, model, "sparsebev", "file").unmet)
    told.model.head.update(scale_weights="shuffled", bounds=translation.options["head.bounds"])
    assert not wanted & set(fit(translation, build_model(told), "sparsebev", "file").unmet)
