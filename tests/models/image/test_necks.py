"""Necks: sizes, strides and who speaks to whom."""

import pytest
import torch

from bevkit.models.image import FPN, SecondFPN

CHANNELS, STRIDES = (4, 6, 8, 10), (4, 8, 16, 32)


def pyramid():
    return [torch.randn(2, channels, 64 // stride, 96 // stride) for channels, stride in zip(CHANNELS, STRIDES)]


def test_second_fpn_joins_all_levels_at_one_stride():
    neck = SecondFPN(CHANNELS, STRIDES, (2, 3, 4, 5), out_stride=16)
    (maps,) = neck(pyramid())
    assert neck.channels == (14,) and neck.strides == (16,) and maps.shape == (2, 14, 4, 6)


@pytest.mark.parametrize(("options", "strides"), [
    (dict(), (4, 8, 16, 32)), (dict(outputs=1), (4,)), (dict(extra_levels=2), (4, 8, 16, 32, 64, 128))])
def test_fpn_outputs(options, strides):
    neck = FPN(CHANNELS, STRIDES, 7, **options)
    maps = neck(pyramid())
    assert neck.strides == strides and neck.channels == (7,) * len(strides)
    assert [tuple(part.shape[1:]) for part in maps[:4]] == [(7, 64 // s, 96 // s) for s in strides[:4]]


def test_coarse_levels_reach_fine_ones_and_not_the_other_way():
    neck, features = FPN(CHANNELS, STRIDES, 7), [part.requires_grad_() for part in pyramid()]
    fine, *_, coarse = neck(features)
    assert all(part is not None for part in torch.autograd.grad(fine.sum(), features, retain_graph=True))
    grads = torch.autograd.grad(coarse.sum(), features, allow_unused=True)
    assert [part is None for part in grads] == [True, True, True, False]


def test_extra_levels_of_every_second_cell_have_no_weights():
    neck = FPN(CHANNELS, STRIDES, 7, extra_levels=2, extra="every_second")
    *_, coarse, fifth, sixth = neck(pyramid())
    assert torch.equal(fifth, coarse[..., ::2, ::2]) and torch.equal(sixth, fifth[..., ::2, ::2])
    assert set(neck.state_dict()) == set(FPN(CHANNELS, STRIDES, 7).state_dict())
    with pytest.raises(ValueError, match="extra: expected one of"):
        FPN(CHANNELS, STRIDES, 7, extra="none")


def test_extra_levels_need_all_outputs():
    with pytest.raises(ValueError, match="extra levels"):
        FPN(CHANNELS, STRIDES, 7, outputs=2, extra_levels=1)
