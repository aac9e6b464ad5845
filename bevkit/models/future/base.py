"""The contract of the heads of the future: one BEV map in, raw maps of past and future frames out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

from torch import Tensor, nn

from bevkit.structures.results import FutureInstances


class FutureHead(nn.Module, ABC):
    """Predicts the instances of the present and F future instants from one fused BEV map [B C Y X].

    What `forward` returns is a NamedTuple of tensors. It is what an exported graph returns, or what ``exported(raw)``
    makes of it in a head that has it (`FipTRHead`). A head that knows of several possible futures also has
    ``samples(bev, count)``, which draws as many raw outputs (`FieryHead`).
    """

    @abstractmethod
    def forward(self, bev: Tensor) -> NamedTuple:
        """Turns a map [B C Y X] into raw outputs."""

    @abstractmethod
    def loss(self, raw: Any, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compares raw outputs with the coder's targets; every entry whose name holds ``loss`` is summed."""

    @abstractmethod
    def predict(self, raw: Any) -> list[FutureInstances]:
        """Turns raw outputs into one result a sample."""
