"""One query for one object: the assignment of least cost between predictions and truth (DETR, ECCV 2020)."""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

_EPS = 1e-12


def focal_cost(logits: Tensor, labels: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Returns what it would cost each query [Q K] to be responsible for each label [A]: [Q A]."""
    probability = logits.float().sigmoid()
    yes = -(probability + _EPS).log() * alpha * (1 - probability) ** gamma
    no = -(1 - probability + _EPS).log() * (1 - alpha) * probability ** gamma
    return (yes - no)[:, labels]


def l1_cost(predicted: Tensor, truth: Tensor, weights: Tensor, skip_unknown: bool = True) -> Tensor:
    """Returns the weighted L1 distance [Q A] of codes [Q 10] and [A 10]; numbers of weight 0 are not even read.

    Args: skip_unknown: a NaN of the truth costs nothing; otherwise its whole column is NaN.
    """
    used = weights > 0
    apart = ((predicted.float()[:, None, used] - truth[None, :, used]) * weights[used]).abs()  # [Q A numbers]
    return (torch.where(truth[:, used].isnan(), 0.0, apart) if skip_unknown else apart).sum(dim=-1)


@torch.no_grad()
def assign(cost: Tensor, nan_cost: float = 100.0) -> Tensor:
    """Assigns every column of a cost matrix [Q A] to a row of its own, with the least sum.

    Args: nan_cost: what a cost counts that is not a number or infinite.

    Returns:
        [Q] int64: for each query the number of its object, -1 = background. With more objects than queries the
        cheapest Q objects find one.
    """
    cost = cost.nan_to_num(nan=nan_cost, posinf=nan_cost, neginf=-nan_cost)
    assigned = torch.full((len(cost),), -1, dtype=torch.int64)
    rows, columns = linear_sum_assignment(cost.detach().cpu().numpy())
    assigned[torch.from_numpy(rows)] = torch.from_numpy(columns)
    return assigned.to(cost.device)
