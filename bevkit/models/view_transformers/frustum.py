"""Where feature pixels look: the points of every pixel at every depth."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bevkit.checks import expect
from bevkit.structures import BEVGrid, CameraRig

FRUSTUMS = ("center", "corner")
INDEXINGS = ("floor", "truncate")


@dataclass(frozen=True)
class Frustum:
    """The feature pixels of a camera, each at D depths.

    Args:
        depth: (first, end, step) in metres; the D depths are first, first + step, .. below end.
        image_size: (h, w) of the images the network sees.
        stride: image pixels per feature pixel.
        placement: where feature pixel i looks from. ``"center"``: (i + 0.5) * stride - 0.5, the centre of its stride
            cell; ``"corner"``: spread from the first to the last image pixel, as the weights released by LSS, FIERY,
            PowerBEV, BEVDet and BEVDepth have seen.
    """

    depth: tuple[float, float, float]
    image_size: tuple[int, int]
    stride: int
    placement: str = "center"

    def __post_init__(self) -> None:
        if self.placement not in FRUSTUMS:
            raise ValueError(f"frustum: expected one of {FRUSTUMS}, got {self.placement!r}")
        object.__setattr__(self, "image_size", (int(self.image_size[0]), int(self.image_size[1])))
        if self.image_size[0] % self.stride or self.image_size[1] % self.stride:
            raise ValueError(f"image_size: expected multiples of the stride {self.stride}, got {self.image_size}; "
                             f"crop or resize images to such a size")
        depth_count(self.depth)

    @property
    def depths(self) -> Tensor:
        """[D] metres, float64."""
        # The end is excluded; counted in whole steps, so that rounding of the step cannot add a depth.
        return self.depth[0] + self.depth[2] * torch.arange(depth_count(self.depth), dtype=torch.float64)

    @property
    def feature_size(self) -> tuple[int, int]:
        """Rows and columns (H, W) of the features."""
        return self.image_size[0] // self.stride, self.image_size[1] // self.stride

    def pixels(self) -> tuple[Tensor, Tensor]:
        """Returns the image coordinates (float64) the features look from: u [W] of columns and v [H] of rows."""
        def positions(features: int, pixels: int) -> Tensor:
            if self.placement == "corner":
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


def check_indexing(indexing: str) -> str:
    """Returns a name of `INDEXINGS`; raises ValueError for any other."""
    if indexing not in INDEXINGS:
        raise ValueError(f"indexing: expected one of {INDEXINGS}, got {indexing!r}")
    return indexing


def cells_of(grid: BEVGrid, points: Tensor, indexing: str, heights: bool = True) -> Tensor:
    """Finds the cell of points [* 3] in the flattened map: [*] int32, -1 = off the grid.

    Args:
        indexing: ``"floor"``: the cell that contains the point; ``"truncate"``: rounded toward zero, as the released
            weights of the lift-splat family have seen, which also counts points up to one cell outside the low edges.
        heights: whether the point must also lie in the grid's z range.
    """
    rows, columns = grid.shape
    index = grid.cells_from_metric(points)
    index = index.floor() if indexing == "floor" else index.trunc()
    x, y, z = index.unbind(-1)
    on_grid = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
    if heights:
        on_grid &= (z >= 0) & (z < grid.heights)
    return torch.where(on_grid, y.to(torch.int32) * columns + x.to(torch.int32), -1)


def depth_count(depth: tuple[float, float, float]) -> int:
    """Returns D of depths (first, end, step): how many of first, first + step, .. lie below end."""
    first, end, step = depth
    if not (0 < first < end and step > 0):
        raise ValueError(f"depth: expected (first, end, step) in metres with 0 < first < end and step > 0, got {depth}")
    return int(-(-(end - first - 1e-6 * step) // step))
