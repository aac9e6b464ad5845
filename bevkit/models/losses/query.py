"""What learned queries say, and what they should have said: one query for one object (DETR, ECCV 2020)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from bevkit.geometry.box_codes import code_from_boxes
from bevkit.models.losses.common import at_least_float32, mean_count
from bevkit.models.losses.focal import sigmoid_focal
from bevkit.models.losses.matching import assign, focal_cost, l1_cost
from bevkit.registry import MODELS

CODE_WEIGHTS = (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.2, 0.2)  # BEVFormer's and DETR3D's
COST_WEIGHTS = (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0)  # velocity does not choose the query
Unknown = Literal["number", "box"]
MoreCost = Callable[[int, Tensor], Tensor]


class QueryOutput(NamedTuple):
    """Of L decoder layers, first to last, and Q queries:

    scores: [L B Q K] class logits, classes in the order of the coder.
    boxes: [L B Q 10] codes [x, y, log l, log w, z, log h, sin yaw, cos yaw, vx, vy], metres in the ego frame.
    """

    scores: Tensor
    boxes: Tensor


@MODELS.register_module()
class QueryLoss(nn.Module):
    """Matches the queries of every layer with the truth, then asks for the right class and box (focal and L1).

    Args:
        class_weight, box_weight: of both parts, in the matching as in the loss.
        code_weights: ten factors of the L1 loss.
        cost_weights: ten factors of the L1 cost of the matching; a number of weight 0 takes no part.
        unknown: what an unknown velocity (NaN) does. ``"number"``: these numbers cost and teach nothing. ``"box"``, as
            the authors of SparseBEV and BEVFormer have it: no box number is learned, and, where velocity takes part
            in the matching, the box costs the same for every query.
    """

    def __init__(self, class_weight: float = 2.0, box_weight: float = 0.25,
                 code_weights: Sequence[float] = CODE_WEIGHTS, cost_weights: Sequence[float] = COST_WEIGHTS,
                 unknown: Unknown = "number") -> None:
        super().__init__()
        if unknown not in ("number", "box"):
            raise ValueError(f"unknown: expected number or box, got {unknown!r}")
        self.class_weight, self.box_weight, self.unknown = class_weight, box_weight, unknown
        self.code_weights: Tensor
        self.cost_weights: Tensor
        self.register_buffer("code_weights", torch.tensor(code_weights, dtype=torch.float32), persistent=False)
        self.register_buffer("cost_weights", torch.tensor(cost_weights, dtype=torch.float32), persistent=False)

    def forward(self, raw: QueryOutput, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compares with the targets ``boxes`` [B A 9] and ``labels`` [B A], -1 = no box.

        Returns:
            loss_class and loss_box of the last layer, layerN.loss_class and layerN.loss_box of those before.
        """
        losses = {}
        last = len(raw.scores) - 1
        for layer, (scores, codes) in enumerate(zip(raw.scores, raw.boxes)):
            prefix = "" if layer == last else f"layer{layer}."
            losses[prefix + "loss_class"], losses[prefix + "loss_box"], _ = self.layer(scores, codes, targets)
        return losses

    def match(self, scores: Tensor, codes: Tensor, truth: Tensor, labels: Tensor, more: Tensor | float = 0.0) -> Tensor:
        """Finds the object of each query of one sample: [Q] int64, -1 = background.

        Args: scores [Q K], codes [Q 10], truth [A 10], labels [A], more [Q A]: what else a query costs.
        """
        cost = self.class_weight * focal_cost(scores, labels)
        skip = self.unknown == "number"
        return assign(cost + self.box_weight * l1_cost(codes, truth, self.cost_weights, skip) + more)

    def layer(self, scores: Tensor, codes: Tensor, targets: dict[str, Tensor], more: MoreCost | None = None
              ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the class and the box loss of one layer, and which object each query answers for.

        Args:
            scores [B Q K], codes [B Q 10]; targets as `forward` has them.
            more: a function from a sample and its objects, places [A'] among the A, to what else they cost [Q A'].

        Returns:
            two scalars and [B Q] int64, the place of the object among the A, -1 = background.
        """
        codes = at_least_float32(codes)
        labels, wanted = torch.full(scores.shape[:2], -1, device=scores.device), torch.zeros_like(codes)
        objects = torch.full_like(labels, -1)
        for sample, (boxes, classes) in enumerate(zip(targets["boxes"], targets["labels"])):
            real = (classes >= 0).nonzero().squeeze(1)  # [A']
            truth, classes = code_from_boxes(boxes[real]).to(codes), classes[real]
            cost = 0.0 if more is None else more(sample, real)
            found = self.match(scores[sample], codes[sample], truth, classes, cost)
            query = (found >= 0).nonzero().squeeze(1)
            labels[sample, query], wanted[sample, query] = classes[found[query]], truth[found[query]]
            objects[sample, query] = real[found[query]]
        return *self.compare(scores, codes, labels, wanted), objects

    def compare(self, scores: Tensor, codes: Tensor, labels: Tensor, wanted: Tensor, asked: Tensor | None = None
                ) -> tuple[Tensor, Tensor]:
        """Returns the class and the box loss of queries whose objects are known.

        Args:
            scores [B Q K], codes [B Q 10]: what queries say.
            labels [B Q], -1 = nothing is there; wanted [B Q 10].
            asked: [B Q] bool, queries that are asked at all; None: every one.
        """
        codes, matched = at_least_float32(codes), labels >= 0
        if asked is not None:
            scores, labels = scores[asked], labels[asked]
        count = mean_count(matched.sum())
        known = torch.isfinite(wanted)
        if self.unknown == "box":
            known = known.all(dim=-1, keepdim=True).expand_as(known)
        counts = known & matched.unsqueeze(-1)  # [B Q 10]
        # Zero where nothing is known, before the difference: 0 times NaN is NaN, in values and in gradients.
        apart = (codes - torch.where(counts, wanted, 0.0)).abs() * self.code_weights
        box_loss = torch.where(counts, apart, 0.0).sum() / count
        return self.class_weight * sigmoid_focal(scores, labels) / count, self.box_weight * box_loss
