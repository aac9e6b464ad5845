"""Lift-splat: every pixel spreads its feature along its ray, every BEV cell sums what falls into it."""

from __future__ import annotations

import copy
from collections import namedtuple
from typing import Any

import torch
from torch import Tensor, nn

from bevkit.models.view_transformers.base import ViewOutput, ViewTransformer
from bevkit.models.view_transformers.depth_net import split_maps
from bevkit.models.view_transformers.frustum import Frustum, cells_of, check_indexing
from bevkit.ops.bev_pool import SortedPooling
from bevkit.ops.bev_pool_tables import TablePooling
from bevkit.registry import MODELS
from bevkit.structures import BEVGrid, CameraRig


@MODELS.register_module()
class LiftSplat(ViewTransformer):
    """Lift-Splat-Shoot (Philion & Fidler, ECCV 2020) with the sum pooling of `bevkit.ops.bev_pool`.

    With ``depth_net=dict(type="CameraAwareDepthNet")`` it is the view transform of BEVDepth (Li et al., AAAI 2023).

    Args:
        grid: the BEV grid; a point must also lie in its z range.
        in_channels: channels of the finest features; coarser ones are not read.
        channels: C, context channels, those of the map.
        depth: (first, end, step) in metres; the D depths are first, first + step, .. below end.
        image_size: (h, w) of the images the network sees.
        stride: image pixels per feature pixel.
        frustum: where feature pixels look from, ``"center"`` or ``"corner"``, see `Frustum`.
        indexing: the cell of a point, ``"floor"`` or ``"truncate"``, see `cells_of`.
        depth_net: config of what turns features into depth and context; the default is one 1x1 convolution.
        aggregate_depth: let neighbours along columns and depth mix before they are summed (`DepthAggregation`). The
            lifted tensor then has to be built.
        export_capacity: how many cells an image column may meet per depth in the exported graph, whose plan has fixed
            shapes; a rig that needs more is refused by `plan`, with the number to set.
    """

    def __init__(self, grid: BEVGrid, in_channels: int, channels: int, depth: tuple[float, float, float],
                 image_size: tuple[int, int], stride: int, frustum: str = "center", indexing: str = "floor",
                 depth_net: dict[str, Any] | None = None, aggregate_depth: bool = False,
                 export_capacity: float = 4.0) -> None:
        super().__init__()
        self.grid = grid
        self.lift = Frustum(tuple(depth), tuple(image_size), stride, frustum)  # type: ignore[arg-type]
        self.image_size, self.stride, self.frustum = self.lift.image_size, stride, frustum
        self.indexing = check_indexing(indexing)
        self.depths = self.lift.depths
        self.channels = channels
        self.depth_net = MODELS.build(depth_net or dict(type="PlainDepthNet"), default_args=dict(
            in_channels=in_channels, depths=len(self.depths), channels=channels))
        self.aggregation = DepthAggregation(channels) if aggregate_depth else None
        self.export_capacity = export_capacity
        self.pooling: SortedPooling | TablePooling = SortedPooling(grid.shape)

    @property
    def feature_size(self) -> tuple[int, int]:
        """Rows and columns (H, W) of the features."""
        return self.lift.feature_size

    def pixels(self) -> tuple[Tensor, Tensor]:
        """Returns the image coordinates (float64) the features look from: u [W] of columns and v [H] of rows."""
        return self.lift.pixels()

    def points(self, rig: CameraRig) -> Tensor:
        """Lifts every feature pixel to every depth: ego points [M N D H W 3] in metres, in the rig's dtype."""
        return self.lift.points(rig)

    def cells(self, points: Tensor) -> Tensor:
        """Finds the cell of points [M N D H W 3] in the flattened map: [M N D H W] int32, -1 = off the grid."""
        return cells_of(self.grid, points, self.indexing)

    @torch.no_grad()
    def plan(self, rig: CameraRig) -> tuple[Tensor, ...]:
        """Returns the plan of the pooling, then that of the depth net."""
        cells = self.cells(self.points(rig))
        if self.aggregation is not None:  # every depth of a camera is pooled like a camera of its own
            cells = cells.flatten(1, 2).unsqueeze(2)  # [M N*D 1 H W]
        pool, cameras = self.pooling.plan(cells), self.depth_net.plan(rig)
        # Named, so that the inputs of an exported graph have names.
        return namedtuple("Plan", (*pool._fields, "cameras"))(*pool, *cameras) if cameras else pool

    def forward(self, features: tuple[Tensor, ...], *plan: Tensor) -> ViewOutput:
        count = len(plan) - self.depth_net.plan_length
        maps = self.depth_net(features[0], *plan[count:])  # [M*N D+C H W]
        depth, exact, context = split_maps(maps, len(self.depths))
        if self.aggregation is None:
            return ViewOutput(self.pooling(depth, context, *plan[:count]), exact)
        lifted = self.aggregation(depth, context)  # [M*N D C H W]
        lifted = lifted.flatten(0, 1)  # [M*N*D C H W]
        return ViewOutput(self.pooling(torch.ones_like(lifted[:, :1]), lifted, *plan[:count]), exact)

    def exportable(self) -> LiftSplat:
        twin = copy.copy(self)  # shallow: the same parameters
        twin.pooling = TablePooling(self.grid.shape, self.export_capacity)
        return twin


class DepthAggregation(nn.Module):
    """Mixes lifted features along image columns and depth (BEVDepth, section 4.3), each image row by itself.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        def block() -> list[nn.Module]:
            return [nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels),
                    nn.ReLU(inplace=True)]

        self.reduce = nn.Sequential(*block())
        self.mix = nn.Sequential(*block(), *block())
        self.out = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, depth: Tensor, context: Tensor) -> Tensor:
        """Lifts context [V C H W] by depth [V D H W] and mixes it: [V D C H W]."""
        size = (len(depth), depth.shape[2])
        depth = depth.permute(0, 2, 3, 1).flatten(0, 1).unsqueeze(1)  # [V*H 1 W D]
        context = context.transpose(1, 2).flatten(0, 1).unsqueeze(-1)  # [V*H C W 1]
        maps = self.reduce(depth * context)  # [V*H C W D]
        maps = self.out(maps + self.mix(maps))
        return maps.unflatten(0, size).permute(0, 4, 2, 1, 3)  # [V D C H W]
