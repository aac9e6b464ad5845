"""Gates: one number per channel, made from something else than the image, that lets the channel through or not."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ChannelGate(nn.Module):
    """Scales the channels of maps [V C H W] by what a vector [V I] says of them (squeeze-and-excitation of BEVDepth).

    The vector goes through a two-layer perceptron to C numbers, these through two 1x1 convolutions and a sigmoid.

    Args:
        inputs: I, length of the vector.
        channels: C.
    """

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(inputs, channels), nn.ReLU(inplace=True), nn.Linear(channels, channels))
        self.gate = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.ReLU(inplace=True),
                                  nn.Conv2d(channels, channels, 1), nn.Sigmoid())

    def forward(self, maps: Tensor, vector: Tensor) -> Tensor:
        gate: Tensor = self.gate(self.embed(vector)[..., None, None])  # [V C 1 1]
        return torch.mul(maps, gate)
