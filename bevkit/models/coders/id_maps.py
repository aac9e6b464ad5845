"""What maps of instance ids say about motion: centres, and the vectors that lead to them."""

from __future__ import annotations

import torch
from torch import Tensor

IGNORE = 255  # in targets: no supervision here


def instance_centers(ids: Tensor, count: int | None = None) -> tuple[Tensor, Tensor]:
    """Returns where instances are: mean cells [S I+1 2] (column, row; float64) and sizes [S I+1] in cells (int64).

    Args:
        ids: [S Y X] int64, 0 = background.
        count: I, the largest id; taken from the maps by default. Where an instance is absent its centre is NaN.
    """
    steps, rows, columns = ids.shape
    width = 1 + (int(ids.max()) if count is None and ids.numel() else count or 0)
    key = (ids + width * torch.arange(steps, device=ids.device)[:, None, None]).flatten()
    row, column = (axis.expand(steps, -1, -1).flatten() for axis in _cells(rows, columns, ids.device))
    # Sums of whole numbers: float64 holds them exactly.
    sizes, sum_x, sum_y = (torch.bincount(key, weight, minlength=steps * width).view(steps, width)
                           for weight in (None, column, row))
    return torch.stack((sum_x, sum_y), dim=-1) / sizes.unsqueeze(-1), sizes


def trajectories(ids: Tensor) -> dict[int, Tensor]:
    """Returns the centres [S 2] (column, row; cells) of every instance of maps [S Y X]; NaN in frames without it."""
    centers, sizes = instance_centers(ids)
    return {int(index): centers[:, index] for index in torch.nonzero(sizes[:, 1:].any(dim=0)).flatten() + 1}


def offsets_to_centers(ids: Tensor) -> Tensor:
    """Returns the vectors [S 2 Y X] from every cell of an instance to its rounded centre; `IGNORE` elsewhere."""
    return _vectors_to(ids, rounded_centers(ids))


def backward_flow(ids: Tensor) -> Tensor:
    """Returns where each cell's instance was a frame ago: vectors [S 2 Y X] to its rounded centre there.

    Channel 0 = x (column), 1 = y (row), in cells. In the first frame they lead to the centre in the same frame.
    `IGNORE` stands on background and where the instance was absent a frame ago (PowerBEV, section 3.2).
    """
    centers = rounded_centers(ids)
    return _vectors_to(ids, torch.cat((centers[:1], centers[:-1])))


def forward_flow(ids: Tensor, next_in_this: Tensor) -> Tensor:
    """Returns how far each instance moves until the next frame: vectors [S 2 Y X] between rounded centres.

    The same vector stands on all cells of an instance; `IGNORE` elsewhere and in the last frame (FIERY, section 3.4).

    Args:
        ids: [S Y X] int64.
        next_in_this: [S-1 Y X] int64, the map of frame t+1 seen in frame t.
    """
    count = int(ids.max())
    moved = torch.full((*ids.shape[:1], count + 1, 2), torch.nan, dtype=torch.float64, device=ids.device)
    now = rounded_centers(ids, count)
    moved[:-1] = rounded_centers(next_in_this, count) - now[:-1]
    # An instance that the warp alone pushes off the map, or that is drawn only off its own map, has no next centre.
    moved[:-1][torch.isnan(now[1:])] = torch.nan
    return _ignoring(_gather(moved, ids))


def centerness(ids: Tensor, sigma: float = 3.0) -> Tensor:
    """Returns bumps exp(-d^2 / sigma^2) [S 1 Y X] around the rounded centres, d in cells; the highest one wins."""
    row, column = _cells(*ids.shape[-2:], ids.device)
    maps = []
    for centers in rounded_centers(ids).nan_to_num(nan=-1e6):  # [I+1 2], frame by frame to spare memory
        along_x = torch.exp(-(column[0] - centers[:, :1]) ** 2 / sigma ** 2)  # [I+1 X]
        along_y = torch.exp(-(row[:, 0] - centers[:, 1:]) ** 2 / sigma ** 2)  # [I+1 Y]
        maps.append((along_y.unsqueeze(-1) * along_x.unsqueeze(-2)).amax(dim=0))  # [Y X]
    return torch.stack(maps).unsqueeze(1).float()


def rounded_centers(ids: Tensor, count: int | None = None) -> Tensor:
    """Returns centres [S I+1 2] rounded to cells, half to even; NaN where absent and for the background."""
    centers = instance_centers(ids, count)[0].round()
    centers[:, 0] = torch.nan
    return centers


def _vectors_to(ids: Tensor, centers: Tensor) -> Tensor:
    row, column = _cells(*ids.shape[-2:], ids.device)
    targets = _gather(centers, ids)  # [S 2 Y X]
    return _ignoring(torch.stack((targets[:, 0] - column, targets[:, 1] - row), dim=1))


def _gather(values: Tensor, ids: Tensor) -> Tensor:
    """Writes the values [S I+1 2] of instances on their cells: [S 2 Y X]."""
    steps = torch.arange(len(ids), device=ids.device)[:, None, None]
    return values[steps, ids].permute(0, 3, 1, 2)


def _ignoring(vectors: Tensor) -> Tensor:
    return vectors.nan_to_num(nan=float(IGNORE)).float()


def _cells(rows: int, columns: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Returns the row and the column of every cell, each [Y X] float64."""
    y = torch.arange(rows, dtype=torch.float64, device=device)
    x = torch.arange(columns, dtype=torch.float64, device=device)
    row, column = torch.meshgrid(y, x, indexing="ij")
    return row, column
