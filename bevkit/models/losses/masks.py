"""Losses and costs of masks, each of which is one object's."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bevkit.models.losses.common import at_least_float32


def dice_cost(logits: Tensor, masks: Tensor, smooth: float = 1e-3) -> Tensor:
    """Returns what it would cost each query to have each mask: 1 - Dice (V-Net, 3DV 2016, with plain sums below).

    Args: logits [Q *] before the sigmoid; masks [A *] of 0 and 1.

    Returns:
        [Q A] in 0..1.
    """
    said = at_least_float32(logits).sigmoid().flatten(1)  # [Q cells]
    masks = masks.flatten(1).to(said)  # [A cells]
    both = said @ masks.T
    return 1 - (2 * both + smooth) / (said.sum(dim=1)[:, None] + masks.sum(dim=1) + smooth)


def dice(logits: Tensor, masks: Tensor, smooth: float = 1.0) -> Tensor:
    """Returns 1 - Dice of each of P logits with its own mask, both [P T Y X]: [P T]."""
    said, masks = at_least_float32(logits).sigmoid().flatten(2), masks.flatten(2)
    masks = masks.to(said)
    both, sizes = (said * masks).sum(dim=2), said.sum(dim=2) + masks.sum(dim=2)
    return 1 - (2 * both + smooth) / (sizes + smooth)


def flow_with_rest(flow: Tensor, target: Tensor, ignore: float = 255.0) -> Tensor:
    """Averages, frame by frame, how far a flow is off where there is one, and how far from zero elsewhere.

    Args: flow, target [B T 2 Y X]; a number that is ``ignore`` belongs to no object.

    Returns:
        both means (smooth L1), summed over the frames.
    """
    flow = at_least_float32(flow)
    known = target != ignore
    loss = F.smooth_l1_loss(flow, torch.where(known, target, 0.0).to(flow), reduction="none")
    loss, known = loss.transpose(0, 1).flatten(1), known.transpose(0, 1).flatten(1)  # [T numbers]
    parts = [torch.where(part, loss, 0.0).sum(dim=1) / part.sum(dim=1).clamp(min=1) for part in (known, ~known)]
    return (parts[0] + parts[1]).sum()
