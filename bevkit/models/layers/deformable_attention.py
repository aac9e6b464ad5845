"""Attention whose queries choose where they look: on a bird's-eye-view map or in the images of several cameras."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bevkit.models.layers.seen_queries import Sight
from bevkit.ops.deformable_attention import Shapes, deformable_attention


class SamplingNet(nn.Module):
    """Derives from a query where to look and how much each place counts.

    Args:
        in_channels: channels of a query.
        heads: G; each looks elsewhere.
        maps: L, how many maps it looks at.
        points: places a map.
        hint_channels: of what else is known where a query stands, which helps to choose where to look.
    """

    def __init__(self, in_channels: int, heads: int, maps: int, points: int, hint_channels: int = 0) -> None:
        super().__init__()
        if in_channels % heads:
            raise ValueError(f"heads: expected a divisor of the {in_channels} channels, got {heads}")
        self.heads = heads
        self.samples = maps * points
        self.offsets = nn.Linear(in_channels + hint_channels, heads * self.samples * 2)
        self.weights = nn.Linear(in_channels, heads * self.samples)
        # At first all queries look alike: each head another way around, each point one cell farther out.
        angle = torch.arange(heads) * (2 * math.pi / heads)
        ways = torch.stack((angle.cos(), angle.sin()), dim=-1)
        ways = ways / ways.abs().amax(dim=-1, keepdim=True)  # [G 2], on a square
        steps = torch.arange(1, points + 1).repeat(maps)  # [L*P]
        nn.init.zeros_(self.offsets.weight)
        nn.init.zeros_(self.weights.weight)
        nn.init.zeros_(self.weights.bias)
        with torch.no_grad():
            self.offsets.bias.copy_((ways[:, None] * steps[:, None]).flatten())  # [G L*P 2]

    def forward(self, query: Tensor, hint: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Turns queries [B Q C] and hints [B Q H] into offsets in cells [B Q G*L*P*2] and logits [B Q G*L*P]."""
        told = query if hint is None else torch.cat((query, hint), dim=-1)
        return self.offsets(told), self.weights(query)


def locations(reference: Tensor, offsets: Tensor, shapes: Shapes) -> Tensor:
    """Places samples: reference [B Q K 2] in fractions of a map plus offsets [B Q G K 2] in its cells.

    The K samples are as many runs as there are maps, in their order.
    """
    sizes = torch.tensor([(width, height) for height, width in shapes], dtype=offsets.dtype, device=offsets.device)
    sizes = sizes.repeat_interleave(offsets.shape[3] // len(shapes), dim=0)  # [K 2]
    return reference.unsqueeze(2) + offsets / sizes  # [B Q G K 2]


def projection(channels: int) -> nn.Linear:
    """A linear layer that keeps the variance of what it is given."""
    layer = nn.Linear(channels, channels)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class MapAttention(nn.Module):
    """Queries read one bird's-eye-view map near their own place, and add what they find to themselves.

    Deformable DETR's attention (Zhu et al., ICLR 2021, equation 2) on one map.

    Args:
        channels: C of queries and map.
        heads, points: G and places a head.
        dropout: of what is added, in training.
        hint_channels: as `SamplingNet` has them.
    """

    def __init__(self, channels: int, heads: int = 8, points: int = 4, dropout: float = 0.0, hint_channels: int = 0
                 ) -> None:
        super().__init__()
        self.sampling = SamplingNet(channels, heads, 1, points, hint_channels)
        self.value = projection(channels)
        self.output = projection(channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, query: Tensor, position: Tensor, rows: Tensor, shape: tuple[int, int], reference: Tensor,
                keep: Tensor | None = None, hint: Tensor | None = None) -> Tensor:
        """Attends.

        Args:
            query, position: [B Q C]; the position helps to choose where to look and is not passed on.
            rows: [B Y*X C], the map.
            shape: (Y, X).
            reference: [B Q 2] places of the queries as fractions (x, y) of the map.
            keep: [B Y*X 1], cells where it is 0 are read as zero.
            hint: [B Q H], for a module that was built with ``hint_channels``.

        Returns:
            [B Q C].
        """
        heads, samples = self.sampling.heads, self.sampling.samples
        offsets, logits = self.sampling(query + position, hint)
        values = self.value(rows)
        values = values if keep is None else values * keep
        places = locations(reference.unsqueeze(2), offsets.unflatten(2, (heads, samples, 2)), [shape])
        weights = logits.unflatten(2, (heads, samples)).softmax(dim=-1)
        found = deformable_attention(values.unflatten(2, (heads, -1)), [shape], places, weights)  # [B Q C]
        return query + self.dropout(self.output(found))


class CameraAttention(nn.Module):
    """Queries read the images of the cameras that see them, near the pixels of their anchors, and take the mean.

    BEVFormer's spatial cross-attention (Li et al., ECCV 2022, section 3.3), and FB-BEV's, which weighs what is read by
    how likely the camera sees something at the depth of the anchor (Li et al., ICCV 2023, section 3.3).

    Args:
        channels: C of queries and features.
        heads: G.
        levels: L, scales of image features.
        anchors: Z points of a query, one above the other.
        points_per_anchor: places a head reads around each anchor in each scale.
        dropout: of what is added, in training.
    """

    def __init__(self, channels: int, heads: int = 8, levels: int = 1, anchors: int = 4, points_per_anchor: int = 2,
                 dropout: float = 0.0) -> None:
        super().__init__()
        self.levels = levels
        self.sampling = SamplingNet(channels, heads, levels, anchors * points_per_anchor)
        self.value = projection(channels)
        self.output = projection(channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, query: Tensor, rows: Tensor, shapes: Shapes, places: Tensor, sight: Sight,
                depth: Tensor | None = None, position: Tensor | None = None) -> Tensor:
        """Attends.

        Args:
            query: [M Q C].
            rows: [M*N S C], the features of all scales, flattened and laid end to end.
            shapes: (H, W) of each scale.
            places: [M*N P Z 2] anchors of the queries each camera looks at, as fractions (u, v) of its image.
            sight: which queries each camera looks at.
            depth: [M*N P Z], how likely the camera sees something there; None: not asked.
            position: [Q C] or [M Q C], helps to choose where to look and is not passed on; None: the query alone.

        Returns:
            [M Q C].
        """
        heads, samples = self.sampling.heads, self.sampling.samples
        who = query if position is None else query + position
        offsets, logits = (sight.spread(part) for part in self.sampling(who))  # [M*N P G*K*2], [M*N P G*K]
        runs = samples // places.shape[2]
        look = locations(places.repeat(1, 1, runs, 1), offsets.unflatten(2, (heads, samples, 2)), shapes)
        weights = logits.unflatten(2, (heads, samples)).softmax(dim=-1)  # [M*N P G K]
        if depth is not None:
            weights = weights * depth.repeat(1, 1, runs).unsqueeze(2)
        values = self.value(rows).unflatten(2, (heads, -1))  # [M*N S G C/G]
        found = sight.collect(deformable_attention(values, shapes, look, weights))  # [M Q C]
        return query + self.dropout(self.output(found))


class FeedForward(nn.Sequential):
    """Two linear layers a query, added to it."""

    def __init__(self, channels: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__(nn.Linear(channels, hidden), nn.ReLU(inplace=True), nn.Dropout(dropout),
                         nn.Linear(hidden, channels), nn.Dropout(dropout))

    def forward(self, query: Tensor) -> Tensor:
        result: Tensor = query + super().forward(query)
        return result
