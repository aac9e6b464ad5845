"""BEVFormer's head: learned queries look for objects on the map, layer by layer with a better idea of where."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bevkit.models.layers.map_decoder import MapDecoder
from bevkit.models.losses.query import QueryLoss, QueryOutput
from bevkit.registry import MODELS, built
from bevkit.structures import BEVGrid
from bevkit.structures.results import Detections3D


@MODELS.register_module()
class BEVFormerHead(MapDecoder):
    """BEVFormer's detection head (Li et al., ECCV 2022, section 3.5), a Deformable DETR decoder on the map.

    Args:
        grid: of the map; boxes stand within its bounds, z included.
        in_channels: C of the map and of the queries.
        queries: Q.
        layers: of the decoder, each with branches of its own.
        heads, points: G of all attentions, places a head reads on the map.
        ffn_channels: hidden channels of the layers' feed-forward part.
        classes: K.
        branch_layers: hidden layers of the class and box branches.
        dropout: in training.
        coder: object or config with ``decode``, needed by `predict` only; `QueryBoxCoder` by default.
        loss: module or config; `QueryLoss` by default.
    """

    def __init__(self, grid: BEVGrid, in_channels: int, queries: int = 900, layers: int = 6, heads: int = 8,
                 points: int = 4, ffn_channels: int = 512, classes: int = 10, branch_layers: int = 2,
                 dropout: float = 0.1, coder: Any = None, loss: Any = None) -> None:
        super().__init__(grid, in_channels, queries, layers, heads, points, ffn_channels, classes, branch_layers,
                         dropout)
        self.coder = built(coder or dict(type="QueryBoxCoder"))
        self.query_loss = built(loss) or QueryLoss()

    def forward(self, bev: Tensor) -> QueryOutput:
        """Turns a map [B C Y X] into scores and boxes: of every layer in training, else of the last one alone."""
        return QueryOutput(*self.answers(bev)[:2])

    def loss(self, raw: QueryOutput, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        return self.query_loss(raw, targets)

    @torch.no_grad()
    def predict(self, raw: QueryOutput) -> list[Detections3D]:
        return self.coder.decode(raw)
