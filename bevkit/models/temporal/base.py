"""The contract of temporal fusion: the past is an argument and a return value."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class TemporalFusion(nn.Module, ABC):
    """Joins the present BEV map with S past ones, each made in its own ego frame.

    Attributes:
        channels: C', channels of the fused map.
        past: S, the number of past maps it takes; 0 takes none.
    """

    channels: int
    past: int

    @abstractmethod
    def plan(self, global_from_ego: Tensor) -> tuple[Tensor, ...]:
        """Turns poses [B S+1 4 4] (oldest first, present last) into what `forward` needs of them; has no weights."""

    @abstractmethod
    def forward(self, bev: Tensor, past: Tensor, *plan: Tensor) -> tuple[Tensor, Tensor]:
        """Fuses the present [B C Y X] and the past [B S C Y X] to [B C' Y X]; also returns the next call's past."""
