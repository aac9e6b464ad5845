"""SparseBEV's head (Liu et al., ICCV 2023): learned queries with boxes, refined by one layer over and over."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bevkit.geometry.box_codes import code_from_boxes
from bevkit.models.layers.sparse_decoder import SparseDecoderLayer, SparseViews, centers_of
from bevkit.models.losses.query import QueryLoss, QueryOutput
from bevkit.registry import MODELS, built
from bevkit.structures.results import Detections3D

Range = tuple[float, float, float, float, float, float]


@MODELS.register_module()
class SparseQueryHead(nn.Module):
    """Finds objects by queries, each with a box, that look into images of T frames.

    All decoder layers share their weights; each starts from the boxes of the one before, without gradients.

    Args:
        in_channels: C of the features and of the queries.
        frames: T.
        bounds: (x, y, z low, x, y, z high) metres in which centres lie.
        queries: Q, a square number: at first they stand on a square lattice.
        layers: of the decoder.
        classes: K.
        groups: G that the channels are parted into where images are read.
        denoising: groups of noisy true boxes that are to be set right, in training (DN-DETR, CVPR 2022); 0 leaves it.
        checkpointing: compute each layer anew for its gradients, which spares memory.
        coder: object or config with ``decode``; `QueryBoxCoder` by default.
        loss: module or config; `QueryLoss` with SparseBEV's weights by default.
        options: of `SparseDecoderLayer`.
    """

    def __init__(self, in_channels: int = 256, frames: int = 8, bounds: Range = (-51.2, -51.2, -5.0, 51.2, 51.2, 3.0),
                 queries: int = 900, layers: int = 6, classes: int = 10, groups: int = 4, denoising: int = 10,
                 checkpointing: bool = False, coder: Any = None, loss: Any = None, **options: Any) -> None:
        super().__init__()
        side = round(queries ** 0.5)
        if side * side != queries:
            raise ValueError(f"queries: expected a square number, such as {side * side}, got {queries}")
        self.layers, self.classes, self.frames, self.groups = layers, classes, frames, groups
        self.denoising, self.checkpointing = denoising, checkpointing
        self.scale_weights = options.get("scale_weights", "own")
        self.coder = built(coder or dict(type="QueryBoxCoder", score_threshold=0.05))
        self.query_loss = built(loss) or QueryLoss(code_weights=CODE_WEIGHTS, cost_weights=CODE_WEIGHTS)
        self.bounds: Tensor
        self.register_buffer("bounds", torch.tensor(bounds).view(2, 3).T.contiguous(), persistent=False)  # [3 2]
        self.boxes = nn.Parameter(first_boxes(side))
        self.labels = nn.Embedding(classes + 1, in_channels - 1)  # what a query begins as; the last one: anything
        self.layer = SparseDecoderLayer(in_channels, frames, classes, groups=groups, **options)

    def forward(self, views: SparseViews) -> QueryOutput:
        """Looks; returns scores and boxes of every layer in training, else of the last one alone."""
        return self.decode(*self.first_queries(len(views.ages)), views)

    def first_queries(self, batch: int) -> tuple[Tensor, Tensor]:
        """Returns the learned queries [B Q C] and their boxes [B Q 10]."""
        boxes = self.boxes.expand(batch, -1, -1)
        return self.queries_of(torch.full(boxes.shape[:2], self.classes, device=boxes.device), 0.0), boxes

    def queries_of(self, labels: Tensor, told: float) -> Tensor:
        """Makes queries [B Q C] of labels [B Q]; ``told``: 1 where the label is a hint (denoising), else 0."""
        return torch.cat((self.labels(labels), torch.full_like(labels[..., None], told, dtype=torch.float32)), dim=-1)

    def decode(self, query: Tensor, boxes: Tensor, views: SparseViews, blocked: Tensor | None = None) -> QueryOutput:
        """Refines queries [B Q C] with boxes [B Q 10] layer by layer."""
        found = []
        for _ in range(self.layers):
            if self.checkpointing and self.training:
                query, boxes, scores = checkpoint(self.layer, query, boxes, self.bounds, views, blocked,
                                                  use_reentrant=False)
            else:
                query, boxes, scores = self.layer(query, boxes, self.bounds, views, blocked)
            found.append((scores, self.codes_of(boxes)))
            boxes = boxes.detach()  # each layer answers for its own step
        scores, codes = zip(*(found if self.training else found[-1:]))
        return QueryOutput(torch.stack(scores), torch.stack(codes))

    def codes_of(self, boxes: Tensor) -> Tensor:
        """Turns query boxes [B Q 10] into the codes of `QueryOutput`, metres."""
        x, y, z = centers_of(boxes, self.bounds).split(1, dim=-1)
        return torch.cat((x, y, boxes[..., 3:5], z, boxes[..., 5:]), dim=-1)

    def learn(self, views: SparseViews, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Looks with the learned queries and with noisy true boxes, which neither see these nor one another's groups.

        Args: targets boxes [B A 9] and labels [B A], -1 = no box.
        """
        if not self.denoising:
            return self.loss(self(views), targets)
        hints = noisy_truth(targets, self.bounds, self.denoising, self.classes)
        count, told = self.boxes.shape[0], hints.boxes.shape[1]
        query, boxes = self.first_queries(len(hints.boxes))
        query = torch.cat((self.queries_of(hints.labels, 1.0), query), dim=1)
        boxes = torch.cat((hints.boxes, boxes), dim=1)
        raw = self.decode(query, boxes, views, hidden_from_one_another(hints.real, count, self.denoising))
        losses = self.loss(QueryOutput(raw.scores[:, :, told:], raw.boxes[:, :, told:]), targets)
        last = len(raw.scores) - 1
        for layer, (scores, codes) in enumerate(zip(raw.scores[:, :, :told], raw.boxes[:, :, :told])):
            prefix = "denoise." if layer == last else f"denoise.layer{layer}."
            losses[prefix + "loss_class"], losses[prefix + "loss_box"] = self.query_loss.compare(
                scores, codes, hints.wanted_labels, hints.wanted_codes, hints.real)
        return losses

    def loss(self, raw: QueryOutput, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = self.query_loss(raw, targets)
        return losses

    @torch.no_grad()
    def predict(self, raw: QueryOutput) -> list[Detections3D]:
        result: list[Detections3D] = self.coder.decode(raw)
        return result


class Hints(NamedTuple):
    """Noisy true boxes as queries [B D*A ..], group by group: query boxes, labels, what they should become, if real."""

    boxes: Tensor
    labels: Tensor
    wanted_codes: Tensor
    wanted_labels: Tensor
    real: Tensor


def noisy_truth(targets: dict[str, Tensor], bounds: Tensor, groups: int, classes: int, shift: float = 0.25,
                swap: float = 0.5) -> Hints:
    """Moves true boxes by up to ``shift`` of their sizes and takes some for another class, as the authors do.

    Args:
        targets: boxes [B A 9] and labels [B A], -1 = no box.
        swap: probability of a random class.
    """
    most = int((targets["labels"] >= 0).sum(dim=1).max())
    real = (targets["labels"] >= 0)
    order = real.int().argsort(dim=1, descending=True, stable=True)[:, :most]  # boxes first, room behind is cut
    truth = targets["boxes"].gather(1, order.unsqueeze(-1).expand(-1, -1, 9)).repeat(1, groups, 1)  # [B D*A 9]
    labels, real = (values.gather(1, order).repeat(1, groups) for values in (targets["labels"], real))
    truth = torch.where(real.unsqueeze(-1), truth, torch.ones_like(truth))  # room: any box will do
    low, high = bounds.unbind(dim=1)
    moved = truth[..., :3] + shift * (2 * torch.rand_like(truth[..., :3]) - 1) * truth[..., 3:6]
    place = ((moved - low) / (high - low)).clamp(0, 1)
    codes = code_from_boxes(truth)
    yaw = truth[..., 6:7]
    boxes = torch.cat((place, truth[..., 3:6].log(), yaw.sin(), yaw.cos(), truth[..., 7:].nan_to_num()), dim=-1)
    other = torch.randint_like(labels, classes)
    told = torch.where(torch.rand(labels.shape, device=labels.device) < swap, other, labels)
    return Hints(boxes, torch.where(real, told, classes), codes, torch.where(real, labels, -1), real)


def hidden_from_one_another(real: Tensor, queries: int, groups: int) -> Tensor:
    """Says which of D groups of hints (``real`` [B D*A]) and Q queries do not see which: [B 1 D*A+Q D*A+Q] bool.

    Each group sees itself, but for hints that are mere room, and the queries; the queries see themselves alone.
    """
    told = real.shape[1]
    group = torch.cat((torch.arange(told, device=real.device) // max(told // groups, 1),
                       torch.full((queries,), -1, device=real.device)))
    strangers = (group.unsqueeze(1) != group) & (group != -1)  # [Q' Q']
    room = torch.cat((~real, real.new_zeros(len(real), queries)), dim=1)[:, None, None]  # [B 1 1 Q']
    return (strangers | room) & ~torch.eye(len(group), dtype=torch.bool, device=real.device)  # all see themselves


CODE_WEIGHTS = (2.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)  # SparseBEV's, in matching and loss alike


def first_boxes(side: int) -> Tensor:
    """Returns the boxes of queries on a square lattice [Q 10], x in the outer order, low, upright and at rest."""
    boxes = torch.randn(side * side, 10)
    lattice = (torch.arange(side) + 0.5) / side
    boxes[:, :2] = torch.stack(torch.meshgrid(lattice, lattice, indexing="ij"), dim=-1).flatten(0, 1)
    boxes[:, 2], boxes[:, 5], boxes[:, 8:] = 0.0, 1.5, 0.0
    return boxes
