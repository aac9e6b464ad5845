"""Teaches a region proposal where something stands."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from bevkit.checks import expect
from bevkit.models.losses.common import at_least_float32
from bevkit.registry import MODELS
from bevkit.structures import Trace


@MODELS.register_module()
class ForegroundLoss(nn.Module):
    """Pulls FB-BEV's foreground to the cells that boxes cover (Li et al., ICCV 2023, section 3.4).

    Binary cross entropy in which foreground counts more, plus Dice, which does not mind how rare it is. Reads the
    present's part of ``trace.foreground`` [B*T 1 Y X] and ``targets["foreground"]`` [B 1 Y X] of `ForegroundMap`.

    Args:
        positive_weight: how many cells of background a cell of foreground is worth.
        weight: of the loss.
    """

    def __init__(self, positive_weight: float = 2.13, weight: float = 1.0) -> None:
        super().__init__()
        self.positive_weight, self.weight = positive_weight, weight

    def loss(self, trace: Trace, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        if trace.foreground is None or "foreground" not in targets:
            missing = 'targets["foreground"]; put ForegroundMap into the data set\'s pipeline' \
                if trace.foreground is not None else "a foreground; use a view transformer that proposes one"
            raise ValueError(f"ForegroundLoss: expected {missing}, got none")
        truth = targets["foreground"]
        axes = expect('targets["foreground"]', truth, "B 1 Y X")
        expect("trace.foreground", trace.foreground, "M 1 Y X", {"Y": axes["Y"], "X": axes["X"]})
        logits = at_least_float32(trace.foreground.unflatten(0, (len(truth), -1))[:, -1])  # [B 1 Y X]
        truth = truth.to(logits)
        entropy = F.binary_cross_entropy_with_logits(logits, truth, pos_weight=logits.new_tensor(self.positive_weight))
        return {"loss_foreground": self.weight * entropy, "loss_foreground_dice": self.weight * dice(logits, truth)}


def dice(logits: Tensor, truth: Tensor, eps: float = 1e-5) -> Tensor:
    """Returns 1 minus twice the overlap of probabilities and truth [B ..] over the sum of both, mean over B.

    Squares stand in the sum (V-Net, 3DV 2016), so that an uncertain cell weighs less than a wrong one.
    """
    probability, truth = logits.sigmoid().flatten(1), truth.flatten(1)
    overlap = (probability * truth).sum(dim=1)
    both = probability.square().sum(dim=1) + truth.square().sum(dim=1)
    return (1 - (2 * overlap + eps) / (both + eps)).mean()
