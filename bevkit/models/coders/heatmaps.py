"""Centres as smooth peaks on a map of cells (CornerNet, ECCV 2018; CenterPoint, CVPR 2021)."""

from __future__ import annotations

import torch
from torch import Tensor


def gaussian_radius(length: Tensor, width: Tensor, min_overlap: float) -> Tensor:
    """Returns how far [A] (cells) a box may be displaced so that it still overlaps itself by ``min_overlap`` (IoU).

    The least of three displacements, for boxes [A] x [A] in cells: one corner shifted along, both drawn in, both
    pushed out. Two of the quadratic equations are solved as CornerNet published them, without division by the leading
    coefficient; every released weight has seen these radii.
    """
    total, area = length + width, length * width

    def root(a: float, b: Tensor, c: Tensor) -> Tensor:
        return (b + (b * b - 4 * a * c).sqrt()) / 2

    shifted = root(1, total, area * (1 - min_overlap) / (1 + min_overlap))
    inner = root(4, 2 * total, (1 - min_overlap) * area)
    outer = root(4 * min_overlap, -2 * min_overlap * total, (min_overlap - 1) * area)
    return torch.minimum(torch.minimum(shifted, inner), outer)


def draw_peaks(shape: tuple[int, int], cells: Tensor, radii: Tensor) -> Tensor:
    """Draws Gaussian peaks of height 1 on an empty map [Y X], the higher one where two meet.

    Args:
        cells: [A 2] int64 (column, row) of the peaks.
        radii: [A] int64 cells; a peak ends there (a square of 2 r + 1 cells), its sigma is a sixth of that side.
    """
    rows, columns = shape
    if len(cells) == 0:
        return torch.zeros(shape)
    sigma = (2 * radii + 1).double() / 6

    def profile(count: int, centers: Tensor) -> tuple[Tensor, Tensor]:
        away = torch.arange(count) - centers[:, None]  # [A count]
        return torch.exp(-away ** 2 / (2 * sigma[:, None] ** 2)), away.abs() <= radii[:, None]

    (x, near_x), (y, near_y) = profile(columns, cells[:, 0]), profile(rows, cells[:, 1])
    peaks = y[:, :, None] * x[:, None, :] * (near_y[:, :, None] & near_x[:, None, :])  # [A Y X]
    return peaks.amax(dim=0).float()
