"""Tells the cells of a map apart by their row and column."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class MapEmbedding(nn.Module):
    """A learned vector a row and a learned vector a column; a cell has their sum.

    BEVFormer and FB-BEV give the first half of the channels to columns and the second to rows, which is the sum of
    vectors that are zero in the other half.

    Args:
        channels: C.
        shape: (Y, X).
    """

    def __init__(self, channels: int, shape: tuple[int, int]) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.rand(shape[0], channels))
        self.columns = nn.Parameter(torch.rand(shape[1], channels))

    def forward(self) -> Tensor:
        """Returns [Y*X C], row by row."""
        return (self.rows.unsqueeze(1) + self.columns).flatten(0, 1)


def sine_embedding(channels: int, shape: tuple[int, int], temperature: float = 10000.0) -> Tensor:
    """Tells cells apart by waves of many lengths, without weights: [Y*X C], row by row (DETR, ECCV 2020, appendix A.4).

    The first half of the channels speaks of the row, the second of the column, each from above 0 to 2 pi over the map.
    """
    half = channels // 2
    wave = temperature ** (2 * (torch.arange(half) // 2) / half)
    parts = []
    for count in shape:
        angle = (torch.arange(count) + 1) * (2 * math.pi / count) / wave[:, None]  # [C/2 n]
        parts.append(torch.stack((angle[0::2].sin(), angle[1::2].cos()), dim=1).flatten(0, 1).T)  # [n C/2]
    rows, columns = parts
    return torch.cat((rows[:, None].expand(-1, shape[1], -1), columns.expand(shape[0], -1, -1)), dim=-1).flatten(0, 1)


def map_places(shape: tuple[int, int], like: Tensor) -> Tensor:
    """Returns the places of the cells of a map as fractions (x, y) of it: [Y*X 2], row by row."""
    rows, columns = shape
    x = (torch.arange(columns).to(like) + 0.5) / columns
    y = (torch.arange(rows).to(like) + 0.5) / rows
    return torch.stack((x.expand(rows, columns), y[:, None].expand(rows, columns)), dim=-1).flatten(0, 1)
