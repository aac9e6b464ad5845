"""The authors' losses with depth supervision, and the classes that lidar points give."""

import numpy as np
import pytest
import torch

from bevkit.datasets import LidarDepthMap
from bevkit.geometry import rigid
from bevkit.models.auxiliaries import LidarDepthLoss
from bevkit.models.future import EfficientPredictionHead, InstanceFlowOutput
from bevkit.models.losses import MaskedRegression, TopKCrossEntropy, UncertaintyWeight
from bevkit.structures import BEVClip, BEVFrame, BEVGrid, CameraRig, Trace
from tests.parity.powerbev import turned, turned_flow

NORMS = {1: "l1", 1.5: "smooth_l1", 2: "squared"}


@pytest.fixture(scope="module")
def reference(golden):
    data = golden("instance/eip_losses.pt")
    return data, data["meta"]["config"]


def close(ours, theirs):
    return torch.allclose(torch.as_tensor(ours), torch.as_tensor(theirs), rtol=1e-6, atol=0)


def head_losses(data, config):
    """The losses of the head on the authors' outputs, with their weights."""
    ratio = config["top_k_ratio"] if config["use_top_k"] else 1.0
    discount, ignore = config["future_discount"], config["ignore_index"]
    head = EfficientPredictionHead(
        BEVGrid(x=(0, config["rows"], 1), y=(0, config["cols"], 1)), 1, config["frames"] - 2, channels=(8,),
        depths=(1,), heads=(1,), reductions=(1,), mlp_ratios=(1,), patch_sizes=(3,), strides=(2,), decoder_channels=8,
        classifier_channels=(8,),
        segmentation_loss=TopKCrossEntropy(config["class_weights"], ratio, discount, ignore),
        flow_loss=MaskedRegression(NORMS[config["flow_norm"]], discount, ignore),
        segmentation_weight=UncertaintyWeight(config["segmentation_factor"]),
        flow_weight=UncertaintyWeight(0.5 * config["flow_factor"]))
    for name in ("segmentation_weight", "flow_weight"):
        torch.nn.init.constant_(getattr(head, name).log_variance, data[name])
    raw = InstanceFlowOutput(turned(data["segmentation"]), turned_flow(data["flow"]))
    return head.loss(raw, {"segmentation": turned(data["target"].squeeze(2)), "flow": turned_flow(data["flow_target"])})


def depth_loss(data, config, **options):
    """The loss of the depth on the authors' probabilities; metres are the middles of their labels' bins."""
    first, step = 2.0, 0.5
    bins = (first, first + step * config["depth_bins"], step)
    label = data["depth_label"]
    metres = torch.where(label == config["depth_ignore_index"], 0.0, first + step * (label + 0.5))
    nothing = torch.zeros(0)
    trace = Trace((), data["depth_probs"].flatten(0, 2), nothing, nothing, nothing)
    return LidarDepthLoss(bins, config["depth_factor"], **options).loss(trace, {"depth": metres})


def test_losses_and_their_sum(reference):
    data, config = reference
    ours = head_losses(data, config) | depth_loss(data, config, entropy="double_softmax", edges="high")
    names = {"segmentation": "segmentation", "segmentation_uncertainty": "segmentation_uncertainty",
             "instance_flow": "flow", "flow_uncertainty": "flow_uncertainty", "depth": "depth"}
    assert len(ours) == len(data["losses"])
    for theirs, name in names.items():
        assert close(ours[f"loss_{name}"], data["losses"][theirs]), name
    assert close(sum(ours.values()), data["total"])


def test_one_softmax_is_the_entropy_of_the_distribution(reference):
    data, config = reference
    label, probability = data["depth_label"], data["depth_probs"]
    known = label != config["depth_ignore_index"]
    chosen = probability.gather(3, label.clamp(min=0).unsqueeze(3)).squeeze(3)[known]
    assert close(depth_loss(data, config, entropy="categorical")["loss_depth"],
                 -config["depth_factor"] * chosen.log().mean())


def test_depth_labels(golden):
    data = golden("instance/eip_depth_label.pt")
    config = data["meta"]["config"]
    first, end, step = config["depth_bound"]
    frames = []
    for time in range(config["receptive_field"]):
        intrinsics = data["intrinsics"][time]
        rig = CameraRig(intrinsics, torch.eye(3).expand_as(intrinsics), rigid.inverse(data["lidar_ego_2_cam"][time]),
                        tuple(config["image_size"]))
        points = rigid.transform(data["lidar_sensor_2_ego"][time], data["lidar"][time])
        frames.append(BEVFrame(torch.eye(4, dtype=torch.float64), 0.5 * time, rig=rig, points=points))
    make = LidarDepthMap(config["downsample"], min_depth=0.0, distance="range", winner="last", pixel_origin="corner")
    metres = make(BEVClip(tuple(frames), len(frames)), np.random.default_rng(0)).targets["depth"]
    bins = LidarDepthLoss((first, end, step), edges="high").bins(metres, round((end - first) / step))
    bins[bins < 0] = config["ignore_label"]
    assert torch.equal(bins, data["label"])
