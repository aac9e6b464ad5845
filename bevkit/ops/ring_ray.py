"""Sends columns of images to the cells of a map by ring and ray matrices (MatrixVT, Zhou et al., ICCV 2023, 3.3).

A cell is reached by the columns whose rays pass through it and at the depths whose rings pass through it:

    map[c, l] = sum over columns k of features[k, c] * ray[k, l] * sum over depths d of depth[k, d] * ring[d, l]

Two forms give the same values and gradients. `DenseRingRay` is the formula, three operators that every runtime has.
`SparseRingRay` computes the inner sum only where a ray passes: a column meets at most D cells. There it is a product
of a small matrix of the plan, the ring's columns at these cells, with the column's depths; the outer sum is `bev_pool`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from bevkit.checks import expect
from bevkit.ops.bev_pool import PoolPlan, bev_pool, plan_bev_pool

MAPS = ("counted", "binary")


class RingRayPlan(NamedTuple):
    """ring [M D L] and ray [M K L] for M rigs with K = N*W columns, D depths and L = Y*X cells."""

    ring: Tensor
    ray: Tensor


class SparseRingRayPlan(NamedTuple):
    """mixing [M N W D D]: what the weights of a column's D cells take of its D depths; then a `PoolPlan`, which see."""

    mixing: Tensor
    cells: Tensor
    points: Tensor
    pixels: Tensor
    starts: Tensor


def ring_ray_matrices(cells: Tensor, area: int, maps: str, dtype: torch.dtype = torch.float32) -> RingRayPlan:
    """Fills both matrices from the cell of every depth of every column.

    Args:
        cells: [M N D W], flat cells below ``area``, -1 = nowhere.
        maps: ``"counted"``: how many columns (ring) or depths (ray) an entry joins, over the cell's largest entry;
            ``"binary"``: 1 where there is any.
    """
    axes = expect("cells", cells, "M N D W")
    rigs, cameras, depths, columns = (axes[letter] for letter in "MNDW")
    place = torch.where(cells < 0, area, cells).long()  # the column `area` is cut off below
    ring_place = place.transpose(1, 2).flatten(2)  # [M D N*W]
    ray_place = place.transpose(2, 3).flatten(1, 2)  # [M N*W D]
    matrices = []
    for lines, where in ((depths, ring_place), (cameras * columns, ray_place)):
        matrix = torch.zeros(rigs, lines, area + 1, dtype=dtype, device=cells.device)
        matrix = matrix.scatter_add_(2, where, torch.ones_like(where, dtype=dtype))[..., :area]  # [M lines L]
        if maps == "binary":
            matrix = (matrix > 0).to(dtype)
        else:
            matrix = matrix / matrix.amax(dim=1, keepdim=True).clamp(min=1)
        matrices.append(matrix)
    return RingRayPlan(*matrices)


def _check(depth: Tensor, features: Tensor, rigs: int, cameras: int | None = None) -> int:
    """Binds the letters of depth [V D W] and features [V C W], V = M*N; returns N."""
    expect("features", features, "V C W", expect("depth", depth, "V D W"))
    if len(depth) % rigs or (cameras is not None and len(depth) != rigs * cameras):
        raise ValueError(f"depth: expected the cameras of {rigs} rigs, got {len(depth)} views; plan the same rigs")
    return len(depth) // rigs


@dataclass(frozen=True)
class DenseRingRay:
    """The whole matrices: the reference, and the form for export.

    Args:
        shape: rows and columns (Y, X) of the map.
        maps: see `ring_ray_matrices`.
    """

    shape: tuple[int, int]
    maps: str = "counted"

    def plan(self, cells: Tensor) -> RingRayPlan:
        return ring_ray_matrices(cells, self.shape[0] * self.shape[1], self.maps)

    def __call__(self, depth: Tensor, features: Tensor, *plan: Tensor) -> Tensor:
        """Turns depth [M*N D W] and features [M*N C W] of columns into a map [M C Y X]."""
        ring, ray = (matrix.to(depth.dtype) for matrix in RingRayPlan(*plan))
        rigs, cameras = len(ring), _check(depth, features, len(ring))
        depth = depth.unflatten(0, (rigs, cameras)).transpose(2, 3).flatten(1, 2)  # [M N*W D]
        features = features.unflatten(0, (rigs, cameras)).permute(0, 2, 1, 3).flatten(2)  # [M C N*W]
        return (features @ ((depth @ ring) * ray)).unflatten(2, self.shape)  # [M C Y X]


@dataclass(frozen=True)
class SparseRingRay:
    """Only the cells that rays meet; arguments as of `DenseRingRay`."""

    shape: tuple[int, int]
    maps: str = "counted"

    def plan(self, cells: Tensor) -> SparseRingRayPlan:
        rigs, cameras, depths, columns = cells.shape
        ring, ray = ring_ray_matrices(cells, self.shape[0] * self.shape[1], self.maps)
        place = cells.transpose(2, 3).reshape(rigs, -1).clamp(min=0).long()  # [M N*W*D]
        mixing = ring.transpose(1, 2).gather(1, place.unsqueeze(2).expand(-1, -1, depths))  # [M N*W*D D]
        ray = ray.gather(2, place.view(rigs, cameras * columns, depths)).view(rigs, -1)  # [M N*W*D]
        # A cell that several depths of a column meet counts once: at the first of them.
        by_column = cells.transpose(2, 3)  # [M N W D]
        same = by_column.unsqueeze(-1) == by_column.unsqueeze(-2)  # [M N W D D]
        first = ~same.tril(-1).any(dim=-1) & (by_column >= 0)
        mixing = mixing * (ray * first.view(rigs, -1)).unsqueeze(-1)
        pool = plan_bev_pool(torch.where(first.transpose(2, 3), cells, -1).unsqueeze(3), self.shape)  # [M N D 1 W]
        return SparseRingRayPlan(mixing.view(rigs, cameras, columns, depths, depths), *pool)

    def __call__(self, depth: Tensor, features: Tensor, *plan: Tensor) -> Tensor:
        """Turns depth [M*N D W] and features [M*N C W] of columns into a map [M C Y X]."""
        mixing, *pool = plan
        _check(depth, features, *mixing.shape[:2])
        mixing = mixing.flatten(0, 1).to(depth.dtype)  # [M*N W D D]
        weights = (mixing @ depth.transpose(1, 2).unsqueeze(-1)).squeeze(-1).transpose(1, 2)  # [M*N D W]
        return bev_pool(weights.unsqueeze(2), features.unsqueeze(2), PoolPlan(*pool), self.shape)
