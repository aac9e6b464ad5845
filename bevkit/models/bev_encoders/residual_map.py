"""A few residual blocks on a BEV map."""

from __future__ import annotations

from torch import Tensor, nn

from bevkit.models.layers import ResidualStages
from bevkit.registry import MODELS
from bevkit.structures import BEVGrid


@MODELS.register_module()
class ResidualMap(nn.Module):
    """Mixes a BEV map [B C Y X] without changing its size: BEVDet4D's network on each frame before the fusion.

    Args:
        grid: of the map; any.
        in_channels: C.
        channels: of the result; C by default.
        blocks: how many.
    """

    def __init__(self, grid: BEVGrid, in_channels: int, channels: int | None = None, blocks: int = 2) -> None:
        super().__init__()
        self.channels = channels or in_channels
        self.backbone = ResidualStages(in_channels, (self.channels,), (blocks,), (1,))

    def forward(self, bev: Tensor) -> Tensor:
        return self.backbone(bev)[0]
