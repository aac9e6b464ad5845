"""Networks on the BEV plane give maps of the size they get, on rectangular grids too."""

import pytest
import torch

from bevkit.registry import MODELS
from bevkit.structures import BEVGrid

GRID = BEVGrid(x=(0.0, 16.0, 0.5), y=(-4.0, 4.0, 0.5))


@pytest.mark.parametrize("config", [
    dict(type="ResNetUNet"), dict(type="ResNetPyramid", stages=(8, 12, 16), level_channels=(3, 4, 5, 6)),
    dict(type="ResidualFPN", stages=(8, 12, 16), channels=18)])
def test_size_stays_and_every_weight_learns(config):
    encoder = MODELS.build(config, default_args=dict(grid=GRID, in_channels=6))
    bev = encoder(torch.randn(2, 6, *GRID.shape))
    assert bev.shape == (2, encoder.channels, *GRID.shape)
    bev.square().mean().backward()
    assert all(weight.grad is not None for weight in encoder.parameters())


@pytest.mark.parametrize("kind", ["ResNetPyramid", "ResidualFPN"])
def test_grids_that_do_not_halve_are_refused(kind):
    with pytest.raises(ValueError, match="multiples of 8 cells"):
        MODELS.build(dict(type=kind), default_args=dict(grid=BEVGrid(x=(0, 10, 1), y=(0, 16, 1)), in_channels=2))
