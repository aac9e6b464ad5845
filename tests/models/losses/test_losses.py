"""Laws of the losses that hold for any numbers."""

import pytest
import torch

from bevkit.models.losses import (
    MaskedRegression,
    TopKCrossEntropy,
    UncertaintyWeight,
    masked_regression,
    topk_cross_entropy,
)


def test_all_cells_without_weights_is_the_plain_cross_entropy():
    logits, target = torch.randn(2, 3, 4, 5, 6), torch.randint(4, (2, 3, 5, 6))
    plain = torch.nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten(0, 1))
    assert torch.allclose(topk_cross_entropy(logits, target, ratio=1.0), plain)


def test_hardest_cells_weigh_more_than_all():
    logits, target = torch.randn(2, 3, 2, 8, 8), torch.randint(2, (2, 3, 8, 8))
    losses = [topk_cross_entropy(logits, target, ratio=ratio) for ratio in (0.1, 0.5, 1.0)]
    assert losses[0] > losses[1] > losses[2]


def test_ignored_cells_have_no_gradient():
    logits, target = torch.randn(1, 1, 2, 4, 4, requires_grad=True), torch.zeros(1, 1, 4, 4, dtype=torch.int64)
    target[..., :2] = 255
    topk_cross_entropy(logits, target, ratio=1.0).backward()
    assert logits.grad[..., :2].abs().max() == 0 and logits.grad[..., 2:].abs().min() > 0

    flow, truth = torch.randn(1, 1, 2, 4, 4, requires_grad=True), torch.zeros(1, 1, 2, 4, 4)
    truth[..., :2] = 255
    masked_regression(flow, truth, "squared").backward()
    assert flow.grad[..., :2].abs().max() == 0 and flow.grad[..., 2:].abs().min() > 0


def test_half_precision_maps_give_a_float32_loss():
    logits, target = torch.randn(1, 2, 2, 4, 4).half(), torch.zeros(1, 2, 4, 4, dtype=torch.int64)
    assert TopKCrossEntropy()(logits, target).dtype == torch.float32
    assert MaskedRegression()(logits, torch.zeros(1, 2, 2, 4, 4)).dtype == torch.float32


def test_learned_weight_settles_at_the_size_of_the_loss():
    weight, loss = UncertaintyWeight(scale=0.5), torch.tensor(3.0)
    optimizer = torch.optim.SGD(weight.parameters(), lr=0.5)
    for _ in range(100):
        optimizer.zero_grad()
        sum(weight(loss)).backward()
        optimizer.step()
    assert weight.log_variance.exp().item() == pytest.approx(3.0, rel=1e-3)  # the minimum of scale L e^-s + s/2


def test_an_unknown_norm_is_named():
    with pytest.raises(ValueError, match="smooth_l1"):
        MaskedRegression("huber")
