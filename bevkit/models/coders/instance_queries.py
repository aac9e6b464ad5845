"""Masks of queries -> instance maps: each query is one instance in every frame, so that nothing has to be matched over
time (FipTR, ECCV 2024, section 3.4)."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from bevkit.geometry.box_codes import code_from_boxes
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


class LaidOver(Protocol):
    """Of each cell the probability of the query that most surely has an object there [B F+1 Y X], and its number."""

    @property
    def probability(self) -> Tensor: ...

    @property
    def query(self) -> Tensor: ...

    @property
    def flow(self) -> Tensor: ...


def lay_over(raw: ScoresAndMasks) -> tuple[Tensor, Tensor]:
    """Lays masks over one another by the last layer's scores: probability [B F+1 Y X] float32, query [..] int32."""
    scores = raw.scores[-1].float().sigmoid().amax(dim=2)[..., None, None]  # [B Q 1 1]
    # Frame by frame: all at once are half a gigabyte.
    frames = [(scores * frame.float().sigmoid()).max(dim=1) for frame in raw.masks.unbind(2)]
    probability, query = (torch.stack(parts, dim=1) for parts in zip(*frames))  # [B F+1 Y X] each
    return probability, query.int()


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

    @torch.no_grad()
    def decode(self, raw: ScoresAndMasks | LaidOver) -> list[FutureInstances]:
        """Reads the last decoder layer. Ids count the queries that have a cell in any frame, in their order.

        What an exported graph has laid over one another already (`lay_over`) is taken as it is.
        """
        laid = (raw.probability, raw.query) if hasattr(raw, "query") else lay_over(raw)
        return [self._decode(*sample) for sample in zip(*laid, raw.flow.float())]

    def _decode(self, probability: Tensor, query: Tensor, flow: Tensor) -> FutureInstances:
        """Decodes one sample: probability and query [F+1 Y X], flow [F 2 Y X]."""
        occupied = probability > self.threshold
        ids = torch.zeros(query.shape, dtype=torch.int64, device=query.device)
        ids[occupied] = query[occupied].unique(return_inverse=True)[1] + 1
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
