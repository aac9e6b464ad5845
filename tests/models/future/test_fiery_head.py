"""FIERY's head: it learns, its futures differ, and its parts keep to their frames, samples and axes."""

import pytest
import torch
from torch import nn
from torch.distributions import Normal
from torch.distributions import kl_divergence as kl_of_torch

import bevkit.models  # noqa: F401  fills the registry
from bevkit.models.future import (
    ConvGRUPredictor,
    FieryFrame,
    FieryHead,
    FlowWarpPredictor,
    Gaussian,
    LatentDistribution,
    kl_divergence,
)
from bevkit.models.layers import Bottleneck
from bevkit.structures import BEVGrid

GRID = BEVGrid(x=(-13, 13, 2), y=(-11, 11, 2))  # 11 x 13 cells: odd at every level
BEVERSE = dict(distribution=dict(type="LatentDistribution", stages=2, spatial=True),
               predictor=dict(type="FlowWarpPredictor"))
FIERY = dict(predictor=dict(type="ConvGRUPredictor", units=2, bottlenecks=1))
BOTH = pytest.mark.parametrize("options", [FIERY, BEVERSE], ids=["FIERY", "BEVerse"])


def head_with(options: dict, future: int = 2, **more) -> FieryHead:
    torch.manual_seed(0)
    return FieryHead(GRID, in_channels=6, future=future, latent_dim=3,
                     decoder=dict(type="ResNetUNet", stages=(6, 8, 8), blocks=(1, 1, 1)),
                     coder=dict(type="InstanceCenterCoder"), **options, **more).eval()


def truth(batch: int = 3, future: int = 2) -> dict[str, torch.Tensor]:
    """A block that moves two cells a frame to the left."""
    frames = future + 1
    targets = {"segmentation": torch.zeros(batch, frames, *GRID.shape, dtype=torch.int64),
               "centerness": torch.zeros(batch, frames, 1, *GRID.shape),
               "offset": torch.full((batch, frames, 2, *GRID.shape), 255.0),
               "flow": torch.full((batch, frames, 2, *GRID.shape), 255.0)}
    for time in range(frames):
        block = (slice(None), time, ..., slice(3, 6), slice(8 - 2 * time, 11 - 2 * time))
        targets["segmentation"][block] = 1
        targets["centerness"][:, time, 0, 4, 9 - 2 * time] = 1.0
        targets["offset"][block] = 0.0
        if time < future:
            targets["flow"][block] = torch.tensor([-2.0, 0.0])[:, None, None]
    return targets


def map_of(targets: dict[str, torch.Tensor]) -> torch.Tensor:
    return targets["segmentation"][:, :1].float().expand(-1, 6, -1, -1) + 0.3 * torch.rand(3, 6, *GRID.shape)


def test_a_decoder_may_change_the_channels():
    torch.manual_seed(0)
    head = FieryHead(GRID, in_channels=6, future=1, latent_dim=3, decoder=dict(type="ResidualMap", channels=10))
    raw = head(torch.randn(2, 6, *GRID.shape))
    assert head.segmentation_head[0].in_channels == 10 and raw.flow.shape == (2, 2, 2, *GRID.shape)


@BOTH
def test_loss_falls_when_the_truth_is_followed(options):
    head, targets = head_with(options, kl_weight=1.0).train(), truth()
    bev = map_of(targets)
    optimizer = torch.optim.Adam([weight for name, weight in head.named_parameters() if "log_variance" not in name],
                                 lr=1e-2)
    totals = []
    for _ in range(25):
        losses = head.loss(head(bev, targets), targets)
        assert all(name.startswith("loss_") for name in losses) and "loss_kl" in losses
        total = sum(losses.values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert sum(totals[-3:]) < 0.4 * sum(totals[:3])
    for name in ("present_distribution", "future_distribution", "predictor", "decoder", "flow_head"):
        assert all(weight.grad is not None for weight in getattr(head, name).parameters()), name


@BOTH
@torch.no_grad()
def test_samples_of_a_batch_do_not_meet(options):
    head, bev = head_with(options), torch.randn(3, 6, *GRID.shape)
    whole, alone = head(bev), head(bev[1:2])
    for name, values in whole._asdict().items():
        torch.testing.assert_close(values[1:2], getattr(alone, name), rtol=1e-4, atol=1e-5, msg=name)
    assert not torch.allclose(whole.segmentation[0], whole.segmentation[1])


@BOTH
@torch.no_grad()
def test_futures_differ_and_the_present_does_not(options):
    head, bev = head_with(options), torch.randn(2, 6, *GRID.shape)
    first, second, again = *head.samples(bev, 2, torch.Generator().manual_seed(1)), \
        head.samples(bev, 1, torch.Generator().manual_seed(1))[0]
    assert torch.equal(first.segmentation, again.segmentation)
    for name in ("segmentation", "center", "offset", "flow"):
        one, other = getattr(first, name), getattr(second, name)
        torch.testing.assert_close(one[:, 0], other[:, 0])
        assert ((one - other)[:, 1:].abs().amax(dim=(2, 3, 4)) > 1e-6).all(), name
    head.present_distribution.log_sigma_limits = (-40.0, -40.0)  # without doubt there is one future, that of the mean
    torch.testing.assert_close(head.samples(bev, 1)[0].flow, head(bev).flow)


@BOTH
def test_half_precision_sees_the_same(options):
    head, targets = head_with(options), truth()
    bev = map_of(targets)
    with torch.no_grad():
        precise = head(bev)
    with torch.autocast("cpu", torch.bfloat16):
        coarse = head(bev)
        losses = head.loss(head(bev, targets), targets)
    for name, values in precise._asdict().items():
        difference = (getattr(coarse, name).float() - values).abs().max()
        assert difference < 0.05 * values.abs().max(), name
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())


def test_in_training_the_future_is_seen():
    head, targets = head_with(FIERY), truth()
    bev = map_of(targets)
    seen, unseen = head(bev, targets), head(bev)
    assert seen.latent_mean.shape == (3, 2, 3, 1, 1) and unseen.latent_mean.shape == (3, 1, 3, 1, 1)
    assert set(head.loss(unseen, targets)) == set(head.loss(seen, targets)) - {"loss_kl"}
    with pytest.raises(ValueError, match="the distributions learn nothing"):
        head.train().loss(unseen, targets)
    head.eval()
    later = {name: value.clone() for name, value in targets.items()}
    later["segmentation"][:, 0] = 1  # the present is no news
    torch.testing.assert_close(head(bev, later).latent_mean, seen.latent_mean)
    later["segmentation"][:, 2] = 1
    assert not torch.allclose(head(bev, later).latent_mean[:, 1], seen.latent_mean[:, 1])


@pytest.mark.parametrize("raw_labels", [False, True])
@torch.no_grad()
def test_what_is_not_supervised_is_not_seen(raw_labels):
    head, targets = head_with(FIERY, raw_labels=raw_labels), truth()
    bev, marked = map_of(targets), truth()
    marked["flow"][marked["flow"] == 255] = 0
    same = torch.allclose(head(bev, targets).latent_mean, head(bev, marked).latent_mean)
    assert same is not raw_labels


def test_targets_of_other_frames_are_refused():
    head, bev = head_with(FIERY), torch.randn(3, 6, *GRID.shape)
    with pytest.raises(ValueError, match="expected targets of 3 frames"):
        head(bev, truth(future=1))
    with pytest.raises(ValueError, match="expected targets of 3 frames"):
        head.loss(head(bev), truth(future=3))


def test_a_head_without_a_future_has_neither_flow_nor_chance():
    head, targets = head_with(FIERY, future=0), truth(future=0)
    raw = head(map_of(targets), targets)
    assert isinstance(raw, FieryFrame) and raw.offset.shape == (3, 1, 2, *GRID.shape)
    assert not any("flow" in name or "kl" in name for name in head.loss(raw, targets))
    assert not [name for name, _ in head.named_parameters() if "distribution" in name or "predictor" in name]
    assert head.predict(raw)[0].ids.shape == (1, *GRID.shape)
    with pytest.raises(ValueError, match="future=0"):
        head.samples(torch.randn(1, 6, *GRID.shape), 2)


def test_divergence_is_that_of_torch():
    this, other = (Gaussian(torch.randn(2, 5, 3, 4), torch.randn(2, 5, 3, 4)) for _ in range(2))
    expected = kl_of_torch(*(Normal(each.mean, each.log_sigma.exp()) for each in (this, other))).sum(1).mean()
    torch.testing.assert_close(kl_divergence(this, other), expected)
    assert kl_divergence(this, this).abs() < 1e-6


@torch.no_grad()
def test_drawn_vectors_follow_the_distribution():
    torch.manual_seed(0)
    gaussian = Gaussian(torch.full((20000, 1, 1, 1), 3.0), torch.full((20000, 1, 1, 1), -1.0))
    drawn = gaussian.sample()
    assert drawn.mean().item() == pytest.approx(3, abs=0.02)
    assert drawn.std().item() == pytest.approx(torch.tensor(-1.0).exp().item(), abs=0.02)


def transposed(module: nn.Module) -> nn.Module:
    """Exchanges x and y in all kernels, in place."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            part.weight.data = part.weight.data.transpose(-1, -2).contiguous()
    return module


@pytest.mark.parametrize("kind", [ConvGRUPredictor, FlowWarpPredictor])
@torch.no_grad()
def test_predictors_know_their_axes(kind):
    """On a map whose axes are exchanged the same network with exchanged kernels sees the same world."""
    torch.manual_seed(0)
    predictor = kind(6, 3).eval()
    if kind is FlowWarpPredictor:  # flows of some cells
        predictor.flow[-1].weight.mul_(50)
    latent, bev = torch.randn(2, 2, 3, *GRID.shape), torch.randn(2, 6, *GRID.shape)
    expected = predictor(latent, bev)
    transposed(predictor)
    if kind is FlowWarpPredictor:  # channel 0 is x
        for parameter in predictor.flow[-1].parameters():
            parameter.data = parameter.data.flip(0)
    ours = predictor(latent.transpose(-1, -2), bev.transpose(-1, -2)).transpose(-1, -2)
    torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_a_spatial_distribution_keeps_its_place():
    part, bev = LatentDistribution(6, 3, stages=2, spatial=True).eval(), torch.zeros(1, 6, 40, 24)
    other = bev.clone()
    other[..., 20:, :] = 1
    moved = (part(other).mean - part(bev).mean).abs().amax(dim=(0, 1))  # [10 6]
    assert moved.shape == (10, 6) and moved[:3].max() == 0 and (moved[6:] > 0).any()


@torch.no_grad()
def test_a_bottleneck_of_odd_size_is_halved_as_if_zeros_followed():
    block, x = Bottleneck(4, 6, down=True).eval(), torch.randn(1, 4, 5, 7) - 3
    even = block(torch.nn.functional.pad(x, (0, 1, 0, 1)))
    assert block(x).shape == even.shape == (1, 6, 3, 4)
    assert torch.allclose(block(x), even, atol=1e-6)
