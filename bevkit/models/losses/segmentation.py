"""Segmentation losses on maps of several frames."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bevkit.models.losses.common import at_least_float32, frame_discounts
from bevkit.registry import MODELS

IGNORE = 255


def topk_cross_entropy(logits: Tensor, target: Tensor, class_weights: Tensor | None = None, ratio: float = 0.25,
                       discount: float = 1.0, ignore: int = IGNORE) -> Tensor:
    """Averages the cross entropy of the hardest cells of every frame (FIERY, section 3.6).

    Args:
        logits: [B T K Y X].
        target: [B T Y X] class indices; cells with ``ignore`` count as loss 0.
        class_weights: [K] factors of the cells of each class; the mean is not divided by them.
        ratio: share of the cells of a frame that counts, 1 for all.
        discount: factor of frame t is ``discount ** t``.

    Returns:
        a scalar.
    """
    batch, frames = target.shape[:2]
    logits = at_least_float32(logits)
    weight = None if class_weights is None else class_weights.to(logits)
    loss = F.cross_entropy(logits.flatten(0, 1), target.flatten(0, 1), weight, reduction="none", ignore_index=ignore)
    loss = loss.flatten(1).unflatten(0, (batch, frames))  # [B T Y*X]
    loss = loss * frame_discounts(frames, discount, loss)[:, None]
    if ratio < 1:
        loss = loss.topk(int(ratio * loss.shape[-1]), dim=-1, sorted=False).values
    return loss.mean()


@MODELS.register_module()
class TopKCrossEntropy(nn.Module):
    """`topk_cross_entropy` with its options; the defaults are PowerBEV's."""

    def __init__(self, class_weights: Sequence[float] = (1.0, 2.0), ratio: float = 0.25, discount: float = 0.95,
                 ignore: int = IGNORE) -> None:
        super().__init__()
        self.ratio, self.discount, self.ignore = ratio, discount, ignore
        self.class_weights: Tensor
        self.register_buffer("class_weights", torch.tensor(class_weights, dtype=torch.float32), persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return topk_cross_entropy(logits, target, self.class_weights, self.ratio, self.discount, self.ignore)
