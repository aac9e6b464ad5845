"""Learned weights between losses."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bevkit.registry import MODELS


@MODELS.register_module()
class UncertaintyWeight(nn.Module):
    """Scales a loss by a learned certainty exp(-s) and charges s/2 for doubt (Kendall et al., CVPR 2018, section 3).

    Args:
        scale: fixed factor of the loss.
    """

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.log_variance = nn.Parameter(torch.zeros(()))

    def forward(self, loss: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the weighted loss and the charge for doubt."""
        return self.scale * torch.exp(-self.log_variance) * loss, 0.5 * self.log_variance
