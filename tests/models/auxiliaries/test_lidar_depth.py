"""LidarDepthLoss: which bin a depth belongs to, and what moves the loss."""

import pytest
import torch

from bevkit.models.auxiliaries import LidarDepthLoss
from bevkit.models.view_transformers.depth_net import split_maps
from bevkit.structures import Trace

NOTHING = torch.zeros(0)


def trace_of(depth):
    return Trace((), depth, NOTHING, NOTHING, NOTHING)


def test_bins_hold_the_depths_between_their_edges():
    loss = LidarDepthLoss((2.0, 5.0, 0.5))
    metres = torch.tensor([0.0, 1.99, 2.0, 2.49, 2.5, 4.99, 5.0, 60.0])
    assert loss.bins(metres, 6).tolist() == [-1, -1, 0, 0, 1, 5, -1, -1]


def test_high_edges_belong_to_their_bins_and_the_last_to_none():
    loss = LidarDepthLoss((2.0, 5.0, 0.5), edges="high")
    metres = torch.tensor([0.0, 2.0, 2.01, 2.5, 2.51, 4.5, 4.99, 5.0, 60.0])
    assert loss.bins(metres, 6).tolist() == [-1, -1, 0, 0, 1, 4, 5, -1, -1]


def test_entropy_of_the_distribution_and_that_after_another_softmax():
    metres = torch.zeros(1, 1, 1, 1, 2)
    depth = torch.tensor([0.5, 0.25, 0.125, 0.125]).view(1, 4, 1, 1).repeat(1, 1, 1, 2)
    metres[..., 0] = 3.4  # the second pixel sees nothing
    found = {name: LidarDepthLoss((2.0, 6.0, 1.0), 1.0, name).loss(trace_of(depth), {"depth": metres})["loss_depth"]
             for name in ("categorical", "double_softmax")}
    assert found["categorical"] == pytest.approx(-torch.tensor(0.25).log().item())
    assert found["double_softmax"] == pytest.approx(-depth[0, :, 0, 0].log_softmax(0)[1].item())
    certain = torch.zeros(1, 4, 1, 2)
    certain[:, 0] = 1.0  # and wrong, yet the loss is a number
    wrong = LidarDepthLoss((2.0, 6.0, 1.0), 1.0, "categorical").loss(trace_of(certain), {"depth": metres})
    assert wrong["loss_depth"].isfinite() and wrong["loss_depth"] > 50
    with pytest.raises(ValueError, match="entropy in .*got 'focal'"):
        LidarDepthLoss((2.0, 6.0, 1.0), entropy="focal")


def test_certainty_in_the_right_bin_costs_nothing_and_pixels_without_lidar_do_not_count():
    loss = LidarDepthLoss((2.0, 6.0, 1.0))
    metres = torch.zeros(1, 1, 2, 3, 4)
    metres[0, 0, 1, 2, 3] = 3.4
    depth = torch.full((2, 4, 3, 4), 0.25).requires_grad_()
    certain = torch.zeros(2, 4, 3, 4)
    certain[:, 1] = 1.0
    assert loss.loss(trace_of(certain), {"depth": metres})["loss_depth"] < 1e-6
    (grad,) = torch.autograd.grad(loss.loss(trace_of(depth), {"depth": metres})["loss_depth"], depth)
    assert grad[1, :, 2, 3].sign().tolist() == [1, -1, 1, 1]
    grad[1, :, 2, 3] = 0
    assert not grad.any()


def test_no_lidar_at_all_gives_zero_and_a_gradient():
    depth = torch.full((2, 4, 3, 4), 0.25).requires_grad_()
    value = LidarDepthLoss((2.0, 6.0, 1.0)).loss(trace_of(depth), {"depth": torch.zeros(1, 1, 2, 3, 4)})["loss_depth"]
    value.backward()
    assert value == 0 and not depth.grad.any()


def test_says_what_is_missing():
    loss = LidarDepthLoss((2.0, 6.0, 1.0))
    with pytest.raises(ValueError, match="LidarDepthMap"):
        loss.loss(trace_of(torch.zeros(1, 4, 2, 2)), {})
    with pytest.raises(ValueError, match="view transformer that has one"):
        loss.loss(trace_of(None), {"depth": NOTHING})


def test_sure_depths_give_finite_gradients_in_bfloat16():
    """A distribution that rounds to 1 in bfloat16 must not turn its small error into a huge gradient."""
    maps = torch.zeros(1, 12, 1, 1)
    maps[0, 3] = 9.0  # sure, and wrong
    logits = maps.bfloat16().requires_grad_()
    _, exact, context = split_maps(logits, 10)
    assert exact.dtype == torch.float32 and context.dtype == torch.bfloat16
    loss = LidarDepthLoss((2.0, 12.0, 1.0), weight=1.0)
    found = loss.loss(Trace((), exact, NOTHING, NOTHING, NOTHING), {"depth": torch.full((1, 1, 1, 1, 1), 8.5)})
    found["loss_depth"].backward()
    assert 0 < logits.grad.abs().max() < 10
