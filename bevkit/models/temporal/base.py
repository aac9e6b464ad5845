"""The contracts of temporal fusion: the past is an argument and a return value."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from bevkit.structures import EgoMotion


class TemporalFusion(nn.Module, ABC):
    """What all fusions have in common: a plan of the ego's motion, without weights.

    Attributes:
        channels: C', channels of the fused map.
        side_channels: how many of them, the last ones, pass by the BEV encoder and go to the head as they are.
        instants: R, how many past instants the plan wants to know the poses of.
    """

    channels: int
    side_channels = 0
    instants: int

    @abstractmethod
    def plan(self, motion: EgoMotion) -> tuple[Tensor, ...]:
        """Turns the motion over R past instants and the present into what `forward` needs of it."""


class WindowFusion(TemporalFusion):
    """Joins the present map with the S last ones, each made in its own ego frame and kept as it was made.

    Attributes:
        past: S; 0 takes none.
    """

    past: int

    @property
    def instants(self) -> int:  # type: ignore[override]
        return self.past

    @abstractmethod
    def forward(self, bev: Tensor, past: Tensor, *plan: Tensor) -> Tensor:
        """Fuses the present [B C Y X] and the past [B S C Y X], oldest first, to [B C' Y X]."""


class RecurrentFusion(TemporalFusion):
    """Joins the present map with a memory of all before it, which lies in the ego frame of the instant before.

    Attributes:
        memory: channels of the memory.
    """

    memory: int
    instants = 1

    @abstractmethod
    def begin(self, bev: Tensor) -> Tensor:
        """Returns the memory [B M Y X] with which a scene begins, of its first map [B C Y X]."""

    @abstractmethod
    def forward(self, bev: Tensor, memory: Tensor, *plan: Tensor) -> tuple[Tensor, Tensor]:
        """Fuses the present [B C Y X] and the memory [B M Y X]; returns ([B C' Y X], the memory [B M Y X] now)."""
