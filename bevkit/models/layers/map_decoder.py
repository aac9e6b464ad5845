"""Deformable DETR (ICLR 2021) on a map: queries look for objects, layer by layer with a better idea of where."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bevkit.geometry.box_codes import Bounds
from bevkit.models.layers.deformable_attention import FeedForward, MapAttention
from bevkit.models.losses.common import at_least_float32
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


class MapDecoder(nn.Module):
    """A Deformable DETR decoder on a bird's-eye-view map, whose queries step towards their boxes.

    Args:
        grid: of the map.
        channels: C of the map and of the queries.
        queries: Q.
        layers: each with branches of its own.
        heads, points: G of all attentions, places a head reads on the map.
        ffn_channels: hidden channels of the layers' feed-forward part.
        classes: K.
        branch_layers: hidden layers of the class and box branches.
        dropout: in training.
        bounds: metres within which boxes stand, z included; those of the map by default. Queries look at the map as if
            it filled the bounds.
    """

    def __init__(self, grid: BEVGrid, channels: int, queries: int, layers: int, heads: int, points: int,
                 ffn_channels: int, classes: int, branch_layers: int, dropout: float, bounds: Bounds | None = None
                 ) -> None:
        super().__init__()
        self.bounds: Tensor
        ranges = (grid.x[:2], grid.y[:2], grid.z[:2]) if bounds is None else tuple(zip(bounds[:3], bounds[3:]))
        self.register_buffer("bounds", torch.tensor(ranges), persistent=False)  # [3 2]
        self.queries = nn.Parameter(torch.randn(queries, 2 * channels))  # position, then content
        self.reference = nn.Linear(channels, 3)
        nn.init.xavier_uniform_(self.reference.weight)
        nn.init.zeros_(self.reference.bias)
        self.layers = nn.ModuleList(DecoderLayer(channels, heads, points, ffn_channels, dropout)
                                    for _ in range(layers))
        self.scores = nn.ModuleList(score_branch(channels, classes, branch_layers) for _ in range(layers))
        self.boxes = nn.ModuleList(box_branch(channels, branch_layers) for _ in range(layers))

    def answers(self, bev: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Turns a map [B C Y X] into scores and boxes: of every layer in training, else of the last one alone.

        Returns:
            class logits [L B Q K], box codes [L B Q 10] in metres, and the queries after the last layer [B Q C].
        """
        states, places, codes = self.decode(bev)
        wanted = range(len(self.layers)) if self.training else [len(self.layers) - 1]
        scores = torch.stack([self.scores[layer](states[layer]) for layer in wanted])  # [L B Q K]
        boxes = torch.stack([self.boxes_from(codes[layer], places[layer]) for layer in wanted])  # [L B Q 10]
        return scores, boxes, states[-1]

    def decode(self, bev: Tensor) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Returns of each layer the queries [B Q C], their places [B Q 3] in 0..1 of the bounds, and codes [B Q 10]."""
        shape = (bev.shape[2], bev.shape[3])
        rows = bev.flatten(2).transpose(1, 2)  # [B Y*X C]
        position, query = self.queries.unsqueeze(0).expand(len(bev), -1, -1).chunk(2, dim=-1)  # [B Q C] each
        # Half precision would round places to a quarter of a metre.
        place = at_least_float32(self.reference(position)).sigmoid()  # [B Q 3]
        states, places, codes = [], [], []
        for layer, branch in zip(self.layers, self.boxes):
            query = layer(query, position, rows, shape, place[..., :2])
            code = at_least_float32(branch(query))  # [B Q 10]
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
