"""Every view transformer with every kind of head: one line of a config each, trained, tested and streamed."""

import copy
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch

from bevkit.export.graph import instants_of, random_clip
from bevkit.geometry import rigid
from bevkit.models.architectures import DenseBEV
from bevkit.models.temporal import TemporalFusion
from bevkit.models.view_transformers import ViewTransformer
from bevkit.registry import MODELS
from bevkit.structures import BEVBatch, BEVClip, BEVFrame, BEVGrid, Boxes3D, Detections3D, FutureInstances
from bevkit.structures.frame import collate_clips

CAMERAS, IMAGE_SIZE, PAST, FUTURE = 3, (32, 64), 3, 2
# What all pairs have in common: the map, how images are read, how the past joins.
BASE: dict[str, Any] = dict(
    type="DenseBEV", grid=dict(x=(-16.0, 16.0, 2.0), y=(-12.0, 12.0, 2.0), z=(-5.0, 3.0, 4.0)),
    image_encoder=dict(type="ImageEncoder", neck=dict(type="FPN", out_channels=16, outputs=1),
                       backbone=dict(type="TimmBackbone", model_name="mobilenetv3_small_050", out_strides=(8, 16))),
    view_transformer=dict(type="LiftSplat", channels=16, depth=(2.0, 22.0, 2.0), image_size=IMAGE_SIZE),
    temporal=dict(type="AlignAndStack", past=PAST - 1),
    head=dict(type="CenterPointHead", shared_channels=8, branch_channels=8, coder=dict(type="CenterPointCoder")))
# One line each changes it.
LIFT, AWARE = BASE["view_transformer"], dict(type="CameraAwareDepthNet", mid_channels=8)
VIEW_TRANSFORMERS: dict[str, dict[str, Any]] = {
    "LiftSplat": LIFT,
    "BEVDepth": dict(LIFT, depth_net=AWARE, aggregate_depth=True),
    "MatrixVT": dict(LIFT, type="MatrixVT", depth_net=AWARE, hidden=8),
    "BEVFormer": dict(type="BEVFormer", layers=1, levels=1, cameras=CAMERAS, heads=2, ffn_channels=16),
    "ForwardBackward": dict(LIFT, type="ForwardBackward", depth_net=AWARE, heads=2, threshold=0.01),
}
HEADS: dict[str, dict[str, Any]] = {
    "CenterPointHead": BASE["head"],
    "PowerBEVHead": dict(type="PowerBEVHead", frames=PAST, future=FUTURE, num_features=(2, 3), latent_dim=8,
                         num_blocks=2, coder=dict(type="InstanceFlowCoder", nms_kernel=5)),
    "EfficientPredictionHead": dict(
        type="EfficientPredictionHead", future=FUTURE, channels=(4, 8), depths=(1, 1), heads=(1, 2), reductions=(2, 1),
        mlp_ratios=(2, 2), patch_sizes=(7, 3), strides=(2, 2), decoder_channels=16, classifier_channels=(8, 4),
        drop_path=0.0, dropout=0.0, coder=dict(type="InstanceFlowCoder", nms_kernel=5)),
    "FieryHead": dict(type="FieryHead", future=FUTURE, latent_dim=4, coder=dict(type="InstanceCenterCoder"),
                      decoder=dict(type="ResNetUNet", stages=(8, 8, 8), blocks=(1, 1, 1)),
                      predictor=dict(type="ConvGRUPredictor", units=1, bottlenecks=1)),
    "FipTRHead": dict(type="FipTRHead", future=FUTURE, queries=6, layers=2, future_layers=1, heads=2, points=2,
                      ffn_channels=8, dropout=0.0, coder=dict(type="InstanceQueryCoder")),
}
FUSIONS: dict[str, dict[str, Any]] = {
    "parallel": dict(type="AlignAndStack", past=PAST - 1, ego_motion=False, order="newest_first"),
    "recurrent": dict(type="RecurrentMemory"),
    "history": dict(type="HistoryStack", past=2),
    "space-time": dict(type="SpatioTemporalFusion", past=PAST - 1, channels=8),
}
RESULTS = {name: Detections3D if name == "CenterPointHead" else FutureInstances for name in HEADS}
PAIRS = [(view, head, None) for view in VIEW_TRANSFORMERS for head in HEADS]
PAIRS += [(view, "CenterPointHead", fusion) for view in VIEW_TRANSFORMERS for fusion in FUSIONS]
PAIRS += [("LiftSplat", head, fusion) for head in HEADS if head != "CenterPointHead" for fusion in FUSIONS]


def build(view: str, head: str, fusion: str | None = None, **changes: Any) -> DenseBEV:
    torch.manual_seed(0)
    config = dict(copy.deepcopy(BASE), view_transformer=VIEW_TRANSFORMERS[view], head=HEADS[head], **changes)
    if fusion is not None:
        config["temporal"] = FUSIONS[fusion]
    return MODELS.build(config)


def two_cars(global_from_ego: torch.Tensor) -> Boxes3D:
    """Two cars that stand still in the world, in an ego frame."""
    places = torch.tensor([[6.0, 3.0, 0.8], [-6.0, -5.0, 0.8]], dtype=torch.float64)
    count, whole = len(places), torch.zeros(len(places), dtype=torch.int64)
    sizes = torch.tensor([[4.5, 2.0, 1.6]], dtype=torch.float64).expand(count, 3)
    return Boxes3D(rigid.transform(rigid.inverse(global_from_ego), places), sizes,
                   -rigid.yaw_of(global_from_ego).expand(count), torch.zeros(count, 2, dtype=torch.float64), whole,
                   torch.arange(count), whole + 4, whole + 9, whole, whole == 0)


@cache
def drive(seed: int) -> BEVClip:
    """A gentle turn past two cars."""
    noise = random_clip(BEVGrid(**BASE["grid"]), CAMERAS, IMAGE_SIZE, PAST + FUTURE, seed)
    frames = [BEVFrame(pose, 0.5 * index, two_cars(pose), images, rig) for index, (pose, images, rig) in enumerate(
        zip(noise.global_from_ego[0], noise.images[0], (noise.rig[0, index] for index in range(PAST + FUTURE))))]
    return BEVClip(tuple(frames[:PAST] + [replace(frame, images=None, rig=None) for frame in frames[PAST:]]), PAST)


def batch_for(model: DenseBEV) -> BEVBatch:
    clips = [replace(clip, targets=model.head.coder.encode(clip)) for clip in map(drive, (0, 1))]
    return model.data_preprocessor(collate_clips(clips))["batch"]


@pytest.mark.parametrize(("kind", "lines"), [(ViewTransformer, VIEW_TRANSFORMERS), (TemporalFusion, FUSIONS)])
def test_every_registered_one_is_among_the_pairs(kind, lines):
    ours = {name: part for name, part in MODELS.module_dict.items() if part.__module__.startswith("bevkit.models.")}
    assert {name for name, part in ours.items() if issubclass(part, kind)} == {line["type"] for line in lines.values()}


@pytest.mark.parametrize(("view", "head", "fusion"), PAIRS)
def test_a_pair_learns(view, head, fusion):
    model = build(view, head, fusion)
    losses = model(batch_for(model), mode="loss")
    total = sum(value for name, value in losses.items() if "loss" in name)
    total.backward()
    assert total > 0 and torch.isfinite(total)
    for name, weight in model.named_parameters():
        assert weight.grad is None or weight.grad.isfinite().all(), name
    for part in ("image_encoder.backbone", "view_transformer", "head"):
        gradients = [weight.grad for weight in model.get_submodule(part).parameters() if weight.grad is not None]
        assert any((gradient != 0).any() for gradient in gradients), part


@pytest.mark.parametrize(("view", "head", "fusion"), PAIRS)
@torch.no_grad()
def test_a_pair_sees_and_streams(view, head, fusion):
    model = build(view, head, fusion).eval()
    batch, state = batch_for(model), None
    expected = model(batch, mode="tensor")
    assert [type(result) for result in model(batch, mode="predict")] == [RESULTS[head]] * len(batch)
    streamed = []
    for instant in instants_of(batch):
        raw, state = model.stream(instant, state)
        streamed.append(raw)
    # After as many instants as a clip has, the past of the stream is the clip's.
    for name, ours, theirs in zip(expected._fields, streamed[-1], expected):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")
    assert not torch.allclose(streamed[0][0], expected[0], rtol=1e-4, atol=1e-5)


def test_time_reaches_the_velocity_and_nothing_else():
    model = build("LiftSplat", "CenterPointHead", temporal=dict(type="RecurrentMemory", time_channels=4)).eval()
    batch = batch_for(model)
    late = replace(batch, timestamps=batch.timestamps * torch.tensor([1.0, 1.0, 3.0, 1.0, 1.0]))
    with torch.no_grad():
        usual, slow = model(batch, mode="tensor"), model(late, mode="tensor")
    assert not torch.allclose(usual.velocity, slow.velocity)
    assert all(torch.equal(getattr(usual, name), getattr(slow, name)) for name in usual._fields if name != "velocity")


def test_a_head_that_reads_no_time_is_refused():
    with pytest.raises(ValueError, match="side channels"):
        build("LiftSplat", "PowerBEVHead", temporal=dict(type="RecurrentMemory", time_channels=4))


@pytest.mark.parametrize("fusion", [None, *FUSIONS])
def test_frames_outside_of_the_graph_see_alike_and_learn_nothing(fusion):
    """The last frame alone has gradients; its outputs are those of the whole graph while norms are at rest."""
    whole, last = (build("LiftSplat", "CenterPointHead", fusion, frames_in_graph=count).eval() for count in (None, 1))
    batch = batch_for(whole)
    grads = []
    for model in (whole, last):
        images = batch.images.clone().requires_grad_()
        raw = model(replace(batch, images=images), mode="tensor")
        raw.heatmap.square().sum().backward()
        grads.append((raw, images.grad.flatten(2).abs().sum(-1)))  # [B T]
    torch.testing.assert_close(grads[0][0].heatmap, grads[1][0].heatmap, rtol=1e-4, atol=1e-5)
    assert (grads[0][1] > 0).all() and (grads[1][1][:, -1] > 0).all() and (grads[1][1][:, :-1] == 0).all()


@torch.no_grad()
@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_stream_that_begins_anew_beside_another_forgets_its_own_past_alone(fusion):
    model = build("BEVFormer", "CenterPointHead", fusion).eval()
    first, second, third = instants_of(batch_for(model))
    _, state = model.stream(first, None)
    _, state = model.stream(second, state)
    mixed, _ = model.stream(third, state, fresh=torch.tensor([True, False]))
    alone, _ = model.stream(third, None)
    going_on, _ = model.stream(third, state)
    for ours, new, old in zip(mixed, alone, going_on):
        torch.testing.assert_close(ours, torch.stack((new[0], old[1])), rtol=1e-4, atol=1e-5)
        assert not torch.allclose(new[0], old[0], rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(("view", "fusion"), [  # a clip that shows a frame twice lets BEVFormer look at it twice
    ("LiftSplat", "parallel"), ("LiftSplat", "recurrent"), ("LiftSplat", "history"), ("BEVFormer", "recurrent"),
    ("LiftSplat", "space-time")])
def test_the_second_instant_has_the_first_for_all_its_past(view, fusion):
    model = build(view, "CenterPointHead", fusion).eval()
    batch = batch_for(model)
    first, second, _ = instants_of(batch)
    _, state = model.stream(first, None)
    found, _ = model.stream(second, state)
    frames = [0, 0, 1] if fusion in ("parallel", "space-time") else [0, 1]
    clip = replace(batch, images=batch.images[:, frames], rig=batch.rig[:, frames],
                   global_from_ego=batch.global_from_ego[:, frames], timestamps=batch.timestamps[:, frames],
                   boxes=[[row[index] for index in frames] for row in batch.boxes],
                   meta=[[row[index] for index in frames] for row in batch.meta])
    for ours, theirs in zip(found, model(clip, mode="tensor")):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
