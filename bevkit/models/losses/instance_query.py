"""Queries that answer for an instance with a class, a box and a mask in every frame (FipTR, ECCV 2024, section 3.4)."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from bevkit.models.losses.common import mean_count
from bevkit.models.losses.focal import binary_focal
from bevkit.models.losses.masks import dice, dice_cost, flow_with_rest
from bevkit.models.losses.query import QueryLoss
from bevkit.registry import MODELS, built


class InstanceOutput(Protocol):
    """scores [L B Q K], boxes [L B Q 10], masks [B Q F+1 Y X] and flow [B F 2 Y X], as `FipTROutput` has them."""

    @property
    def scores(self) -> Tensor: ...

    @property
    def boxes(self) -> Tensor: ...

    @property
    def masks(self) -> Tensor: ...

    @property
    def flow(self) -> Tensor: ...


@MODELS.register_module()
class InstanceQueryLoss(nn.Module):
    """Matches queries with instances over all frames, then asks for class, box, masks and flow.

    Future instance matching: after the last layer, a query costs an instance class, box and the Dice cost of its masks,
    summed over the present and all future frames. Layers before are matched by class and box alone.

    Args:
        mask_weight: of the focal loss of the masks.
        dice_weight: of the Dice loss, in the matching as in the loss.
        flow_weight: of the flow.
        query: module or config of the matching and losses of class and box; `QueryLoss` by default.
        ignore: a flow that is none.
    """

    def __init__(self, mask_weight: float = 10.0, dice_weight: float = 1.0, flow_weight: float = 0.1,
                 query: Any = None, ignore: float = 255.0) -> None:
        super().__init__()
        self.mask_weight, self.dice_weight, self.flow_weight = mask_weight, dice_weight, flow_weight
        self.ignore = ignore
        self.query = built(query) or QueryLoss()

    def forward(self, raw: InstanceOutput, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compares with the targets ``boxes`` [B A 9], ``labels`` [B A] (-1 = none), ``masks`` [B A F+1 Y X] of 0 and 1
        and ``flow`` [B F 2 Y X].

        Returns:
            loss_class and loss_box of the last layer, layerN.loss_class and layerN.loss_box of those before,
            frameT.loss_mask and frameT.loss_dice of the frames from the present on, and loss_flow.
        """
        masks, truth = raw.masks, targets["masks"]
        if truth.shape[2:] != masks.shape[2:]:
            raise ValueError(f"InstanceQueryLoss: expected true masks of {list(masks.shape[2:])} frames, rows and "
                             f"columns, got {list(truth.shape[2:])}; train on clips with the future and the grid that "
                             "the head is built for")

        def mask_cost(sample: int, objects: Tensor) -> Tensor:
            frames = zip(masks[sample].detach().unbind(1), truth[sample, objects].unbind(1))
            return self.dice_weight * torch.stack([dice_cost(*frame) for frame in frames]).sum(dim=0)

        losses = {}
        for layer, (scores, codes) in enumerate(zip(raw.scores[:-1], raw.boxes[:-1])):
            losses[f"layer{layer}.loss_class"], losses[f"layer{layer}.loss_box"], _ = self.query.layer(
                scores, codes, targets)
        losses["loss_class"], losses["loss_box"], objects = self.query.layer(
            raw.scores[-1], raw.boxes[-1], targets, mask_cost)
        losses.update(self._masks(masks, truth, objects))
        losses["loss_flow"] = self.flow_weight * flow_with_rest(raw.flow, targets["flow"], self.ignore)
        return losses

    def _masks(self, masks: Tensor, truth: Tensor, objects: Tensor) -> dict[str, Tensor]:
        """Compares the masks of the queries that answer for an object, [B Q] place among the A, -1 = none."""
        sample, query = (objects >= 0).nonzero(as_tuple=True)  # [P] each
        said, wanted = masks[sample, query], truth[sample, objects[sample, query]]  # [P F+1 Y X]
        count = mean_count(said.new_tensor(len(sample)))
        focal = binary_focal(said, wanted).mean(dim=(2, 3))  # [P F+1]
        losses = {}
        for frame, (mask, overlap) in enumerate(zip(focal.sum(dim=0) / count, dice(said, wanted).sum(dim=0) / count)):
            losses[f"frame{frame}.loss_mask"] = self.mask_weight * mask
            losses[f"frame{frame}.loss_dice"] = self.dice_weight * overlap
        return losses
