"""PowerBEV's head: two spatio-temporal networks, one says where vehicles are, one where they came from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from bevkit.models.future.instance_flow import InstanceFlowHead, InstanceFlowOutput
from bevkit.models.future.layers import FrameHead, SpatioTemporalUNet
from bevkit.registry import MODELS, built
from bevkit.structures.grid import BEVGrid


@MODELS.register_module()
class PowerBEVHead(InstanceFlowHead):
    """Predicts class and backward flow of every cell for the frames t-1 .. t+F (PowerBEV, IJCAI 2023).

    Args:
        grid: of the BEV map; handed to the coder.
        in_channels: C of the BEV map, all frames together.
        frames: T, number of frames folded into the input's channels; sets the width of the encoder.
        future: F, number of future frames.
        num_features, latent_dim, num_blocks: levels, channels per frame of the decoder's output, blocks a level.
        classes: K; 0 is background.
        coder: module or config with ``decode``; needed by `predict` only.
        segmentation_loss, flow_loss: module or config; the defaults are the paper's.
        segmentation_weight, flow_weight: module or config of the learned weights between both losses.
        norm_momentum: momentum of the batch norms.
    """

    def __init__(self, grid: BEVGrid, in_channels: int, frames: int = 3, future: int = 4,
                 num_features: Sequence[int] = (16, 24, 32, 48, 64), latent_dim: int = 16, num_blocks: int = 3,
                 classes: int = 2, coder: Any = None, segmentation_loss: Any = None, flow_loss: Any = None,
                 segmentation_weight: Any = None, flow_weight: Any = None, norm_momentum: float = 0.1) -> None:
        super().__init__()
        self.coder = built(coder, grid=grid)

        def branch() -> SpatioTemporalUNet:
            return SpatioTemporalUNet(in_channels, frames, future + 2, num_features, latent_dim, num_blocks,
                                      norm_momentum)

        self.segmentation_branch, self.flow_branch = branch(), branch()
        self.segmentation_head = FrameHead(latent_dim, classes, norm_momentum)
        self.flow_head = FrameHead(latent_dim, 2, norm_momentum)
        # Nearly every cell is background: start from there (sigmoid of 4.6 = 0.99).
        bias = self.segmentation_head[-1].bias
        nn.init.zeros_(bias)
        nn.init.constant_(bias[:1], 4.6)
        self.build_losses(segmentation_loss, flow_loss, segmentation_weight, flow_weight)

    def forward(self, bev: Tensor) -> InstanceFlowOutput:
        return InstanceFlowOutput(_per_frame(self.segmentation_head, self.segmentation_branch(bev)),
                                  _per_frame(self.flow_head, self.flow_branch(bev)))


def _per_frame(head: nn.Module, features: Tensor) -> Tensor:
    return head(features.flatten(0, 1)).unflatten(0, features.shape[:2])  # [B F+2 K Y X]
