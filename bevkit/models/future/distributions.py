"""What may come, as a normal distribution of a latent vector (FIERY, ICCV 2021, "Present and future distributions")."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from bevkit.models.layers import Bottleneck
from bevkit.registry import MODELS


class Gaussian(NamedTuple):
    """Independent normal distributions: mean and logarithm of the standard deviation, each [B L y x]."""

    mean: Tensor
    log_sigma: Tensor

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Draws one latent map [B L y x]; gradients reach both parameters (Kingma and Welling, 2014)."""
        noise = torch.randn(self.mean.shape, generator=generator, device=self.mean.device, dtype=self.mean.dtype)
        return self.mean + self.log_sigma.exp() * noise


def kl_divergence(this: Gaussian, other: Gaussian) -> Tensor:
    """Returns KL(this || other), summed over the latent's L numbers, averaged over all else: a scalar."""
    gap = (this.mean - other.mean) ** 2
    ratio = (2 * (this.log_sigma - other.log_sigma)).exp()  # of the variances
    divergence = other.log_sigma - this.log_sigma + 0.5 * (ratio + gap / (2 * other.log_sigma).exp() - 1)
    return divergence.sum(dim=1).mean()


@MODELS.register_module()
class LatentDistribution(nn.Module):
    """Turns maps [B C Y X] into a distribution of latent vectors.

    Args:
        in_channels: C.
        latent_dim: L.
        stages: bottlenecks, each of which halves the map.
        spatial: keep a vector at every cell of the small map (BEVerse, with 2 stages), instead of one of the whole map.
        log_sigma_limits: the logarithm of the standard deviation stays within.
    """

    def __init__(self, in_channels: int, latent_dim: int, stages: int = 4, spatial: bool = False,
                 log_sigma_limits: tuple[float, float] = (-5.0, 5.0)) -> None:
        super().__init__()
        self.spatial, self.log_sigma_limits = spatial, tuple(log_sigma_limits)
        half = in_channels // 2
        self.encoder = nn.Sequential(*[Bottleneck(half if stage else in_channels, half, down=True)
                                       for stage in range(stages)])
        self.parameters_of = nn.Conv2d(half, 2 * latent_dim, 1)

    def forward(self, maps: Tensor) -> Gaussian:
        """Returns the distribution [B L y x] in float32; y = x = 1, or ``spatial``: Y and X halved ``stages`` times."""
        encoded = self.encoder(maps)
        if not self.spatial:
            encoded = encoded.mean(dim=(-2, -1), keepdim=True)
        mean, log_sigma = self.parameters_of(encoded).float().chunk(2, dim=1)
        return Gaussian(mean, log_sigma.clamp(*self.log_sigma_limits))
