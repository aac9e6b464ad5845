"""From maps of class, centre and vector to maps of instances, as FIERY and PowerBEV group cells."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

VEHICLE = 1  # class index; 0 is background


def expect_window(kernel: int) -> None:
    """Raises ValueError unless a window of so many cells a side has a middle cell."""
    if kernel < 1 or kernel % 2 == 0:
        raise ValueError(f"nms_kernel: expected an odd number of cells, got {kernel}; use "
                         f"{max(kernel + 1 - kernel % 2, 1)}")


def is_vehicle(logits: Tensor) -> Tensor:
    """Says where vehicle is the likeliest class of logits [B S K Y X]: [B S Y X] bool. (argmax is 100 times slower.)"""
    others = torch.cat((logits[:, :, :VEHICLE], logits[:, :, VEHICLE + 1:]), dim=2)
    return logits[:, :, VEHICLE] > others.amax(dim=2)


def vehicle_probability(logits: Tensor) -> Tensor:
    """Returns the softmax of logits [B S K Y X] at the vehicle class: [B S Y X] float32.

    Rounded once from double precision, so that every machine finds the same maxima, as the vehicle's program does.
    """
    return logits.double().softmax(dim=2)[:, :, VEHICLE].float()


def find_centers(heat: Tensor, threshold: float, kernel: int, max_centers: int) -> Tensor:
    """Returns the local maxima [K 2] (column, row) of a map [Y X], rear ones first, among these the right ones.

    Args:
        heat: the map.
        threshold: only higher values count.
        kernel: side of the window in which one maximum survives, odd; equal ones survive together.
        max_centers: how many are returned at most.
    """
    margin = kernel // 2
    highest = F.max_pool2d(heat[None, None], (kernel, 1), stride=1, padding=(margin, 0))
    highest = F.max_pool2d(highest, (1, kernel), stride=1, padding=(0, margin))[0, 0]
    return torch.nonzero(((heat > threshold) & (heat == highest)).T)[:max_centers]


def group_cells(centers: Tensor, vectors: Tensor, occupied: Tensor) -> Tensor:
    """Gives each occupied cell the number of the centre nearest to where it points: [Y X] int64, without gaps.

    Args: centers [K 2] (column, row), vectors [2 Y X] in cells (x, y), occupied [Y X] bool.
    """
    ids = torch.zeros(occupied.shape, dtype=torch.int64, device=occupied.device)
    row, column = torch.nonzero(occupied, as_tuple=True)  # each [P]
    if len(centers) and len(row):
        x, y = column + vectors[0, row, column], row + vectors[1, row, column]
        places = centers.to(vectors.dtype)
        away_x, away_y = x[:, None] - places[:, 0], y[:, None] - places[:, 1]  # each [P K]
        # Of squares: some libraries round roots to a neighbour, and the vehicle's program would choose other centres.
        nearest = (away_x * away_x + away_y * away_y).argmin(dim=1)
        ids[row, column] = nearest.unique(return_inverse=True)[1] + 1  # only centres that someone points at count
    return ids
