"""The far future counts less."""

from __future__ import annotations

import torch
from torch import Tensor


def frame_discounts(frames: int, discount: float, like: Tensor) -> Tensor:
    """Returns the factors [T] ``discount ** t`` on the device and in the type of another tensor."""
    return discount ** torch.arange(frames, device=like.device, dtype=like.dtype)
