"""Which queries each camera looks at: all of them with a mask, or only those it sees."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from bevkit.checks import expect


class Sight(Protocol):
    """Takes queries to the cameras and what the cameras found back to the queries. P queries a camera."""

    def spread(self, queries: Tensor) -> Tensor:
        """Gives each camera what it needs of queries [M Q C]: [M*N P C]."""

    def collect(self, found: Tensor) -> Tensor:
        """Takes the mean of what cameras found [M*N P C] over the cameras that see a query: [M Q C]."""

    def only(self, wanted: Tensor) -> Sight:
        """Returns a sight in which queries whose ``wanted`` [M Q] is 0 find nothing."""


@dataclass(frozen=True)
class EverySight:
    """Every camera looks at all Q queries; share [M N Q] is 1 / (number of cameras that see the query), or 0."""

    share: Tensor

    def spread(self, queries: Tensor) -> Tensor:
        return queries.unsqueeze(1).expand(-1, self.share.shape[1], -1, -1).flatten(0, 1)

    def collect(self, found: Tensor) -> Tensor:
        return (found.unflatten(0, self.share.shape[:2]) * self.share.unsqueeze(-1)).sum(dim=1)

    def only(self, wanted: Tensor) -> EverySight:
        return EverySight(self.share * wanted.unsqueeze(1))


@dataclass(frozen=True)
class SeenSight:
    """Every camera looks at the queries it sees.

    Attributes:
        queries: [M N P] int64 row of each in [M*Q]; a camera that sees fewer than P looks at the first query in vain.
        slots: [M S Q] int64 row in [M*N*P] of what the up to S cameras that see a query found.
        share: [M S Q] 1 / (number of cameras that see the query), 0 for those of S that do not.
    """

    queries: Tensor
    slots: Tensor
    share: Tensor

    def spread(self, queries: Tensor) -> Tensor:
        rows = queries.flatten(0, 1).index_select(0, self.queries.flatten())  # [M*N*P C]
        return rows.view(-1, self.queries.shape[2], queries.shape[2])

    def collect(self, found: Tensor) -> Tensor:
        rows = found.flatten(0, 1).index_select(0, self.slots.flatten())  # [M*S*Q C]
        return (rows.view(*self.slots.shape, -1) * self.share.unsqueeze(-1)).sum(dim=1)

    def only(self, wanted: Tensor) -> SeenSight:
        return SeenSight(self.queries, self.slots, self.share * wanted.unsqueeze(1))


class EveryPlan(NamedTuple):
    """places: [M N Q Z E]; share: see `EverySight`."""

    places: Tensor
    share: Tensor


class SeenPlan(NamedTuple):
    """places: [M N P Z E]; the others: see `SeenSight`."""

    places: Tensor
    queries: Tensor
    slots: Tensor
    share: Tensor


class EveryQuery:
    """Plans `EverySight`: shapes depend on M, N and Q alone."""

    plan_length = len(EveryPlan._fields)

    def plan(self, places: Tensor, visible: Tensor) -> EveryPlan:
        """Plans for places [M N Q Z E] of anchors and whether a camera sees the query [M N Q]."""
        return EveryPlan(places, share_of(visible, places.dtype))

    def sight(self, share: Tensor) -> EverySight:
        return EverySight(share)


class SeenQueries:
    """Plans `SeenSight`: the work is that of the queries seen, about a fifth where six cameras look around.

    Args:
        capacity: the part of the queries a camera may see and the number of cameras that may see a query, which fixes
            the shapes of the plan for export; None makes room for what is there.
    """

    plan_length = len(SeenPlan._fields)

    def __init__(self, capacity: tuple[float, int] | None = None) -> None:
        self.capacity = capacity

    def plan(self, places: Tensor, visible: Tensor) -> SeenPlan:
        """Plans for places [M N Q Z E] of anchors and whether a camera sees the query [M N Q].

        Raises:
            ValueError: a camera sees more queries, or a query more cameras, than there is room for.
        """
        axes = expect("visible", visible, "M N Q", expect("places", places, "M N Q Z E"))
        rigs, cameras, total = axes["M"], axes["N"], axes["Q"]
        room, depth = self._room(visible)
        # A stable sort brings the queries seen to the front, in their order.
        order = visible.to(torch.int8).argsort(dim=2, descending=True, stable=True)[..., :room]  # [M N P]
        seen = visible.gather(2, order)
        order = torch.where(seen, order, 0)
        index = order[..., None, None].expand(-1, -1, -1, axes["Z"], axes["E"])
        rig = torch.arange(rigs, device=visible.device).view(-1, 1, 1)
        # Where camera n keeps query q, and which cameras see q, those that do first.
        kept = (rig * cameras + torch.arange(cameras, device=visible.device).view(1, -1, 1)) * room \
            + visible.cumsum(dim=2) - 1  # [M N Q]
        ranks = visible.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :depth]  # [M S Q]
        slots = torch.where(visible.gather(1, ranks), kept.gather(1, ranks), 0)
        share = share_of(visible, places.dtype).gather(1, ranks)
        return SeenPlan(places.gather(2, index), order + rig * total, slots, share)

    def sight(self, queries: Tensor, slots: Tensor, share: Tensor) -> SeenSight:
        return SeenSight(queries, slots, share)

    def _room(self, visible: Tensor) -> tuple[int, int]:
        total = visible.shape[2]
        most, cameras = int(visible.sum(dim=2).max()), int(visible.sum(dim=1).max())
        if self.capacity is None:
            return max(most, 1), max(cameras, 1)
        room, depth = math.ceil(self.capacity[0] * total), min(self.capacity[1], visible.shape[1])
        if most > room or cameras > depth:
            raise ValueError(f"plan: expected at most {room} of {total} queries a camera and {depth} cameras a query "
                             f"as export_capacity={self.capacity} gives room for, got {most} and {cameras}; set "
                             f"export_capacity to ({math.ceil(100 * most / total) / 100}, {cameras})")
        return room, depth


def share_of(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """Returns 1 / (number of cameras that see a query) where a camera sees it, else 0: [M N Q] like ``visible``."""
    return visible.to(dtype) / visible.sum(dim=1, keepdim=True).clamp(min=1)
