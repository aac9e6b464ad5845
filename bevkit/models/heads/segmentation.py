"""Says for every cell of the present what stands there."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bevkit.models.losses import TopKCrossEntropy, UncertaintyWeight
from bevkit.registry import MODELS, built
from bevkit.structures.grid import BEVGrid
from bevkit.structures.results import FutureInstances


class SegmentationOutput(NamedTuple):
    """segmentation: [B 1 K Y X] class logits of the present; the frame axis is kept as in the heads of the future."""

    segmentation: Tensor


@MODELS.register_module()
class SegmentationHead(nn.Module):
    """Classifies the cells of the present from a BEV map [B C Y X] (FIERY's decoder head).

    PowerBEV pre-trains its image encoder with it, on single frames.

    Args:
        grid: of the BEV map; handed to the coder.
        in_channels: C.
        classes: K; 0 is background.
        coder: object or config with ``decode``; needed by `predict` only.
        segmentation_loss, segmentation_weight: module or config; the defaults are PowerBEV's.
        norm_momentum: momentum of the batch norm.
    """

    def __init__(self, grid: BEVGrid, in_channels: int, classes: int = 2, coder: Any = None,
                 segmentation_loss: Any = None, segmentation_weight: Any = None, norm_momentum: float = 0.1) -> None:
        super().__init__()
        self.coder = built(coder, grid=grid)
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, in_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(in_channels, momentum=norm_momentum),
            nn.ReLU(inplace=True),
            nn.Conv2d(in_channels, classes, 1),
        )
        self.segmentation_loss = built(segmentation_loss) or TopKCrossEntropy()
        self.segmentation_weight = built(segmentation_weight) or UncertaintyWeight(100.0)

    def forward(self, bev: Tensor) -> SegmentationOutput:
        return SegmentationOutput(self.layers(bev).unsqueeze(1))

    def loss(self, raw: SegmentationOutput, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compares with the target ``segmentation`` [B 1 Y X]; 255 is ignored."""
        loss = self.segmentation_loss(raw.segmentation, targets["segmentation"])
        losses = {}
        losses["loss_segmentation"], losses["loss_segmentation_uncertainty"] = self.segmentation_weight(loss)
        return losses

    @torch.no_grad()
    def predict(self, raw: SegmentationOutput) -> list[FutureInstances]:
        return self.coder.decode(raw)
