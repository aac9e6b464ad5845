"""Shared layers: the exportable deformable convolution is torchvision's, the pyramid comes out at one size."""

import pytest
import torch
from torchvision.ops import deform_conv2d

from bevkit.models.layers import ASPP, ChannelGate, DeformableConv2d, PyramidConcat, deformable_conv_reference


@pytest.mark.parametrize(("size", "groups"), [((5, 7), 4), ((1, 6), 1)])
def test_deformable_convolution_by_sampling(size, groups):
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 8, *size, generator=generator, dtype=torch.float64).requires_grad_()
    offsets = (3 * torch.randn(2, 18, *size, generator=generator, dtype=torch.float64)).requires_grad_()
    weight = torch.randn(12, 8 // groups, 3, 3, generator=generator, dtype=torch.float64).requires_grad_()
    ours = deformable_conv_reference(maps, offsets, weight, groups)
    theirs = deform_conv2d(maps, offsets, weight, padding=1)
    assert torch.allclose(ours, theirs)
    for one, other in zip(torch.autograd.grad(ours.square().sum(), (maps, offsets, weight)),
                          torch.autograd.grad(theirs.square().sum(), (maps, offsets, weight))):
        assert torch.allclose(one, other)


def test_a_new_deformable_convolution_is_a_plain_one():
    conv = DeformableConv2d(8, 4, groups=2)
    maps = torch.randn(1, 8, 5, 6)
    plain = torch.nn.functional.conv2d(maps, conv.weight, padding=1, groups=2)
    assert torch.allclose(conv(maps), plain, atol=1e-5)


def test_a_gate_scales_channels_between_nothing_and_all():
    maps, gate = torch.rand(3, 4, 2, 2) + 0.1, ChannelGate(5, 4)
    ratio = gate(maps, torch.randn(3, 5)) / maps
    assert torch.allclose(ratio, ratio[..., :1, :1].expand_as(ratio)) and (ratio > 0).all() and (ratio < 1).all()


def test_spatial_pyramid_sees_the_whole_map():
    aspp = ASPP(4).eval()
    maps = torch.randn(1, 4, 9, 40).requires_grad_()
    (grad,) = torch.autograd.grad(aspp(maps)[0, :, 0, 0].sum(), maps)
    assert grad[0, :, 8, 39].abs().sum() > 0  # far outside of the widest kernel


def test_levels_come_to_one_size():
    pyramid = PyramidConcat((3, 4, 5), (0.5, 1, 4), (6, 7, 8))
    maps = [torch.randn(2, 3, 16, 8), torch.randn(2, 4, 8, 4), torch.randn(2, 5, 2, 1)]
    assert pyramid(maps).shape == (2, 21, 8, 4) and pyramid.channels == 21
