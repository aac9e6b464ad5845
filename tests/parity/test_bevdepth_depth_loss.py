"""LidarDepthLoss and the depth labels against BEVDepth's depth loss."""

import pytest
import torch

from bevkit.datasets.lidar import nearest_depths
from bevkit.models.auxiliaries import LidarDepthLoss
from bevkit.structures import Trace


@pytest.fixture(scope="module")
def truth(golden):
    return golden("detection/bevdepth_depth_loss.pt")


def labels(truth):
    """The nearest depth of every patch [B 1 N H W] of the authors' depth images [B N h w]."""
    config, images = truth["meta"]["config"], truth["inputs"]["gt_depth"]
    height, width = config["final_dim"]
    v, u = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack((u, v), dim=-1).flatten(0, 1).float()
    return torch.stack([nearest_depths(pixels.expand(len(cameras), -1, -1), cameras.flatten(1), (height, width),
                                       config["downsample"], min_depth=0.0) for cameras in images]).unsqueeze(1)


def test_labels(truth):
    config = truth["meta"]["config"]
    loss = LidarDepthLoss(config["d_bound"], config["loss_weight"])
    bins = loss.bins(labels(truth), config["num_depth_bins"])
    ours = torch.nn.functional.one_hot(bins + 1, config["num_depth_bins"] + 1)[..., 1:].flatten(0, -2)
    assert torch.equal(ours, truth["outputs"]["onehot_labels"].long())


def test_loss(truth):
    config, tolerance = truth["meta"]["config"], truth["meta"]["tolerance"]
    loss = LidarDepthLoss(config["d_bound"], config["loss_weight"])
    nothing = torch.zeros(0)
    trace = Trace((), truth["inputs"]["depth_prob"], nothing, nothing, nothing)
    losses = loss.loss(trace, {"depth": labels(truth)})
    assert torch.allclose(losses["loss_depth"], truth["outputs"]["loss"], atol=tolerance["atol"],
                          rtol=tolerance["rtol"])
