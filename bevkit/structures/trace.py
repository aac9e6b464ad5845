"""The intermediates of one forward pass, for training-only parts to read."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from bevkit.structures.tensors import TensorFields


@dataclass(frozen=True)
class Trace(TensorFields):
    """Attributes:
        features: image features, finest first, each [B*T'*N C H W], of the last T' frames, those with gradients.
        depth: [B*T'*N D H W] their depth distribution, None where the view transformer has none.
        bev: [B T C Y X] BEV of every input frame in its own ego frame, before fusion.
        fused: [B C Y X] BEV after temporal fusion and BEV encoder.
        global_from_ego: [B T 4 4] float64 poses of the input frames.
        foreground: [B*T' 1 Y X] logits of where something stands, None where the view transformer does not ask.
    """

    features: tuple[Tensor, ...]
    depth: Tensor | None
    bev: Tensor
    fused: Tensor
    global_from_ego: Tensor
    foreground: Tensor | None = None
