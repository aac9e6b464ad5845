"""What FipTR's head is made of beside its box decoder (Gui et al., ECCV 2024, section 3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bevkit.models.layers.deformable_attention import FeedForward, MapAttention


class ConvBlock(nn.Module):
    """Two convolutions with norms on a map, to which a 1x1 convolution of another map of its size is added."""

    def __init__(self, in_channels: int, skip_channels: int, out_channels: int) -> None:
        super().__init__()
        hidden = out_channels // 2
        self.convs = nn.Sequential(
            nn.Conv2d(in_channels, hidden, 3, padding=1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU(inplace=True),
            nn.Conv2d(hidden, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels))
        self.skip = nn.Conv2d(skip_channels, out_channels, 1)

    def forward(self, x: Tensor, first: Tensor) -> Tensor:
        """Turns [B C Y X] and the map that all began with [B C0 Y X] into [B C' Y X]."""
        mixed: Tensor = self.convs(x) + self.skip(first)
        return mixed


class MapBranch(nn.Module):
    """Two `ConvBlock`s from a map [B C Y X] to another one [B C' Y X]; each adds what came in first.

    Args:
        in_channels, hidden, out_channels: C, channels between the blocks, C'.
    """

    def __init__(self, in_channels: int, hidden: int, out_channels: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList((ConvBlock(in_channels, in_channels, hidden),
                                     ConvBlock(hidden, in_channels, out_channels)))

    def forward(self, bev: Tensor) -> Tensor:
        first, last = self.blocks
        result: Tensor = last(F.relu(first(bev, bev)), bev)  # [B C' Y X], of either sign
        return result


class MaskBranch(nn.Module):
    """Says of every cell of one frame how well each query answers for it: a product of two embeddings.

    Args:
        channels: C of queries and map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.query = nn.Sequential(nn.Linear(channels, half), nn.ReLU(inplace=True), nn.Linear(half, half),
                                   nn.ReLU(inplace=True), nn.Linear(half, channels))
        self.map = MapBranch(channels, channels, channels)

    def forward(self, query: Tensor, bev: Tensor) -> Tensor:
        """Turns queries [B Q C] and a map [B C Y X] into logits [B Q Y X]."""
        return torch.einsum("bqc,bcyx->bqyx", self.query(query), self.map(bev))


class FutureMapLayer(nn.Module):
    """Cells of the next map read the map before, guided by how everything moves, and think.

    Args:
        channels, heads, points, ffn_channels, dropout: as the decoder's layers have them.
        keep_position: pass the position of a cell on with what it has read, as the authors do.
    """

    def __init__(self, channels: int, heads: int, points: int, ffn_channels: int, dropout: float, keep_position: bool
                 ) -> None:
        super().__init__()
        self.keep_position = keep_position
        self.read = MapAttention(channels, heads, points, dropout, hint_channels=2)
        self.feed_forward = FeedForward(channels, ffn_channels, dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(2))

    def forward(self, cells: Tensor, position: Tensor, flow: Tensor, rows: Tensor, shape: tuple[int, int],
                places: Tensor) -> Tensor:
        """Reads.

        Args:
            cells, position: [B Y*X C] of the next map.
            flow: [B Y*X 2] where each cell's content was a frame earlier, (x, y) in cells.
            rows: [B Y*X C] the map before.
            shape: (Y, X).
            places: [B Y*X 2] of the cells, fractions (x, y) of the map.

        Returns:
            [B Y*X C].
        """
        if self.keep_position:
            cells, position = cells + position, torch.zeros_like(position)
        cells = self.norms[0](self.read(cells, position, rows, shape, places, hint=flow))
        result: Tensor = self.norms[1](self.feed_forward(cells))
        return result
