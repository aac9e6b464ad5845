"""Says for every cell which layers of the map it is in."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torchvision.ops import sigmoid_focal_loss

from bevkit.models.coders.map_layers import MapCoder
from bevkit.models.losses.common import at_least_float32
from bevkit.registry import MODELS, built
from bevkit.structures import BEVGrid, BEVMaps


class MapOutput(NamedTuple):
    """maps: [B K Y X] logits of the layers."""

    maps: Tensor


@MODELS.register_module()
class MapHead(nn.Module):
    """Two convolutions from the BEV map to a mask a layer, learned with the focal loss (VideoBEV's segmentation task).

    The paper does not describe its head. The focal loss without class weights is the usual choice for several layers in
    one head: vehicles cover a hundredth of the cells, roads half of them.

    Args:
        grid: of the map; handed to the coder.
        in_channels: C.
        hidden: width of the layer between.
        coder: object or config of a `MapCoder`, which names the K layers.
        gamma: of the focal loss.
        weight: of the loss, a mean over cells, summed over layers.
    """

    def __init__(self, grid: BEVGrid, in_channels: int, hidden: int = 64, coder: Any = None, gamma: float = 2.0,
                 weight: float = 10.0) -> None:
        super().__init__()
        self.coder = built(coder, grid=grid) or MapCoder(grid)
        self.gamma, self.weight = gamma, weight
        self.layers = nn.Sequential(nn.Conv2d(in_channels, hidden, 3, padding=1, bias=False), nn.BatchNorm2d(hidden),
                                    nn.ReLU(inplace=True), nn.Conv2d(hidden, len(self.coder.layers), 1))

    def forward(self, bev: Tensor) -> MapOutput:
        return MapOutput(self.layers(bev))

    def loss(self, raw: MapOutput, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compares with the target ``maps`` [B K Y X] of 0 and 1; returns loss_NAME of each layer."""
        losses = sigmoid_focal_loss(at_least_float32(raw.maps), targets["maps"], alpha=-1, gamma=self.gamma)
        means = losses.mean(dim=(0, 2, 3))
        return {f"loss_{name}": self.weight * mean for name, mean in zip(self.coder.layers, means)}

    @torch.no_grad()
    def predict(self, raw: MapOutput) -> list[BEVMaps]:
        result: list[BEVMaps] = self.coder.decode(raw)
        return result
