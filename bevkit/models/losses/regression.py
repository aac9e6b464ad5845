"""Regression of vectors where the truth has them."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from bevkit.models.losses.common import at_least_float32, frame_discounts
from bevkit.registry import MODELS

Norm = Literal["l1", "smooth_l1", "squared"]
_NORMS = {"l1": F.l1_loss, "smooth_l1": F.smooth_l1_loss, "squared": F.mse_loss}


def masked_regression(prediction: Tensor, target: Tensor, norm: Norm = "smooth_l1", discount: float = 1.0,
                      ignore: float = 255.0) -> Tensor:
    """Averages the distance of vectors over the cells that have one (FIERY, section 3.6).

    Args:
        prediction: [B T C Y X].
        target: [B T C Y X]; a cell whose vector holds ``ignore`` does not count.
        norm: per number; summed over C.
        discount: factor of frame t is ``discount ** t``.

    Returns:
        a scalar, 0 when no cell counts.
    """
    valid = (target != ignore).all(dim=2)  # [B T Y X]
    prediction = at_least_float32(prediction)
    loss = _NORMS[norm](prediction, target.to(prediction), reduction="none").sum(dim=2)  # [B T Y X]
    loss = loss * frame_discounts(loss.shape[1], discount, loss)[:, None, None]
    return loss.where(valid, loss.new_zeros(())).sum() / valid.sum().clamp(min=1)


@MODELS.register_module()
class MaskedRegression(nn.Module):
    """`masked_regression` with its options; the defaults are PowerBEV's."""

    def __init__(self, norm: Norm = "smooth_l1", discount: float = 0.95, ignore: float = 255.0) -> None:
        super().__init__()
        if norm not in _NORMS:
            raise ValueError(f"norm: expected one of {sorted(_NORMS)}, got {norm!r}")
        self.norm, self.discount, self.ignore = norm, discount, ignore

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        return masked_regression(prediction, target, self.norm, self.discount, self.ignore)
