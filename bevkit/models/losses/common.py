"""What losses over several frames share: the far future counts less, and sums are not taken in half precision."""

from __future__ import annotations

import torch
from mmengine import dist
from torch import Tensor


def frame_discounts(frames: int, discount: float, like: Tensor) -> Tensor:
    """Returns the factors [T] ``discount ** t`` on the device and in the type of another tensor."""
    return discount ** torch.arange(frames, device=like.device, dtype=like.dtype)


def at_least_float32(values: Tensor) -> Tensor:
    """Widens half-precision numbers; float32 and float64 stay."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def mean_count(count: Tensor) -> Tensor:
    """Averages a count [*] of objects over the processes of a training; at least 1.

    A loss divided by it is that of one process with all samples, once the gradients are averaged.
    """
    mean = count.float()
    dist.all_reduce(mean, "mean")
    return mean.clamp(min=1)
