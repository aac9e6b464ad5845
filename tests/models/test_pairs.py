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
}
RESULTS = {"CenterPointHead": Detections3D, "PowerBEVHead": FutureInstances}
PAIRS = [(view, head) for view in VIEW_TRANSFORMERS for head in HEADS]


def build(view: str, head: str) -> DenseBEV:
    torch.manual_seed(0)
    return MODELS.build(dict(copy.deepcopy(BASE), view_transformer=VIEW_TRANSFORMERS[view], head=HEADS[head]))


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


def test_every_view_transformer_is_among_the_pairs():
    ours = {name: kind for name, kind in MODELS.module_dict.items() if kind.__module__.startswith("bevkit.models.")}
    registered = {name for name, kind in ours.items() if issubclass(kind, ViewTransformer)}
    assert registered == {line["type"] for line in VIEW_TRANSFORMERS.values()}


@pytest.mark.parametrize(("view", "head"), PAIRS)
def test_a_pair_learns(view, head):
    model = build(view, head)
    losses = model(batch_for(model), mode="loss")
    total = sum(value for name, value in losses.items() if "loss" in name)
    total.backward()
    assert total > 0 and torch.isfinite(total)
    for name, weight in model.named_parameters():
        assert weight.grad is None or weight.grad.isfinite().all(), name
    for part in ("image_encoder.backbone", "view_transformer", "head"):
        gradients = [weight.grad for weight in model.get_submodule(part).parameters() if weight.grad is not None]
        assert any((gradient != 0).any() for gradient in gradients), part


@pytest.mark.parametrize(("view", "head"), PAIRS)
@torch.no_grad()
def test_a_pair_sees_and_streams(view, head):
    model = build(view, head).eval()
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
