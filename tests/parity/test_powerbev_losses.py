"""The authors' losses, their sum, and its gradients."""

import pytest
import torch

from bevkit.models.losses import UncertaintyWeight, masked_regression, topk_cross_entropy

NORMS = {1: "l1", 1.5: "smooth_l1", 2: "squared"}


@pytest.fixture(scope="module")
def reference(golden):
    data = golden("instance/pb_losses.pt")
    return data, data["meta"]["config"]


def close(ours, theirs, tolerance=1e-6):
    return torch.allclose(torch.as_tensor(ours), torch.as_tensor(theirs), rtol=tolerance, atol=0)


@pytest.mark.parametrize("top_k", [True, False])
def test_cross_entropy(reference, top_k):
    data, config = reference
    for discount in config["future_discounts"]:
        loss = topk_cross_entropy(data["seg"], data["seg_target"].squeeze(2), torch.tensor(config["class_weights"]),
                                  config["top_k_ratio"] if top_k else 1.0, discount, config["ignore_index"])
        assert close(loss, data[f"seg_loss_topk{top_k}_disc{discount}"])


def test_regression(reference):
    data, config = reference
    for norm in config["flow_norms"]:
        loss = masked_regression(data["flow"], data["flow_target"], NORMS[norm], config["total_future_discount"],
                                 config["ignore_index"])
        assert close(loss, data[f"reg_loss_norm{norm}"])


def test_regression_without_truth_is_zero_and_differentiable(reference):
    data, config = reference
    flow = data["flow"].clone().requires_grad_()
    loss = masked_regression(flow, torch.full_like(flow, config["ignore_index"]), ignore=config["ignore_index"])
    loss.backward()
    assert close(loss.detach(), data["reg_loss_all_ignored"]) and flow.grad.abs().max() == 0


def test_weighted_sum_and_its_gradients(reference):
    data, config = reference
    segmentation, flow = (data[name].clone().requires_grad_() for name in ("seg", "flow"))
    weights = [UncertaintyWeight(config["segmentation_factor"]), UncertaintyWeight(0.5 * config["flow_factor"])]
    for weight, name in zip(weights, ("segmentation_weight", "flow_weight"), strict=True):
        torch.nn.init.constant_(weight.log_variance, config[name])
    ratio = config["top_k_ratio"] if config["total_use_top_k"] else 1.0
    discount, ignore = config["total_future_discount"], config["ignore_index"]
    parts = [
        *weights[0](topk_cross_entropy(segmentation, data["seg_target"].squeeze(2),
                                       torch.tensor(config["class_weights"]), ratio, discount, ignore)),
        *weights[1](masked_regression(flow, data["flow_target"], NORMS[config["total_flow_norm"]], discount, ignore)),
    ]
    names = ("total_segmentation", "total_segmentation_uncertainty", "total_instance_flow", "total_flow_uncertainty")
    for part, name in zip(parts, names, strict=True):
        assert close(part, data[name])
    total = sum(parts)
    total.backward()

    assert close(total, data["total"])
    for ours, name in ((segmentation, "seg"), (flow, "flow"), (weights[0].log_variance, "segmentation_weight"),
                       (weights[1].log_variance, "flow_weight")):
        theirs = data[f"grad_{name}"]
        assert (ours.grad - theirs).abs().max() <= 1e-6 * theirs.abs().max()
