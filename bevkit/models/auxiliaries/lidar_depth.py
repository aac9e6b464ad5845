"""Depth supervision: the lidar says how far away what a pixel sees is."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bevkit.checks import expect
from bevkit.registry import MODELS
from bevkit.structures import Trace


@MODELS.register_module()
class LidarDepthLoss(nn.Module):
    """Pulls the depth distribution of every pixel that the lidar met to the bin of its depth (BEVDepth, section 4.1).

    Binary cross entropy of every bin's probability, summed over bins, mean over pixels with a lidar depth. Reads
    ``trace.depth`` [V D H W] and ``targets["depth"]`` [B T N H W] of `LidarDepthMap`, V = B*T'*N of the last T' frames.

    Args:
        depth: (first, end, step) in metres, as the view transformer has it.
        weight: of the loss.
    """

    def __init__(self, depth: tuple[float, float, float], weight: float = 3.0) -> None:
        super().__init__()
        self.first, _, self.step = depth
        self.weight = weight

    def loss(self, trace: Trace, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        if trace.depth is None or "depth" not in targets:
            missing = 'targets["depth"]; give the data set lidar=True and LidarDepthMap in its pipeline' \
                if trace.depth is not None else "a depth distribution; use a view transformer that has one"
            raise ValueError(f"LidarDepthLoss: expected {missing}, got none")
        axes = expect("trace.depth", trace.depth, "V D H W")
        frames = axes["V"] // targets["depth"].shape[0] // targets["depth"].shape[2]  # the last ones of the clip
        metres = targets["depth"][:, -frames:].flatten(0, 2)
        expect('targets["depth"]', metres, "V H W", axes)
        bins = self.bins(metres, axes["D"])  # [V H W]
        wanted = F.one_hot(bins + 1, axes["D"] + 1)[..., 1:].permute(0, 3, 1, 2)  # [V D H W]; none: all zeros
        known = bins >= 0
        with torch.autocast(trace.depth.device.type, enabled=False):  # logarithms of small numbers
            entropy = F.binary_cross_entropy(trace.depth.float(), wanted.float(), reduction="none").sum(dim=1)
        return {"loss_depth": self.weight * entropy[known].sum() / known.sum().clamp(min=1)}

    def bins(self, metres: Tensor, count: int) -> Tensor:
        """Returns the bin (int64) of depths [*]: bin k of ``count`` reaches from first + k * step to the next; else -1.

        Rounded as the authors round, one bin up, so that labels on the edge of a bin are theirs.
        """
        number = (metres - (self.first - self.step)) / self.step
        return torch.where((number >= 1) & (number < count + 1), number, 0).long() - 1
