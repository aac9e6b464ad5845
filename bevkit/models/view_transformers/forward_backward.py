"""FB-BEV: the cameras spread what they see over the map, then the cells that matter look back at the cameras."""

from __future__ import annotations

import copy
from collections import namedtuple
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bevkit.models.layers.deformable_attention import CameraAttention, FeedForward, MapAttention
from bevkit.models.layers.map_embedding import MapEmbedding, map_places
from bevkit.models.layers.seen_queries import EveryQuery, EverySight, SeenQueries, Sight
from bevkit.models.view_transformers.base import ViewOutput, ViewTransformer
from bevkit.models.view_transformers.depth_net import split_maps
from bevkit.models.view_transformers.lift_splat import LiftSplat
from bevkit.models.view_transformers.pillars import Pillars, check_pixel_origin, look_at, pillar_points
from bevkit.registry import MODELS
from bevkit.structures import BEVGrid, CameraRig

SELF_ATTENTIONS = ("everywhere", "background")
BLIND_CAMERAS = ("nothing", "first_query")
VISIBLE_MARGIN = 1e-5  # of the image along its edges; what lies there counts as unseen


class RefinementLayer(nn.Module):
    """Cells read the map around them, then the cameras, and think; each step is normalised."""

    def __init__(self, channels: int, heads: int, anchors: int, points_per_anchor: int, ffn_channels: int,
                 dropout: float) -> None:
        super().__init__()
        self.read = MapAttention(channels, heads, dropout=dropout)
        self.spatial = CameraAttention(channels, heads, 1, anchors, points_per_anchor, dropout)
        self.feed_forward = FeedForward(channels, ffn_channels, dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(3))

    def forward(self, query: Tensor, position: Tensor, around: tuple[Any, ...], spatial: tuple[Any, ...]) -> Tensor:
        query = self.norms[0](self.read(query, position, query, *around))
        query = self.norms[1](self.spatial(query, *spatial, position=position))
        result: Tensor = self.norms[2](self.feed_forward(query))
        return result


@MODELS.register_module()
class ForwardBackward(ViewTransformer):
    """FB-BEV's forward-backward view transformation (Li et al., ICCV 2023).

    The forward projection is `LiftSplat`; its map, the mean over the z cells of the grid, asks a small network where
    something stands, and only cells of this foreground look back at the cameras. What a camera says about an anchor
    counts as much as it believes to see something at the anchor's depth. The authors' training also takes the true
    foreground into the mask; here training and testing see the same mask, and `ForegroundLoss` teaches it.

    Args:
        grid: the BEV grid; a cell's anchors stand in the centres of its z cells.
        in_channels: channels of the finest features; coarser ones are not read.
        channels: C of context and map.
        depth, image_size, stride, frustum, indexing, depth_net: as `LiftSplat` has them.
        layers: of the backward projection.
        heads: G of all attentions.
        points_per_anchor: places around an anchor that a head reads.
        ffn_channels: hidden channels of the layers' feed-forward part; None: 4 C.
        dropout: in training.
        threshold: probability above which a cell is foreground; None: no region proposal, all cells look back, as in
            FB-OCC.
        readd: add the refined map to that of the forward projection.
        pixel_origin: `pillars.look_at` explains it.
        self_attention: what cells read of the map around them: ``"everywhere"``, or ``"background"``, as the authors'
            code does, which hands its mask of the foreground to an attention that zeroes what is masked.
        blind_camera: what a camera does that sees no cell of the foreground: ``"nothing"``, or ``"first_query"``, as in
            the authors' code, where it still updates the first cell that it sees, uncounted.
        export_capacity: of the forward projection's tables, as `LiftSplat` has it.
        export_sight: which part of the cells a camera may see and how many cameras a cell, in the exported graph.
    """

    def __init__(self, grid: BEVGrid, in_channels: int, channels: int, depth: tuple[float, float, float],
                 image_size: tuple[int, int], stride: int, frustum: str = "center", indexing: str = "floor",
                 depth_net: dict[str, Any] | None = None, layers: int = 1, heads: int = 8, points_per_anchor: int = 2,
                 ffn_channels: int | None = None, dropout: float = 0.0, threshold: float | None = 0.4,
                 readd: bool = True, pixel_origin: str = "centre", self_attention: str = "everywhere",
                 blind_camera: str = "nothing", export_capacity: float = 4.0,
                 export_sight: tuple[float, int] = (0.4, 3)) -> None:
        super().__init__()
        for name, value, names in (("self_attention", self_attention, SELF_ATTENTIONS),
                                   ("blind_camera", blind_camera, BLIND_CAMERAS)):
            if value not in names:
                raise ValueError(f"{name}: expected one of {names}, got {value!r}")
        self.grid, self.channels, self.threshold, self.readd = grid, channels, threshold, readd
        self.frustum, self.indexing = frustum, indexing
        self.pixel_origin = check_pixel_origin(pixel_origin)
        self.self_attention, self.blind_camera = self_attention, blind_camera
        self.lift = LiftSplat(grid, in_channels, channels, depth, image_size, stride, frustum, indexing, depth_net,
                              export_capacity=export_capacity)
        self.depth = (float(depth[0]), float(depth[2]))
        # Only among all cells is the first that a camera sees at a known place.
        self.queries: EveryQuery | SeenQueries = EveryQuery() if blind_camera == "first_query" else SeenQueries()
        self.export_sight = (float(export_sight[0]), int(export_sight[1]))
        self.proposal = None if threshold is None else nn.Sequential(
            nn.Conv2d(channels, channels // 2, 3, padding=1), nn.BatchNorm2d(channels // 2), nn.ReLU(inplace=True),
            nn.Conv2d(channels // 2, 1, 3, padding=1))
        rows, columns = grid.shape
        self.cells = nn.Parameter(torch.randn(rows * columns, channels))  # [Y*X C]
        self.position = MapEmbedding(channels, grid.shape)
        self.layers = nn.ModuleList(RefinementLayer(channels, heads, grid.heights, points_per_anchor,
                                                    ffn_channels or 4 * channels, dropout) for _ in range(layers))

    # ---- calibration: no weights ------------------------------------------------------------------------------------

    @torch.no_grad()
    def plan(self, rig: CameraRig) -> tuple[Tensor, ...]:
        """Returns the plan of the forward projection, then which cell reads which camera where and how deep."""
        lift = self.lift.plan(rig)
        anchors = pillar_points(self.grid, self.grid.centers("z"))
        pillars = look_at(rig, anchors, self.pixel_origin, margin=VISIBLE_MARGIN)
        places = torch.cat((pillars.places, self.depth_places(pillars)), dim=-1)  # [M N Q Z 4]
        seen = self.queries.plan(places, pillars.visible.any(dim=-1))
        names = (*lift._fields, *seen._fields)  # named, so that the inputs of an exported graph have names
        return namedtuple("Plan", names)(*lift, *seen)

    def depth_places(self, pillars: Pillars) -> Tensor:
        """Places anchors in the picture `depth_at` reads: [M N Q Z 2], in float32 fractions of it."""
        first, step = self.depth
        count, height = len(self.lift.depths), self.lift.feature_size[0]
        bins = ((pillars.depth - first) / step).floor().clamp(0, count - 1)
        row = (pillars.places[..., 1] * height - 0.5).clamp(-1, height)  # outside of a bin's rows lie rows of zeros
        v = (bins * (height + 1) + row + 0.5) / (count * (height + 1))
        return torch.stack((pillars.places[..., 0], v), dim=-1)

    # ---- weights: no calibration ------------------------------------------------------------------------------------

    def forward(self, features: tuple[Tensor, ...], *plan: Tensor) -> ViewOutput:
        split = len(plan) - self.queries.plan_length
        lift, places, seen = plan[:split], plan[split].flatten(0, 1), plan[split + 1:]
        numbers = len(lift) - self.lift.depth_net.plan_length
        maps = self.lift.depth_net(features[0], *lift[numbers:])  # [M*N D+C H W]
        depth, exact, context = split_maps(maps, len(self.lift.depths))
        coarse = self.lift.pooling(depth, context, *lift[:numbers]) / self.grid.heights  # [M C Y X]
        logits = None if self.proposal is None else self.proposal(coarse)  # [M 1 Y X]
        wanted = None if logits is None else (logits.sigmoid() > self.threshold).to(coarse.dtype).flatten(1)  # [M Q]
        refined = self.refine(coarse, context, depth, places, self.queries.sight(*seen), wanted)
        return ViewOutput(coarse + refined if self.readd else refined, exact, logits)

    def refine(self, coarse: Tensor, context: Tensor, depth: Tensor, places: Tensor, sight: Sight,
               wanted: Tensor | None) -> Tensor:
        """Lets cells look back at the cameras.

        Args:
            coarse: [M C Y X], what is refined.
            context, depth: [M*N C H W] and [M*N D H W].
            places: [M*N P Z 4] of anchors in the images, then in the picture of `depth_at`.
            sight: which cells each camera looks at.
            wanted: [M Q], 1 = foreground; None: all cells.

        Returns:
            [M C Y X].
        """
        query = self.cells + coarse.flatten(2).transpose(1, 2)  # [M Q C]
        own = map_places(self.grid.shape, query).expand(len(query), -1, -1)  # [M Q 2]
        keep = 1 - wanted.unsqueeze(-1) if wanted is not None and self.self_attention == "background" else None
        if wanted is not None:
            sight = with_blind(sight, wanted) if self.blind_camera == "first_query" else sight.only(wanted)
        spatial = (context.flatten(2).transpose(1, 2), [tuple(context.shape[2:])], places[..., :2], sight,
                   depth_at(depth, places[..., 2:]))
        for layer in self.layers:
            query = layer(query, self.position(), (self.grid.shape, own, keep), spatial)
        return query.transpose(1, 2).unflatten(2, self.grid.shape)

    def exportable(self) -> ForwardBackward:
        twin = copy.copy(self)  # shallow: the same parameters
        twin._modules = {**self._modules, "lift": self.lift.exportable()}
        if isinstance(self.queries, SeenQueries):
            twin.queries = SeenQueries(self.export_sight)
        return twin


def depth_at(depth: Tensor, places: Tensor) -> Tensor:
    """Reads probabilities [V D H W] at places [V P Z 2] in the picture of all bins, one below the other: [V P Z].

    A row of zeros under each bin keeps bilinear reading from mixing two, so that one 4-D grid_sample serves all bins.
    """
    picture = F.pad(depth, (0, 0, 0, 1)).flatten(1, 2).unsqueeze(1)  # [V 1 D*(H+1) W]
    return F.grid_sample(picture, 2 * places.to(depth.dtype) - 1, padding_mode="zeros", align_corners=False).squeeze(1)


def with_blind(sight: Sight, wanted: Tensor) -> EverySight:
    """Lets cameras that see none of the queries ``wanted`` [M Q] look at the first query they see, uncounted."""
    assert isinstance(sight, EverySight)
    seen = (sight.share > 0).to(wanted.dtype)  # [M N Q]
    useful = sight.share * wanted.unsqueeze(1)
    blind = (useful.amax(dim=2, keepdim=True) == 0).to(wanted.dtype)  # [M N 1]
    first = torch.arange(seen.shape[2], device=seen.device) == seen.argmax(dim=2, keepdim=True)  # [M N Q]
    return EverySight(useful + blind * first * seen)
