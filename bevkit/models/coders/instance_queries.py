"""Masks of queries -> instance maps: each query is one instance in every frame, so that nothing has to be matched over
time (FipTR, ECCV 2024, section 3.4)."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from bevkit.geometry.box_codes import code_from_boxes
from bevkit.models.coders.boxes import probabilities
from bevkit.registry import MODELS, built
from bevkit.structures import BEVClip, BEVGrid, FutureInstances


class ScoresAndMasks(Protocol):
    """Class logits [L B Q K], mask logits [B Q F+1 Y X], and backward flow [B F 2 Y X] of the future frames."""

    @property
    def scores(self) -> Tensor: ...

    @property
    def masks(self) -> Tensor: ...

    @property
    def flow(self) -> Tensor: ...


class FlawlessOutput(NamedTuple):
    """Raw outputs that decode to the truth."""

    scores: Tensor
    boxes: Tensor
    masks: Tensor
    flow: Tensor


@MODELS.register_module()
class InstanceQueryCoder:
    """Instances as masks of queries, at most one instance a query.

    A cell belongs to the query that most surely has an object there: its best class score times its mask. It is
    occupied where this is above the threshold. Boxes are not asked; `QueryBoxCoder` reads them from the same outputs.

    Args:
        grid: of the maps; handed to ``labels``.
        labels: object or config with ``encode``, which draws the truth; `InstanceMaskCoder` by default.
        threshold: of an occupied cell. The authors' is 0.3, and 0.35 after class-balanced training.
    """

    def __init__(self, grid: BEVGrid, labels: Any = None, threshold: float = 0.3) -> None:
        self.labels = built(labels or dict(type="InstanceMaskCoder"), grid=grid)
        self.threshold = threshold

    def encode(self, clip: BEVClip) -> dict[str, Tensor]:
        """Returns what ``labels`` draws: what `InstanceQueryLoss` compares with, and instance for the metric."""
        targets: dict[str, Tensor] = self.labels.encode(clip)
        return targets

    def decode(self, raw: ScoresAndMasks) -> list[FutureInstances]:
        """Reads the last decoder layer. Ids count the queries that have a cell in any frame, in their order."""
        scores = probabilities(raw.scores[-1]).amax(dim=2)  # [B Q]
        return [self._decode(*sample) for sample in zip(scores, raw.masks, raw.flow.detach().float())]

    def _decode(self, scores: Tensor, masks: Tensor, flow: Tensor) -> FutureInstances:
        """Decodes one sample: scores [Q], masks [Q F+1 Y X], flow [F 2 Y X]."""
        # Frame by frame: all at once are gigabytes in double precision.
        frames = [(scores[:, None, None] * probabilities(frame)).max(dim=0) for frame in masks.unbind(1)]
        probability, query = (torch.stack(parts) for parts in zip(*frames))  # [F+1 Y X] each
        occupied = probability > self.threshold
        there = torch.zeros(len(scores), dtype=torch.int64, device=masks.device)
        there[query[occupied]] = 1
        ids = torch.where(occupied, there.cumsum(0)[query], 0)
        present = torch.zeros_like(flow[:1])  # where the present came from was not asked
        return FutureInstances(ids, probability, torch.cat((present, flow)))

    def flawless(self, targets: dict[str, Tensor]) -> FlawlessOutput:
        """Returns raw outputs whose A queries each say one instance of the batched targets of `encode`.

        What `decode` makes of it differs from the truth where masks overlap: who vanishes keeps its last mask, which
        another may drive over.
        """
        labels = targets["labels"]  # [B A]
        classes = torch.arange(int(labels.max().clamp(min=0)) + 1, device=labels.device)
        scores = torch.where(labels.unsqueeze(-1) == classes, 6.0, -20.0)  # [B A K]
        boxes = torch.where(labels.unsqueeze(-1) >= 0, targets["boxes"], 1.0).nan_to_num()
        return FlawlessOutput(scores[None], code_from_boxes(boxes)[None], torch.where(targets["masks"] > 0, 9.0, -9.0),
                              torch.where(targets["flow"] == 255.0, 0.0, targets["flow"]))
