"""Historical object prediction: in training a past map is guessed from its neighbours, and objects are found in it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.convnext import LayerNorm2d

from bevkit.geometry.rigid import inverse
from bevkit.geometry.warp import affine_theta, warp_affine
from bevkit.models.layers.deformable_attention import FeedForward, SamplingNet, locations, projection
from bevkit.models.layers.map_embedding import map_places, sine_embedding
from bevkit.ops.deformable_attention import deformable_attention
from bevkit.registry import MODELS
from bevkit.structures import BEVGrid, Trace


class FramesAttention(nn.Module):
    """Cells read maps of several instants near their own place, each instant by itself, and take the mean.

    Args:
        channels: C of cells and maps.
        frames: F.
        heads, points: G, and places a head reads in each map.
    """

    def __init__(self, channels: int, frames: int, heads: int, points: int = 4) -> None:
        super().__init__()
        self.frames = frames
        self.sampling = SamplingNet(channels, heads, frames, points)
        self.value = projection(channels)
        self.output = projection(channels)

    def forward(self, query: Tensor, position: Tensor, maps: Tensor, shape: tuple[int, int], places: Tensor) -> Tensor:
        """Attends: query [B Q C], position [Q C], maps [B F Y*X C], (Y, X), places [Q 2] of the queries; [B Q C]."""
        heads, samples = self.sampling.heads, self.sampling.samples
        shapes = [shape] * self.frames
        offsets, logits = self.sampling(query + position)
        reference = places.expand(len(query), samples, *places.shape).transpose(1, 2)  # [B Q F*P 2]
        look = locations(reference, offsets.unflatten(2, (heads, samples, 2)), shapes)
        # Each map has its own softmax; the mean over maps is taken by the weights.
        weights = logits.unflatten(2, (heads * self.frames, -1)).softmax(dim=-1) / self.frames
        values = self.value(maps).flatten(1, 2).unflatten(2, (heads, -1))  # [B F*Y*X G C/G]
        found = deformable_attention(values, shapes, look, weights.reshape(*weights.shape[:2], heads, samples))
        return query + self.output(found)


class FramesDecoderLayer(nn.Module):
    """Asks the maps, thinks; each step is normalised."""

    def __init__(self, channels: int, frames: int, heads: int, ffn_channels: int) -> None:
        super().__init__()
        self.attention = FramesAttention(channels, frames, heads)
        self.feed_forward = FeedForward(channels, ffn_channels)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(2))

    def forward(self, query: Tensor, *maps: Any) -> Tensor:
        query = self.norms[0](self.attention(query, *maps))
        result: Tensor = self.norms[1](self.feed_forward(query))
        return result


class BiTemporalPredictor(nn.Module):
    """Guesses the map of an instant from the maps around it, near ones in detail, all of them coarsely (HoP, 3.2).

    Args:
        in_channels: of the maps given.
        out_channels: of the map guessed.
        shape: (Y, X).
        frames: F maps given, newest first.
        channels: C of the short decoder; the long one has C / ``reduction``.
        short: how many of the newest maps the short decoder sees.
        heads, ffn_channels: of the short and of the long decoder.
        layers: of each.
        learned_queries: False: each decoder starts from the newest map instead.
    """

    def __init__(self, in_channels: int, out_channels: int, shape: tuple[int, int], frames: int = 8,
                 channels: int = 160, short: int = 2, reduction: int = 4, heads: tuple[int, int] = (5, 2),
                 ffn_channels: tuple[int, int] = (512, 128), layers: int = 2, learned_queries: bool = True) -> None:
        super().__init__()
        if not 1 <= short <= frames:
            raise ValueError(f"short: expected 1 to {frames} of the maps, got {short}")
        self.shape, self.frames, self.short = shape, frames, short
        widths, counts, area = (channels, channels // reduction), (short, frames), shape[0] * shape[1]
        self.project = nn.Identity() if in_channels == channels else nn.Sequential(
            nn.Conv2d(in_channels, channels, 1, bias=False), LayerNorm2d(channels, eps=1e-6))
        self.frame_embedding = nn.Parameter(0.02 * torch.randn(frames, channels))
        self.narrow = nn.Sequential(nn.Linear(channels, widths[1]), nn.LayerNorm(widths[1]))
        self.queries = None
        if learned_queries:
            self.queries = nn.ParameterList(0.02 * torch.randn(area, width) for width in widths)
        for index, width in enumerate(widths):  # they follow from the sizes, and are no weights
            self.register_buffer(f"position_{index}", sine_embedding(width, shape), persistent=False)
        self.register_buffer("places", map_places(shape, torch.zeros(1)), persistent=False)
        self.decoders = nn.ModuleList(
            nn.ModuleList(FramesDecoderLayer(width, count, *sizes) for _ in range(layers))
            for width, count, *sizes in zip(widths, counts, heads, ffn_channels))
        self.output = nn.Sequential(nn.Conv2d(sum(widths), out_channels, 3, padding=1, bias=False),
                                    LayerNorm2d(out_channels, eps=1e-6))

    def forward(self, maps: Tensor) -> Tensor:
        """Turns maps [B F C Y X], newest first, all under the same ego frame, into one [B C' Y X]."""
        near, far = self.decode(maps)
        return self.output(torch.cat((near, far), dim=-1).transpose(1, 2).unflatten(2, self.shape))

    def decode(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Returns what the short [B Q C] and the long decoder [B Q C/reduction] make of the maps."""
        rows = self.project(maps.flatten(0, 1)).flatten(2).transpose(1, 2).unflatten(0, maps.shape[:2])  # [B F Q C]
        rows = rows + self.frame_embedding[:, None]
        found = []
        for index, (decoder, seen) in enumerate(zip(self.decoders, (rows[:, :self.short], self.narrow(rows)))):
            query = seen[:, 0] if self.queries is None else self.queries[index].expand(len(maps), -1, -1)
            position = self.get_buffer(f"position_{index}")
            for layer in decoder:
                query = layer(query, position, seen, self.shape, self.places)
            found.append(query)
        return found[0], found[1]


@MODELS.register_module()
class HistoricalObjectLoss(nn.Module):
    """Guesses the map of the instant before the present from the other maps of the clip and finds its objects in it.

    HoP (Zong et al., ICCV 2023): what a map must hold so that its neighbours can be guessed is motion. Reads
    ``trace.bev`` and ``trace.global_from_ego`` of clips of ``frames`` + 1 input frames, and the targets that
    `PastTargets` puts under ``past_``; all maps are moved under the present ego frame, as the authors have it.

    Args:
        grid: of the maps.
        in_channels: C of the maps.
        head: config of the head that finds the objects; its losses count half in the paper's configuration.
        out_channels: of the guessed map; ``in_channels`` by default.
        weight: of the losses of the head.
        options: of `BiTemporalPredictor`.
    """

    def __init__(self, grid: BEVGrid, in_channels: int, head: dict[str, Any],
                 out_channels: int | None = None, weight: float = 0.5, **options: Any) -> None:
        super().__init__()
        self.grid, self.weight, out_channels = grid, weight, out_channels or in_channels
        self.predictor = BiTemporalPredictor(in_channels, out_channels, self.grid.shape, **options)
        self.head = MODELS.build(head, default_args=dict(grid=self.grid, in_channels=out_channels))

    def loss(self, trace: Trace, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        past = {name.removeprefix("past_"): value for name, value in targets.items() if name.startswith("past_")}
        if not past:
            raise ValueError("HistoricalObjectLoss: expected targets of a past instant, got none; put PastTargets into "
                             "the data set's pipeline")
        if trace.bev.shape[1] != self.predictor.frames + 1:
            raise ValueError(f"HistoricalObjectLoss: expected clips of {self.predictor.frames + 1} input frames, got "
                             f"{trace.bev.shape[1]}; set frames={trace.bev.shape[1] - 1}, or the data set's past")
        guessed = self.head(self.predictor(self.neighbours(trace.bev, trace.global_from_ego)))
        return {f"history.{name}": self.weight * value for name, value in self.head.loss(guessed, past).items()}

    def neighbours(self, bev: Tensor, global_from_ego: Tensor) -> Tensor:
        """Moves maps [B T C Y X] under the present and leaves the one before it out: [B T-1 C Y X], newest first."""
        others = [*range(bev.shape[1] - 2), bev.shape[1] - 1][::-1]
        past_from_now = inverse(global_from_ego[:, others]) @ global_from_ego[:, -1:]  # [B F 4 4]
        theta = affine_theta(past_from_now, self.grid.cells_from_metric_matrix(), self.grid.shape)
        moved = warp_affine(bev[:, others].flatten(0, 1).float(), theta.float().flatten(0, 1))
        return moved.to(bev.dtype).unflatten(0, (len(bev), -1))
