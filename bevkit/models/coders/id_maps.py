"""What maps of instance ids say about motion: centres, and the vectors that lead to them."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

IGNORE = 255  # in targets: no supervision here


def instance_centers(ids: Tensor, count: int | None = None) -> tuple[Tensor, Tensor]:
    """Returns where instances are: mean cells [S I+1 2] (column, row; float64) and sizes [S I+1] in cells (int64).

    The background, index 0, counts as absent.

    Args:
        ids: [S Y X] int64, 0 = background.
        count: I, the largest id; taken from the maps by default. Where an instance is absent its centre is NaN.
    """
    steps = len(ids)
    width = 1 + (int(ids.max()) if count is None and ids.numel() else count or 0)
    step, row, column, index = _instance_cells(ids)
    key = step * width + index
    # Sums of whole numbers: float64 holds them exactly.
    sizes, sum_x, sum_y = (torch.bincount(key, weight, minlength=steps * width).view(steps, width)
                           for weight in (None, column.double(), row.double()))
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
    step, row, column, index = _instance_cells(ids)
    return _written(ids, moved[step, index])


def lasting_masks(ids: Tensor, count: int) -> Tensor:
    """Returns the mask of every instance in every frame: [I S Y X] bool, of maps [S Y X] of the ids 1 .. I = count.

    Who is missing in a frame stays as it was a frame before (FipTR, section 3.3); masks may then overlap.
    """
    masks = ids == torch.arange(1, count + 1, device=ids.device).view(-1, 1, 1, 1)
    for step in range(1, len(ids)):
        missing = ~masks[:, step].flatten(1).any(dim=1)
        masks[missing, step] = masks[missing, step - 1]
    return masks


def flow_of_masks(masks: Tensor) -> Tensor:
    """Returns where the instance of each cell was a frame ago: [S-1 2 Y X] float32, in cells, for the frames 1 .. S-1.

    The vector from the centre of a mask to its centre a frame before stands on all its cells (FipTR, section 3.3);
    `IGNORE` where there is no mask in one of both frames. Where masks overlap the instance of the highest number wins.

    Args: masks [I S Y X] bool.
    """
    row, column = torch.ones(masks.shape[2:], device=masks.device).nonzero().T.float()
    # A product, because sums over bool are slow; float32 holds whole numbers of this size exactly.
    sums = masks.flatten(2).float() @ torch.stack((column, row, torch.ones_like(row)), dim=-1)  # [I S 3]
    centers, seen = sums[..., :2] / sums[..., 2:], sums[..., 2] > 0
    there = seen[:, 1:] & seen[:, :-1]  # [I S-1]
    moves = torch.full((len(masks) + 1, *there.shape[1:], 2), float(IGNORE), device=masks.device)
    moves[1:][there] = (centers[:, :-1] - centers[:, 1:])[there]
    numbers = torch.arange(1, len(masks) + 1, dtype=torch.int16, device=masks.device).view(-1, 1) * there  # [I S-1]
    none = masks.new_zeros(masks.shape[1] - 1, *masks.shape[2:], dtype=torch.int16)
    top = torch.cat((none[None], masks[:, 1:] * numbers[..., None, None])).amax(dim=0).long()  # [S-1 Y X]
    frame = torch.arange(len(top), device=masks.device).view(-1, 1, 1)
    return moves[top, frame].permute(0, 3, 1, 2).contiguous()


def centerness(ids: Tensor, sigma: float = 3.0) -> Tensor:
    """Returns bumps exp(-d^2 / sigma^2) [S 1 Y X] around the rounded centres, d in cells; the highest one wins."""
    maps = []
    for centers in rounded_centers(ids):  # [I+1 2]
        column, row = centers[~centers[:, 0].isnan()].long().cpu().numpy().T
        apart = np.ones(ids.shape[-2:], np.uint8)
        apart[row, column] = 0
        distance = cv2.distanceTransform(apart, cv2.DIST_L2, cv2.DIST_MASK_PRECISE).astype(np.float64)
        maps.append(np.exp(-distance ** 2 / sigma ** 2) if len(row) else np.zeros_like(distance))
    return torch.from_numpy(np.stack(maps)).unsqueeze(1).float().to(ids.device)


def rounded_centers(ids: Tensor, count: int | None = None) -> Tensor:
    """Returns centres [S I+1 2] rounded to cells, half to even; NaN where absent and for the background."""
    return instance_centers(ids, count)[0].round()


def _vectors_to(ids: Tensor, centers: Tensor) -> Tensor:
    step, row, column, index = _instance_cells(ids)
    return _written(ids, centers[step, index] - torch.stack((column, row), dim=-1))


def _instance_cells(ids: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns frame, row, column and id, each [P], of all cells of instances of maps [S Y X]; most cells are none."""
    step, row, column = torch.nonzero(ids, as_tuple=True)
    return step, row, column, ids[step, row, column]


def _written(ids: Tensor, vectors: Tensor) -> Tensor:
    """Writes vectors [P 2] on the cells of instances: [S 2 Y X] float32, `IGNORE` elsewhere and for NaN."""
    step, row, column, _ = _instance_cells(ids)
    maps = torch.full((len(ids), 2, *ids.shape[1:]), float(IGNORE), device=ids.device)
    maps[step, :, row, column] = vectors.nan_to_num(nan=float(IGNORE)).float()
    return maps
