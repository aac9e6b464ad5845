"""MatrixVT: the view transform as products of matrices, after images have been squeezed to one row."""

from __future__ import annotations

import copy
from collections import namedtuple
from typing import Any

import torch
from torch import Tensor, nn

from bevkit.models.view_transformers.base import ViewOutput, ViewTransformer
from bevkit.models.view_transformers.depth_net import split_maps
from bevkit.models.view_transformers.frustum import Frustum, cells_of, check_indexing
from bevkit.ops.ring_ray import MAPS, DenseRingRay, SparseRingRay
from bevkit.registry import MODELS
from bevkit.structures import BEVGrid, CameraRig

CENTER_CELLS = ("kept", "emptied")
PRODUCTS = ("auto", "dense", "sparse")


@MODELS.register_module()
class MatrixVT(ViewTransformer):
    """Prime extraction, then ring and ray matrices (Zhou et al., ICCV 2023); rectangular grids too.

    Things hardly overlap in the columns of an image, so each column is squeezed to one feature and one depth
    distribution (section 3.2). Of the matrix that sends (column, depth) to cells only its two projections are kept
    (section 3.3): the ring matrix, which cells lie at a depth, and the ray matrix, which cells a column sees. A cell
    sums the features of the columns that see it, each times its weights at the depths of the cell. Heights do not
    count: a point is placed by its mean over the column.

    Args:
        grid, in_channels, channels, depth, image_size, stride, frustum, indexing: as of `LiftSplat`.
        depth_net: config of what turns features into depth and context.
        hidden: channels of the layers that work on the squeezed row.
        maps: ``"counted"``: an entry of the matrices is how many points of the row (ring) or depths (ray) it joins,
            divided by the cell's largest entry; ``"binary"``: 1 where there is any, as the authors' code has it.
        center_cell: ``"kept"``, or ``"emptied"`` as in the authors' code, where the cell at the middle of the map takes
            all points off the grid and is then cleared, points that really lie there included.
        product: ``"dense"`` multiplies the whole matrices, ``"sparse"`` only what the rays meet. ``"auto"``: sparse on
            the CPU, where it was ten times faster (12 against 122 ms on one thread, six cameras, 112 depths, 128 x 128
            cells), and dense elsewhere, which has not been measured.
    """

    def __init__(self, grid: BEVGrid, in_channels: int, channels: int, depth: tuple[float, float, float],
                 image_size: tuple[int, int], stride: int, frustum: str = "center", indexing: str = "floor",
                 depth_net: dict[str, Any] | None = None, hidden: int = 512, maps: str = "counted",
                 center_cell: str = "kept", product: str = "auto") -> None:
        super().__init__()
        for name, value, known in (("maps", maps, MAPS), ("center_cell", center_cell, CENTER_CELLS),
                                   ("product", product, PRODUCTS)):
            if value not in known:
                raise ValueError(f"{name}: expected one of {known}, got {value!r}")
        self.grid, self.channels = grid, channels
        self.lift = Frustum(tuple(depth), tuple(image_size), stride, frustum)  # type: ignore[arg-type]
        self.image_size, self.stride, self.frustum = self.lift.image_size, stride, frustum
        self.indexing = check_indexing(indexing)
        self.maps, self.center_cell, self.product = maps, center_cell, product
        self.depths = self.lift.depths
        self.depth_net = MODELS.build(depth_net or dict(type="CameraAwareDepthNet"), default_args=dict(
            in_channels=in_channels, depths=len(self.depths), channels=channels))
        self.depth_squeeze = DepthSqueeze(channels)
        self.feature_squeeze = FeatureSqueeze(channels, hidden)

    def cells(self, rig: CameraRig) -> Tensor:
        """Finds the cell of every depth of every column of M rigs: [M N D W] int32, -1 = nowhere."""
        cells = cells_of(self.grid, self.lift.points(rig).mean(dim=3), self.indexing, heights=False)
        if self.center_cell == "emptied":
            rows, columns = self.grid.shape
            cells = torch.where(cells == rows // 2 * columns + columns // 2, -1, cells)
        return cells

    def ring_ray(self, device: torch.device) -> DenseRingRay | SparseRingRay:
        """Returns the product that runs on a device."""
        sparse = self.product == "sparse" or (self.product == "auto" and device.type == "cpu")
        return (SparseRingRay if sparse else DenseRingRay)(self.grid.shape, self.maps)

    @torch.no_grad()
    def plan(self, rig: CameraRig) -> tuple[Tensor, ...]:
        """Returns the plan of the product, then that of the depth net."""
        matrices, cameras = self.ring_ray(rig.ego_from_camera.device).plan(self.cells(rig)), self.depth_net.plan(rig)
        return namedtuple("Plan", (*matrices._fields, "cameras"))(*matrices, *cameras) if cameras else matrices

    def forward(self, features: tuple[Tensor, ...], *plan: Tensor) -> ViewOutput:
        count = len(plan) - self.depth_net.plan_length
        maps = self.depth_net(features[0], *plan[count:])  # [M*N D+C H W]
        depth, exact, context = split_maps(maps, len(self.depths))
        row_depth = self.depth_squeeze(context, depth)  # [M*N D W]
        row = self.feature_squeeze(context)  # [M*N C W]
        return ViewOutput(self.ring_ray(row.device)(row_depth, row, *plan[:count]), exact)

    def exportable(self) -> MatrixVT:
        twin = copy.copy(self)  # shallow: the same parameters
        twin.product = "dense"
        return twin


class DepthSqueeze(nn.Module):
    """Joins the depth distributions of a column to one, each pixel weighted by what its context says of it.

    Args:
        channels: C.
        hidden: channels between.
    """

    def __init__(self, channels: int, hidden: int | None = None) -> None:
        super().__init__()
        hidden = channels if hidden is None else hidden
        self.weigh = nn.Sequential(nn.Conv2d(channels, hidden, 3, padding=1), nn.BatchNorm2d(hidden),
                                   nn.ReLU(inplace=True), nn.Conv2d(hidden, 1, 3, padding=1))

    def forward(self, context: Tensor, depth: Tensor) -> Tensor:
        """Squeezes depth [V D H W] by context [V C H W] to [V D W]."""
        return (depth * self.weigh(context).softmax(dim=2)).sum(dim=2)


class FeatureSqueeze(nn.Module):
    """Joins the features of a column to one: their largest, then convolutions along the row (MatrixVT's HoriConv).

    Args:
        channels: C, in and out.
        hidden: channels of the convolutions between.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        def block(before: int, after: int, bias: bool = False) -> list[nn.Module]:
            return [nn.Conv1d(before, after, 3, padding=1, bias=bias), nn.BatchNorm1d(after), nn.ReLU(inplace=True)]

        self.merge = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.Sigmoid(), nn.Conv2d(channels, channels, 1))
        self.reduce = nn.Sequential(*block(channels, hidden))
        self.mix = nn.ModuleList(nn.Sequential(*block(hidden, hidden), *block(hidden, hidden)) for _ in range(2))
        self.out = nn.Sequential(*block(hidden, channels, bias=True))

    def forward(self, context: Tensor) -> Tensor:
        """Squeezes context [V C H W] to [V C W]."""
        row = self.reduce(self.merge(context).amax(dim=2))  # [V C' W]
        for mix in self.mix:
            row = row + mix(row)
        return self.out(row)
