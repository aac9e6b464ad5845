"""BEVFormer's head: learned queries look for objects on the map, layer by layer with a better idea of where."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from bevkit.models.heads.query import QueryHead, QueryOutput
from bevkit.models.layers.deformable_attention import FeedForward, MapAttention
from bevkit.registry import MODELS, built
from bevkit.structures import BEVGrid

PLACE = (0, 1, 4)  # x, y and z of a box code


class DecoderLayer(nn.Module):
    """Queries speak to each other, read the map near their place, and think; each step is normalised."""

    def __init__(self, channels: int, heads: int, points: int, ffn_channels: int, dropout: float) -> None:
        super().__init__()
        self.speak = nn.MultiheadAttention(channels, heads, dropout, batch_first=True)
        self.read = MapAttention(channels, heads, points, dropout)
        self.dropout = nn.Dropout(dropout)
        self.feed_forward = FeedForward(channels, ffn_channels, dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(3))

    def forward(self, query: Tensor, position: Tensor, rows: Tensor, shape: tuple[int, int], place: Tensor) -> Tensor:
        """Args: query, position [B Q C], rows [B Y*X C], shape (Y, X), place [B Q 2]. Returns [B Q C]."""
        who = query + position
        query = self.norms[0](query + self.dropout(self.speak(who, who, query, need_weights=False)[0]))
        query = self.norms[1](self.read(query, position, rows, shape, place))
        result: Tensor = self.norms[2](self.feed_forward(query))
        return result


def score_branch(channels: int, classes: int, depth: int) -> nn.Sequential:
    """Layers from a query [* C] to class logits [* K]; at first every class is as unlikely as one in a hundred."""
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(channels, channels), nn.LayerNorm(channels), nn.ReLU(inplace=True)]
    last = nn.Linear(channels, classes)
    nn.init.constant_(last.bias, -math.log(99))
    return nn.Sequential(*layers, last)


def box_branch(channels: int, depth: int) -> nn.Sequential:
    """Layers from a query [* C] to a box code [* 10]."""
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(channels, channels), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Linear(channels, 10))


@MODELS.register_module()
class BEVFormerHead(QueryHead):
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
        coder, loss: as `QueryHead` has them; the default coder is `QueryBoxCoder`.
    """

    def __init__(self, grid: BEVGrid, in_channels: int, queries: int = 900, layers: int = 6, heads: int = 8,
                 points: int = 4, ffn_channels: int = 512, classes: int = 10, branch_layers: int = 2,
                 dropout: float = 0.1, coder: Any = None, loss: Any = None) -> None:
        super().__init__(built(coder or dict(type="QueryBoxCoder")), loss)
        self.bounds: Tensor
        self.register_buffer("bounds", torch.tensor((grid.x[:2], grid.y[:2], grid.z[:2])), persistent=False)  # [3 2]
        self.queries = nn.Parameter(torch.randn(queries, 2 * in_channels))  # position, then content
        self.reference = nn.Linear(in_channels, 3)
        nn.init.xavier_uniform_(self.reference.weight)
        nn.init.zeros_(self.reference.bias)
        self.layers = nn.ModuleList(DecoderLayer(in_channels, heads, points, ffn_channels, dropout)
                                    for _ in range(layers))
        self.scores = nn.ModuleList(score_branch(in_channels, classes, branch_layers) for _ in range(layers))
        self.boxes = nn.ModuleList(box_branch(in_channels, branch_layers) for _ in range(layers))

    def forward(self, bev: Tensor) -> QueryOutput:
        """Turns a map [B C Y X] into scores and boxes: of every layer in training, else of the last one alone."""
        states, places, codes = self.decode(bev)
        wanted = range(len(self.layers)) if self.training else [len(self.layers) - 1]
        scores = torch.stack([self.scores[layer](states[layer]) for layer in wanted])  # [L B Q K]
        boxes = torch.stack([self.boxes_from(codes[layer], places[layer]) for layer in wanted])  # [L B Q 10]
        return QueryOutput(scores, boxes)

    def decode(self, bev: Tensor) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Returns of each layer the queries [B Q C], their places [B Q 3] in 0..1 of the bounds, and codes [B Q 10]."""
        shape = (bev.shape[2], bev.shape[3])
        rows = bev.flatten(2).transpose(1, 2)  # [B Y*X C]
        position, query = self.queries.unsqueeze(0).expand(len(bev), -1, -1).chunk(2, dim=-1)  # [B Q C] each
        place = self.reference(position).sigmoid()  # [B Q 3]
        states, places, codes = [], [], []
        for layer, branch in zip(self.layers, self.boxes):
            query = layer(query, position, rows, shape, place[..., :2])
            code = branch(query)  # [B Q 10]
            place = (code[..., list(PLACE)] + logit(place)).sigmoid()
            states, places, codes = [*states, query], [*places, place], [*codes, code]
            place = place.detach()  # each layer answers for its own step
        return states, places, codes

    def boxes_from(self, code: Tensor, place: Tensor) -> Tensor:
        """Puts places [B Q 3] in metres into codes [B Q 10]."""
        low, high = self.bounds.to(place.dtype).unbind(dim=1)
        x, y, z = (place * (high - low) + low).split(1, dim=-1)
        return torch.cat((x, y, code[..., 2:4], z, code[..., 5:]), dim=-1)


def logit(probability: Tensor) -> Tensor:
    """Undoes the sigmoid, but for what is within 1e-5 of 0 or 1."""
    probability = probability.clamp(1e-5, 1 - 1e-5)
    return (probability / (1 - probability)).log()
