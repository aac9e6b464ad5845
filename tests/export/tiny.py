"""A tiny PowerBEV, a clip for it, and both exported, once for all tests of export and deployment."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bevkit.export.artefact import write_artefact
from bevkit.export.graph import random_clip
from bevkit.models.architectures import Architecture, DenseBEV
from bevkit.registry import MODELS
from bevkit.structures import BEVBatch

IMAGE_SIZE, CAMERAS = (48, 80), 3
TINY: dict[str, Any] = dict(
    type="DenseBEV", grid=dict(x=(-12.0, 12.0, 0.5), y=(-10.0, 10.0, 0.5), z=(-10.0, 10.0, 20.0)),
    image_encoder=dict(type="ImageEncoder",
                       backbone=dict(type="TimmBackbone", model_name="tf_efficientnet_b0", out_strides=(8, 16)),
                       neck=dict(type="UpsampleConcat", out_channels=16)),
    view_transformer=dict(type="LiftSplat", channels=8, depth=(2.0, 14.0, 1.0), image_size=IMAGE_SIZE),
    temporal=dict(type="AlignAndStack", past=2),
    head=dict(type="PowerBEVHead", frames=3, future=2, num_features=(4, 6), latent_dim=8, num_blocks=2,
              coder=dict(type="InstanceFlowCoder", nms_kernel=5)))


def tiny_model(**changes: Any) -> DenseBEV:
    """Builds the tiny model, in evaluation; random weights see vehicles in some cells, so that maps are not empty."""
    torch.manual_seed(0)
    model = MODELS.build({**TINY, **changes}).eval()
    if hasattr(model.head, "segmentation_head"):
        model.head.segmentation_head[-1].bias.data.zero_()
    return model


LIFT, AWARE = TINY["view_transformer"], dict(type="CameraAwareDepthNet", mid_channels=8)
LOOKING = dict(type="BEVFormer", layers=1, levels=1, cameras=CAMERAS, heads=2, ffn_channels=16,
               export_capacity=(0.9, CAMERAS))
DETECTORS: dict[str, dict[str, Any]] = {
    "BEVFormer": dict(view_transformer=LOOKING),
    "ForwardBackward": dict(view_transformer=dict(LIFT, type="ForwardBackward", depth_net=AWARE, heads=2,
                                                  export_sight=(0.9, CAMERAS)), temporal=None),
    # BEVFormer tells all cells apart: no scores are equal, and none depends on the order of equals.
    "memory": dict(view_transformer=LOOKING, temporal=dict(type="RecurrentMemory", time_channels=4)),
    "history": dict(view_transformer=LOOKING, temporal=dict(type="HistoryStack", past=3)),
}


SPARSE: dict[str, Any] = dict(
    type="SparseDetector", image_encoder=dict(
        type="ImageEncoder", neck=dict(type="FPN", out_channels=16),
        backbone=dict(type="TimmBackbone", model_name="mobilenetv3_small_050", out_strides=(8, 16))),
    head=dict(type="SparseQueryHead", frames=4, bounds=(-12.0, -12.0, -5.0, 12.0, 12.0, 3.0), queries=36, layers=2,
              heads=2, points=2, ffn_channels=16, out_points=8, coder=dict(type="QueryBoxCoder")))


SPARSE_ORDERS: dict[str, dict[str, Any]] = {"sparse": {}, "sparse, shuffled": dict(scale_weights="shuffled")}


def tiny_detector(name: str) -> Architecture:
    """Builds a tiny detector; random weights of its head are sure of themselves here and there."""
    if name in SPARSE_ORDERS:
        torch.manual_seed(0)
        sparse: Architecture = MODELS.build(dict(SPARSE, head=dict(SPARSE["head"], **SPARSE_ORDERS[name]))).eval()
        for part in (sparse.head.layer.scores[-1], sparse.head.layer.sampling.scale_weights):
            part.weight.data.normal_()  # what it reads, and how it weighs it, shows
        return sparse
    model = tiny_model(**DETECTORS[name], grid=dict(TINY["grid"], x=(-12.0, 12.0, 1.0), y=(-10.0, 10.0, 1.0)),
                       head=dict(type="CenterPointHead", shared_channels=16, branch_channels=16,
                                 coder=dict(type="CenterPointCoder", score_threshold=0.3)))
    for layer in model.head.modules():
        if isinstance(layer, nn.Conv2d) and layer.bias is not None:
            layer.weight.data *= 10
            layer.bias.data.clamp_(min=-1)
    return model


@cache
def the_model() -> DenseBEV:
    return tiny_model()


@cache
def the_clip() -> BEVBatch:
    return random_clip(the_model().grid, CAMERAS, IMAGE_SIZE, frames=3)


@cache
def the_artefact(out: Path) -> dict[str, Any]:
    return write_artefact(the_model(), [the_clip()], out, with_tensorrt=False)


@pytest.fixture
def model() -> DenseBEV:
    return the_model()


@pytest.fixture
def clip() -> BEVBatch:
    return the_clip()


@pytest.fixture
def artefact(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder of the tiny model in float32, and its report."""
    out = tmp_path_factory.getbasetemp() / "tiny_artefact"
    return out, the_artefact(out)
