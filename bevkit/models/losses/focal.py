"""Focal losses: what is easy already teaches little."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bevkit.models.losses.common import at_least_float32

_CLAMP = 1e-4  # CenterPoint keeps probabilities this far from 0 and 1


def gaussian_focal(logits: Tensor, target: Tensor, alpha: float = 2.0, gamma: float = 4.0) -> Tensor:
    """Sums the penalty-reduced focal loss of heat maps (CornerNet, ECCV 2018, equation 1; CenterPoint, CVPR 2021).

    Args:
        logits: [*] before the sigmoid.
        target: [*] in 0..1: exactly 1 at centres, less around them, where a peak is forgiven.
        alpha: focus on what is not yet sure.
        gamma: how soon a peak beside a centre is forgiven.

    Returns:
        the sum, not divided by the number of centres.
    """
    probability = at_least_float32(logits).sigmoid().clamp(_CLAMP, 1 - _CLAMP)
    target = target.to(probability)
    at_center = -probability.log() * (1 - probability) ** alpha
    elsewhere = -(1 - probability).log() * probability ** alpha * (1 - target) ** gamma
    return torch.where(target == 1, at_center, elsewhere).sum()


def sigmoid_focal(logits: Tensor, labels: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Sums the focal loss of independent classes (RetinaNet, ICCV 2017).

    Args: logits [* K]; labels [*] int64, -1 = none of the classes.
    """
    target = labels.unsqueeze(-1) == torch.arange(logits.shape[-1], device=labels.device)  # [* K]
    return binary_focal(logits, target, alpha, gamma).sum()


def binary_focal(logits: Tensor, target: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Returns the focal loss of each of many yes or no questions: logits, target (0 and 1) and result [*]."""
    logits = at_least_float32(logits)
    target = target.to(logits)
    probability = logits.sigmoid()
    missed = (1 - probability) * target + probability * (1 - target)
    weight = alpha * target + (1 - alpha) * (1 - target)
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none") * weight * missed ** gamma
