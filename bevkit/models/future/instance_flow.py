"""What the heads have in common that say where vehicles are and where they came from: outputs, losses, decoding."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from bevkit.models.future.base import FutureHead
from bevkit.models.losses import MaskedRegression, TopKCrossEntropy, UncertaintyWeight
from bevkit.registry import built
from bevkit.structures.results import FutureInstances


class InstanceFlowOutput(NamedTuple):
    """Frames run from one before the present to the last future one, F+2 in all.

    segmentation: [B F+2 K Y X] class logits.
    flow: [B F+2 2 Y X] cells from a cell at t to the centre of its instance at t-1, channel 0 = x, 1 = y.
    """

    segmentation: Tensor
    flow: Tensor


class InstanceFlowHead(FutureHead):
    """Predicts class and backward flow of every cell for the frames t-1 .. t+F (PowerBEV, IJCAI 2023, section 3.4).

    An answer builds its network and its ``coder`` and ends with `build_losses`; it writes ``forward`` alone.
    """

    coder: Any

    def build_losses(self, segmentation_loss: Any = None, flow_loss: Any = None, segmentation_weight: Any = None,
                     flow_weight: Any = None) -> None:
        """Takes modules or configs of the two losses and of the learned weights between them; None is PowerBEV's."""
        self.segmentation_loss = built(segmentation_loss) or TopKCrossEntropy()
        self.flow_loss = built(flow_loss) or MaskedRegression()
        self.segmentation_weight = built(segmentation_weight) or UncertaintyWeight(100.0)
        self.flow_weight = built(flow_weight) or UncertaintyWeight(0.05)

    def loss(self, raw: InstanceFlowOutput, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compares with targets ``segmentation`` [B F+2 Y X] and ``flow`` [B F+2 2 Y X]; 255 is ignored in both."""
        frames, given = raw.segmentation.shape[1], targets["segmentation"].shape[1]
        if given != frames:
            raise ValueError(f"{type(self).__name__}: expected targets of {frames} frames, past to future, got {given};"
                             " train it on clips (not --stream) with the past and future that the head is built for")
        segmentation = self.segmentation_loss(raw.segmentation, targets["segmentation"])
        flow = self.flow_loss(raw.flow, targets["flow"])
        losses = {}
        losses["loss_segmentation"], losses["loss_segmentation_uncertainty"] = self.segmentation_weight(segmentation)
        losses["loss_flow"], losses["loss_flow_uncertainty"] = self.flow_weight(flow)
        return losses

    @torch.no_grad()
    def predict(self, raw: InstanceFlowOutput) -> list[FutureInstances]:
        return self.coder.decode(raw)
