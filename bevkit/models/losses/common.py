"""What losses over several frames share: the far future counts less, and sums are not taken in half precision."""

from __future__ import annotations

import torch
from torch import Tensor


def frame_discounts(frames: int, discount: float, like: Tensor) -> Tensor:
    """Returns the factors [T] ``discount ** t`` on the device and in the type of another tensor."""
    return discount ** torch.arange(frames, device=like.device, dtype=like.dtype)


def at_least_float32(values: Tensor) -> Tensor:
    """Widens half-precision numbers; float32 and float64 stay."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
