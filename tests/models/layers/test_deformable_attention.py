"""Attention modules refuse what cannot be."""

import pytest

from bevkit.models.layers.deformable_attention import CameraAttention, MapAttention


@pytest.mark.parametrize("attention", [MapAttention, CameraAttention])
def test_heads_divide_the_channels(attention):
    with pytest.raises(ValueError, match="expected a divisor of the 12 channels, got 8"):
        attention(12, heads=8)
    assert attention(12, heads=4).sampling.heads == 4
