"""Whole detectors of the lift-splat family: every entry of a checkpoint finds its place, frames in bevkit's order."""

import pytest
import torch

from bevkit.importers import fit
from bevkit.importers.base import Translation
from bevkit.importers.bevdepth import COLOURS, translate_bevdepth
from bevkit.importers.bevdet import translate_bevdet
from bevkit.importers.bevformer import translate_bevformer
from bevkit.importers.fbbev import translate_fbbev
from bevkit.importers.hop import translate_hop
from bevkit.importers.matrixvt import translate_matrixvt
from bevkit.models.architectures.preprocessor import BEVPreprocessor
from bevkit.registry import MODELS

CHANNELS, IMAGE = 4, (32, 64)
GRID = dict(x=(-8.0, 8.0, 1.0), y=(-8.0, 8.0, 1.0), z=(-5.0, 3.0, 8.0))
NAMES = {"embed.0": "mlp.fc1", "embed.2": "mlp.fc2", "gate.0": "se.conv_reduce", "gate.2": "se.conv_expand"}


def build(view, frames=1, **options):
    image_encoder = dict(type="ImageEncoder", neck=dict(type="SecondFPN", out_channels=(2, 2, 2, 2)),
                         backbone=dict(type="TimmBackbone", model_name="resnet18", out_strides=(4, 8, 16, 32)))
    parts = dict(grid=GRID, image_encoder=image_encoder, head=dict(type="CenterPointHead", shared_channels=8,
                                                                  branch_channels=4),
                 bev_encoder=dict(type="ResNetPyramid", stages=(4, 6, 8), level_channels=(2, 2, 2, 2)),
                 view_transformer=dict(channels=CHANNELS, depth=(2.0, 8.0, 2.0), image_size=IMAGE, **view))
    if frames > 1:
        parts["temporal"] = dict(type="AlignAndStack", past=frames - 1, ego_motion=False)
    torch.manual_seed(0)
    return MODELS.build(dict(type="DenseBEV", **{**parts, **options}))


def authors_names(model, translate, wanted):
    """The authors' checkpoint of a model: entries of their names whose translation has the model's names and shapes."""
    own = model.state_dict()
    state = {name: torch.randn_like(own[ours].float()) for ours, name in wanted.items()}
    return state, translate(state, own)


def names_of_depth_net(prefix, own, deformable):
    """Pairs of our and the authors' names of the depth net."""
    new, pairs = "view_transformer.depth_net.", {}
    for ours in own:
        if not ours.startswith(new):
            continue
        name = ours.removeprefix(new)
        if name.split(".")[0] in ("context_gate", "depth_gate"):
            part, place = name.split("_gate.")
            place, last = place.rsplit(".", 1)
            name = f"{part}_{NAMES[place]}.{last}"
        for before, after in (("reduce.", "reduce_conv."), ("camera_norm.", "bn."), ("context.", "context_conv."),
                              ("blocks.", "depth_conv."), ("deformable.weight", "depth_conv.4.weight"),
                              ("deformable.offset.", "depth_conv.4.conv_offset."),
                              ("depth.", f"depth_conv.{4 + deformable}."),
                              ("pyramid.join.0.", "depth_conv.3.conv1."), ("pyramid.join.1.", "depth_conv.3.bn1."),
                              ("pyramid.whole.0.", "depth_conv.3.global_avg_pool.1."),
                              ("pyramid.whole.1.", "depth_conv.3.global_avg_pool.2."),
                              *((f"pyramid.branches.{i}.0.", f"depth_conv.3.aspp{i + 1}.atrous_conv.")
                                for i in range(4)),
                              *((f"pyramid.branches.{i}.1.", f"depth_conv.3.aspp{i + 1}.bn.") for i in range(4))):
            if name.startswith(before):
                name = after + name.removeprefix(before)
                break
        pairs[ours] = prefix + name
    return pairs


def names_of_detector(own):
    """Pairs of our and BEVDepth's names in a Lightning checkpoint, but for the view transformer's."""
    pairs = {}
    for ours in own:
        for before, after in (("image_encoder.backbone.model.", "model.backbone.img_backbone."),
                              ("image_encoder.neck.levels.", "model.backbone.img_neck.deblocks."),
                              ("bev_encoder.stem.0.", "model.head.trunk.conv1."),
                              ("bev_encoder.stem.1.", "model.head.trunk.bn1."),
                              *((f"bev_encoder.stages.{i}.", f"model.head.trunk.layer{i + 1}.") for i in range(3)),
                              ("bev_encoder.pyramid.levels.", "model.head.neck.deblocks.")):
            if ours.startswith(before):
                pairs[ours] = after + ours.removeprefix(before)
    return pairs


@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize("kind", ["bevdepth", "matrixvt"])
def test_every_entry_but_the_heads_is_used(kind, frames):
    net = dict(type="CameraAwareDepthNet", mid_channels=8)
    view = dict(type="LiftSplat", depth_net=net) if kind == "bevdepth" else dict(type="MatrixVT", depth_net=net,
                                                                                hidden=8)
    model, translate = build(view, frames), dict(bevdepth=translate_bevdepth, matrixvt=translate_matrixvt)[kind]
    own = model.state_dict()
    wanted = {**names_of_detector(own), **names_of_depth_net("model.backbone.depth_net.", own, True)}
    row = {"merge": "merger", "reduce": "reduce_conv", "mix.0": "conv1", "mix.1": "conv2", "out": "out_conv"}
    for ours in own:
        for before, after in row.items():
            if ours.startswith(f"view_transformer.feature_squeeze.{before}."):
                wanted[ours] = "model.backbone.horiconv." + after + ours.removeprefix(
                    f"view_transformer.feature_squeeze.{before}")
        if ours.startswith("view_transformer.depth_squeeze.weigh."):
            wanted[ours] = ours.replace("view_transformer.depth_squeeze.weigh",
                                        "model.backbone.depth_reducer.vertical_weighter")
    state, translation = authors_names(model, translate, wanted)
    report = fit(translation, model, kind, "memory")
    assert report.unused == [] and report.mismatched == {}
    assert all(name.startswith("head.") for name in report.missing)
    # The authors' first channels are the key frame's, which is the last of ours.
    stem, theirs = model.state_dict()["bev_encoder.stem.0.weight"], state["model.head.trunk.conv1.weight"]
    assert torch.equal(stem[:, -CHANNELS:], theirs[:, :CHANNELS])
    level = model.state_dict()["bev_encoder.pyramid.levels.0.0.weight"]
    assert torch.equal(level[-CHANNELS:], state["model.head.neck.deblocks.0.0.weight"][:CHANNELS])
    assert set(report.unmet) >= {"view_transformer.frustum", "view_transformer.indexing"}


def test_bevdets_depth_net_without_deformable_convolution():
    net = dict(type="CameraAwareDepthNet", mid_channels=8, deformable=False)
    model = build(dict(type="LiftSplat", depth_net=net), bev_encoder=dict(type="ResidualFPN", stages=(4, 6, 8),
                                                                         channels=6))
    wanted = names_of_depth_net("img_view_transformer.depth_net.", model.state_dict(), False)
    _, translation = authors_names(model, translate_bevdet, wanted)
    report = fit(translation, model, "bevdet", "memory")
    assert report.unused == [] and sorted(report.used) == sorted(wanted)


@pytest.mark.parametrize("translate, name", [
    (translate_bevdepth, "model.backbone.img_backbone."), (translate_matrixvt, "backbone.img_backbone."),
    (translate_bevdet, "img_backbone."), (translate_fbbev, "img_backbone."), (translate_hop, "img_backbone.")])
def test_backbones_that_saw_blue_green_red_are_turned(translate, name):
    """The same image, normalised as the authors did and as their options say, gives the same features."""
    weight, image = torch.randn(4, 3, 3, 3), torch.randint(0, 256, (1, 3, 8, 8)).float()  # RGB
    translation = translate({name + "conv1.weight": weight}, {})
    given = BEVPreprocessor(*(translation.options[f"data_preprocessor.{part}"] for part in ("mean", "std")))
    usual = BEVPreprocessor()
    theirs = torch.nn.functional.conv2d((image.flip(1) - usual.mean) / usual.std, weight)
    ours = torch.nn.functional.conv2d((image - given.mean) / given.std,
                                      translation.state["image_encoder.backbone.model.conv1.weight"])
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("told", [False, True])
def test_a_model_says_how_it_normalises(told):
    options = dict(zip(("mean", "std"), COLOURS.values())) if told else {}
    model = build(dict(type="LiftSplat"), data_preprocessor=dict(type="BEVPreprocessor", **options))
    state = model.state_dict()
    translation = Translation(state, {name: name for name in state}, {}, [], dict(COLOURS))
    assert set(fit(translation, model, "bevdepth", "memory").unmet) == (set() if told else set(COLOURS))


def test_bevformer_reads_the_first_of_four_scales():
    rows = torch.randn(4, 8)
    state = {"pts_bbox_head.transformer.level_embeds": rows}
    for levels in (1, 4):
        found = translate_bevformer(state, {"view_transformer.level_embedding": torch.zeros(levels, 8)}).state
        assert torch.equal(found["view_transformer.level_embedding"], rows[:levels])


def test_hops_branch_is_one_of_a_list():
    target = {"auxiliaries.0.predictor.decoders.0.0.norms.0.weight": None}
    names = [f"aux_bbox_head.{place}shared_conv.conv.weight" for place in ("0.", "")]
    found = translate_hop({name: torch.zeros(1) for name in names}, target)
    assert not found.unknown and set(found.state) == {"auxiliaries.0.head.shared.0.weight"}
