"""Lift-splat: every pixel spreads its feature along its ray, every BEV cell sums what falls into it."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from bevkit.checks import expect
from bevkit.models.view_transformers.base import ViewOutput, ViewTransformer
from bevkit.ops.bev_pool import SortedPooling
from bevkit.ops.bev_pool_tables import TablePooling
from bevkit.registry import MODELS
from bevkit.structures import BEVGrid, CameraRig

FRUSTUMS = ("center", "corner")
INDEXINGS = ("floor", "truncate")


@MODELS.register_module()
class LiftSplat(ViewTransformer):
    """Lift-Splat-Shoot (Philion & Fidler, ECCV 2020) with the sum pooling of `bevkit.ops.bev_pool`.

    Args:
        grid: the BEV grid; a point must also lie in its z range.
        in_channels: channels of the finest features; coarser ones are not read.
        channels: C, context channels, those of the map.
        depth: (first, end, step) in metres; the D depths are first, first + step, .. below end.
        image_size: (h, w) of the images the network sees.
        stride: image pixels per feature pixel.
        frustum: where feature pixel i looks from. ``"center"``: (i + 0.5) * stride - 0.5, the centre of its stride
            cell; ``"corner"``: spread from the first to the last image pixel, as the weights released by LSS, FIERY,
            PowerBEV and BEVDepth have seen.
        indexing: the cell of a point. ``"floor"``: the cell that contains it; ``"truncate"``: rounded toward zero, as
            those weights have seen, which also counts points up to one cell outside the low edges.
        export_capacity: how many cells an image column may meet per depth in the exported graph, whose plan has fixed
            shapes; a rig that needs more is refused by `plan`, with the number to set.
    """

    def __init__(self, grid: BEVGrid, in_channels: int, channels: int, depth: tuple[float, float, float],
                 image_size: tuple[int, int], stride: int, frustum: str = "center", indexing: str = "floor",
                 export_capacity: float = 4.0) -> None:
        super().__init__()
        if frustum not in FRUSTUMS:
            raise ValueError(f"frustum: expected one of {FRUSTUMS}, got {frustum!r}")
        if indexing not in INDEXINGS:
            raise ValueError(f"indexing: expected one of {INDEXINGS}, got {indexing!r}")
        if image_size[0] % stride or image_size[1] % stride:
            raise ValueError(f"image_size: expected multiples of the stride {stride}, got {tuple(image_size)}; "
                             f"crop or resize images to such a size")
        self.grid = grid
        self.image_size = (int(image_size[0]), int(image_size[1]))
        self.stride = stride
        self.frustum = frustum
        self.indexing = indexing
        # The end is excluded; counted in whole steps, so that rounding of the step cannot add a depth.
        self.depths = depth[0] + depth[2] * torch.arange(depth_count(depth), dtype=torch.float64)
        self.channels = channels
        self.depth_net = nn.Conv2d(in_channels, len(self.depths) + channels, kernel_size=1)
        self.export_capacity = export_capacity
        self.pooling: SortedPooling | TablePooling = SortedPooling(grid.shape)

    @property
    def feature_size(self) -> tuple[int, int]:
        """Rows and columns (H, W) of the features."""
        return self.image_size[0] // self.stride, self.image_size[1] // self.stride

    def pixels(self) -> tuple[Tensor, Tensor]:
        """Returns the image coordinates (float64) the features look from: u [W] of columns and v [H] of rows."""
        def positions(features: int, pixels: int) -> Tensor:
            if self.frustum == "corner":
                return torch.linspace(0, pixels - 1, features, dtype=torch.float64)
            return (torch.arange(features, dtype=torch.float64) + 0.5) * self.stride - 0.5

        rows, columns = self.feature_size
        return positions(columns, self.image_size[1]), positions(rows, self.image_size[0])

    def points(self, rig: CameraRig) -> Tensor:
        """Lifts every feature pixel to every depth: ego points [M N D H W 3] in metres, in the rig's dtype."""
        expect("rig.intrinsics", rig.intrinsics, "M N 3 3")
        if tuple(rig.image_size) != self.image_size:
            raise ValueError(f"rig: expected images of {self.image_size} (height, width) as the view transformer was "
                             f"built for, got {tuple(rig.image_size)}; set image_size in one of them")
        like = rig.ego_from_camera
        u, v = (axis.to(like) for axis in self.pixels())
        size = (len(v), len(u))
        pixels = torch.stack((u.expand(size), v[:, None].expand(size), torch.ones(size).to(like)), dim=-1)  # [H W 3]
        # In float64, because a 3x3 product with pixels of thousands loses digits: ray = R K^-1 (u, v, 1).
        ego_from_image = rig.ego_from_camera[..., :3, :3].double() @ torch.linalg.inv(rig.image_from_camera.double())
        rays = (pixels.flatten(0, 1).double() @ ego_from_image.mT).unflatten(-2, size).to(like)  # [M N H W 3]
        origins = rig.ego_from_camera[..., None, None, None, :3, 3]
        return rays.unsqueeze(2) * self.depths.to(like).view(-1, 1, 1, 1) + origins

    def cells(self, points: Tensor) -> Tensor:
        """Finds the cell of points [M N D H W 3] in the flattened map: [M N D H W] int32, -1 = off the grid."""
        rows, columns = self.grid.shape
        index = self.grid.cells_from_metric(points)
        index = index.floor() if self.indexing == "floor" else index.trunc()
        x, y, z = index.unbind(-1)
        on_grid = (x >= 0) & (x < columns) & (y >= 0) & (y < rows) & (z >= 0) & (z < self.grid.heights)
        return torch.where(on_grid, y.to(torch.int32) * columns + x.to(torch.int32), -1)

    @torch.no_grad()
    def plan(self, rig: CameraRig) -> tuple[Tensor, ...]:
        return self.pooling.plan(self.cells(self.points(rig)))

    def forward(self, features: tuple[Tensor, ...], *plan: Tensor) -> ViewOutput:
        maps = self.depth_net(features[0])  # [M*N D+C H W]
        depth = maps[:, :len(self.depths)].softmax(dim=1)
        return ViewOutput(self.pooling(depth, maps[:, len(self.depths):], *plan), depth)

    def exportable(self) -> LiftSplat:
        twin = copy.copy(self)  # shallow: the same parameters
        twin.pooling = TablePooling(self.grid.shape, self.export_capacity)
        return twin


def depth_count(depth: tuple[float, float, float]) -> int:
    """Returns D of depths (first, end, step): how many of first, first + step, .. lie below end."""
    first, end, step = depth
    if not (0 < first < end and step > 0):
        raise ValueError(f"depth: expected (first, end, step) in metres with 0 < first < end and step > 0, got {depth}")
    return int(-(-(end - first - 1e-6 * step) // step))
