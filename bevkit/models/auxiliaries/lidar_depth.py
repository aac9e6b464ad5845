"""Depth supervision: the lidar says how far away what a pixel sees is."""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bevkit.checks import expect
from bevkit.registry import MODELS
from bevkit.structures import Trace

Entropy = Literal["binary", "categorical", "double_softmax"]
Edges = Literal["low", "high"]


@MODELS.register_module()
class LidarDepthLoss(nn.Module):
    """Pulls the depth distribution of every pixel that the lidar met to the bin of its depth (BEVDepth, section 4.1).

    Reads ``trace.depth`` [V D H W] and ``targets["depth"]`` [B T N H W] of `LidarDepthMap`, V = B*T'*N of the last T'
    frames; the mean over pixels with a lidar depth.

    Args:
        depth: (first, end, step) in metres, as the view transformer has it.
        weight: of the loss.
        entropy: ``"binary"``: cross entropy of every bin's probability for itself, summed over bins (BEVDepth);
            ``"categorical"``: of the distribution; ``"double_softmax"``: likewise after another softmax of the
            probabilities, as Efficient-Instance-Prediction was trained.
        edges: which edge belongs to a bin: its ``"low"`` one, or its ``"high"`` one, where the end of the last bin
            belongs to none, as in Efficient-Instance-Prediction.
    """

    def __init__(self, depth: tuple[float, float, float], weight: float = 3.0, entropy: Entropy = "binary",
                 edges: Edges = "low") -> None:
        super().__init__()
        if entropy not in get_args(Entropy) or edges not in get_args(Edges):
            raise ValueError(f"LidarDepthLoss: expected entropy in {get_args(Entropy)} and edges in {get_args(Edges)}, "
                             f"got {entropy!r} and {edges!r}")
        self.first, _, self.step = depth
        self.weight, self.entropy, self.edges = weight, entropy, edges

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
        known = bins >= 0
        with torch.autocast(trace.depth.device.type, enabled=False):  # logarithms of small numbers
            entropy = self._entropies(trace.depth.float(), bins)
        return {"loss_depth": self.weight * entropy[known].sum() / known.sum().clamp(min=1)}

    def _entropies(self, depth: Tensor, bins: Tensor) -> Tensor:
        """Returns the cross entropy [V H W] of probabilities [V D H W] for bins [V H W]; -1 is no bin."""
        if self.entropy == "binary":
            wanted = F.one_hot(bins + 1, depth.shape[1] + 1)[..., 1:].permute(0, 3, 1, 2)  # [V D H W]; none: zeros
            return F.binary_cross_entropy(depth, wanted.float(), reduction="none").sum(dim=1)
        if self.entropy == "double_softmax":
            return F.cross_entropy(depth, bins, ignore_index=-1, reduction="none")
        return F.nll_loss(depth.clamp(min=torch.finfo(depth.dtype).tiny).log(), bins, ignore_index=-1,
                          reduction="none")

    def bins(self, metres: Tensor, count: int) -> Tensor:
        """Returns the bin (int64) of depths [*]: bin k of ``count`` reaches from first + k * step to the next; else -1.

        Rounded as the authors round, BEVDepth's one bin up, so that labels on the edge of a bin are theirs.
        """
        if self.edges == "high":
            edges = self.first + self.step * torch.arange(count + 1, device=metres.device)
            inside = (metres > edges[0]) & (metres < edges[-1])
            return torch.where(inside, torch.bucketize(metres, edges) - 1, -1)
        number = (metres - (self.first - self.step)) / self.step
        return torch.where((number >= 1) & (number < count + 1), number, 0).long() - 1
