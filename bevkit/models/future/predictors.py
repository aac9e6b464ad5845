"""From the present BEV map to future ones: recurrent predictors of FIERY (ICCV 2021) and BEVerse (2022)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bevkit.geometry.warp import warp_flow
from bevkit.models.layers import Bottleneck, conv_norm_relu
from bevkit.registry import MODELS


class ConvGRUCell(nn.Module):
    """A gated recurrent unit whose products are 3x3 convolutions (Ballas et al., ICLR 2016).

    As in FIERY the reset gate says how much of the state is forgotten.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.update = nn.Conv2d(in_channels + channels, channels, 3, padding=1)
        self.reset = nn.Conv2d(in_channels + channels, channels, 3, padding=1)
        self.candidate = conv_norm_relu(in_channels + channels, channels, 3)

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        """Turns an input [B I Y X] and a state [B C Y X] into the next state."""
        both = torch.cat((x, state), dim=1)
        update, reset = self.update(both).sigmoid(), self.reset(both).sigmoid()
        candidate = self.candidate(torch.cat((x, (1 - reset) * state), dim=1))
        return (1 - update) * state + update * candidate


@MODELS.register_module()
class ConvGRUPredictor(nn.Module):
    """Predicts future maps by gated recurrent units, each followed by bottlenecks (FIERY, "Future prediction").

    Every unit begins with the present map as its state. The first one is told the latent vectors, the others the frames
    that the one before them made.

    Args:
        in_channels: C of the maps.
        latent_dim: L of the latent vectors.
        units: recurrent units.
        bottlenecks: behind each of them.
    """

    def __init__(self, in_channels: int, latent_dim: int, units: int = 3, bottlenecks: int = 3) -> None:
        super().__init__()
        self.units = nn.ModuleList(ConvGRUCell(in_channels if index else latent_dim, in_channels)
                                   for index in range(units))
        self.blocks = nn.ModuleList(nn.Sequential(*[Bottleneck(in_channels, in_channels) for _ in range(bottlenecks)])
                                    for _ in range(units))

    def forward(self, latent: Tensor, bev: Tensor) -> Tensor:
        """Turns latent maps [B F L Y X] and the present [B C Y X] into future maps [B F C Y X]."""
        frames = latent
        for unit, blocks in zip(self.units, self.blocks):
            frames = unroll(unit, frames, bev)
            frames = blocks(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        return frames


def unroll(unit: ConvGRUCell, frames: Tensor, state: Tensor) -> Tensor:
    """Runs a unit over frames [B F I Y X], from a state [B C Y X]: [B F C Y X]."""
    states = []
    for frame in frames.unbind(dim=1):
        state = unit(frame, state)
        states.append(state)
    return torch.stack(states, dim=1)


@MODELS.register_module()
class FlowWarpPredictor(nn.Module):
    """Predicts future maps one from another: each is warped by a flow of its own, then updated (BEVerse, 2022).

    Args:
        in_channels: C of the maps.
        latent_dim: L of the latent vectors.
        units: gated recurrent units of a step; all of them take the map before it was warped as their state.
        detach: let no gradient pass from a frame to the one before it.
    """

    def __init__(self, in_channels: int, latent_dim: int, units: int = 1, detach: bool = True) -> None:
        super().__init__()
        self.detach = detach
        both = latent_dim + in_channels
        self.flow = nn.Sequential(conv_norm_relu(both, both, 3), nn.Conv2d(both, 2, 1))
        nn.init.normal_(self.flow[-1].weight, std=0.02)  # first, all but stands still
        nn.init.zeros_(self.flow[-1].bias)
        self.units = nn.ModuleList(ConvGRUCell(in_channels if index else both, in_channels) for index in range(units))
        self.mix = conv_norm_relu(in_channels, in_channels, 3)

    def forward(self, latent: Tensor, bev: Tensor) -> Tensor:
        """Turns latent maps [B F L Y X] and the present [B C Y X] into future maps [B F C Y X]."""
        state, states = bev, []
        for chance in latent.unbind(dim=1):
            flow = self.flow(torch.cat((chance, state), dim=1))  # [B 2 Y X] cells, channel 0 = x
            # In float32 under mixed precision too: half a cell is lost where bfloat16 rounds the sampled positions.
            warped = warp_flow(state.float(), flow.float(), mode="bilinear").to(state.dtype)
            x = torch.cat((warped, chance), dim=1)
            for unit in self.units:
                x = unit(x, state)
            states.append(self.mix(x))
            state = states[-1].detach() if self.detach else states[-1]
        return torch.stack(states, dim=1)
