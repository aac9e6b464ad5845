"""In the vehicle: from what the exported FIERY graph returns to instance maps. Needs numpy and OpenCV, nothing else.

This file twins `bevkit.models.coders.instance_center.InstanceCenterCoder.decode`; a test holds both to the same maps.

    ids = decode_centers(outputs, manifest["decode"])
"""

from __future__ import annotations

import numpy as np
from decode import VEHICLE, find_centers, group

FAR = 1e6  # cells; no instance is matched over so many


def decode_centers(outputs: dict[str, np.ndarray], coder: dict) -> np.ndarray:
    """Groups the cells of each frame around its centres, then links the frames: nearest centres after the flow.

    Args:
        outputs: of one sample, frames t .. t+F: segmentation [F+1 K Y X] class logits, center [F+1 1 Y X] in 0..1,
            offset and, if F > 0, flow [F+1 2 Y X] in cells, channel 0 = x (column), 1 = y (row).
        coder: ``decode`` of the manifest: center_threshold, nms_kernel, max_centers, match_within, reuse_ids.

    Returns:
        ids [F+1 Y X] int64 of the present and the future frames; 0 is background.
    """
    values = {name: np.asarray(outputs[name], dtype=np.float32) for name in ("segmentation", "center", "offset")}
    logits, heat, offset = values.values()
    if logits.ndim != 4 or offset.shape != (len(logits), 2, *logits.shape[2:]):
        raise ValueError(f"decode_centers: expected segmentation [F+1 K Y X] and offset [F+1 2 Y X] of one sample, got "
                         f"{list(logits.shape)} and {list(offset.shape)}; take one sample of the batch")
    occupied = logits[:, VEHICLE] > np.delete(logits, VEHICLE, axis=1).max(axis=1)  # [F+1 Y X]
    centers = [find_centers(frame[0], coder["nms_kernel"], coder["center_threshold"])[:coder["max_centers"]]
               for frame in heat]
    frames = [group(*frame) for frame in zip(centers, offset, occupied)]
    linked, largest = frames[:1], int(frames[0].max())
    for step, ids in enumerate(frames[1:]):
        flow = np.asarray(outputs["flow"][step], dtype=np.float32)
        ids, new = link(linked[-1], flow, ids, largest, coder["match_within"], coder["reuse_ids"])
        linked.append(ids)
        largest += new
    return np.stack(linked)


def link(before: np.ndarray, flow: np.ndarray, now: np.ndarray, largest: int, match_within: float,
         reuse_ids: bool = False) -> tuple[np.ndarray, int]:
    """Carries the ids of a map [Y X] to the next one; who is matched to nobody gets an id above ``largest``.

    Args: flow [2 Y X] of the map before; now [Y X] numbered without gaps; match_within in cells; reuse_ids: behind a
        frame without instances a frame keeps its own numbers.

    Returns: (ids [Y X] int64, how many new ones there are).
    """
    known, expected = centers_of(before, flow)
    _, centers = centers_of(now)
    if not len(centers) or reuse_ids and not len(known):
        return now, 0
    apart = expected[:, None] - centers  # [n n' 2]
    distance = np.sqrt(apart[..., 0] * apart[..., 0] + apart[..., 1] * apart[..., 1])
    distance = np.where(np.isfinite(distance), distance, FAR)  # a flow that is no number leads nowhere
    names = np.zeros(len(centers) + 1, dtype=np.int64)
    for row, column in zip(*assign(distance)):
        if distance[row, column] < match_within:
            names[column + 1] = known[row]
    fresh = np.nonzero(names[1:] == 0)[0] + 1
    names[fresh] = largest + 1 + np.arange(len(fresh))
    return names[now], len(fresh)


def centers_of(ids: np.ndarray, flow: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Returns the ids [n] on a map [Y X] and where their cells are in the mean [n 2] (column, row), after the flow."""
    row, column = np.nonzero(ids)
    index = ids[row, column]
    sizes = np.bincount(index)
    known = np.nonzero(sizes)[0]
    axes = []
    for axis, place in enumerate((column, row)):
        mean = np.bincount(index, place)[known] / sizes[known]
        if flow is not None:
            mean = mean + np.bincount(index, flow[axis, row, column].astype(np.float64))[known] / sizes[known]
        axes.append(mean)
    return known, np.stack(axes, axis=-1)


def assign(cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs rows with columns of a matrix of finite costs so that the sum is least: as many pairs as it can hold.

    Row by row the shortest path to a free column is sought, over costs reduced by potentials of rows and columns (the
    Hungarian method in the form of D. Crouse, "On implementing 2D rectangular assignment algorithms", IEEE TAES 2016).
    Among equals a free column comes first, then the order of the columns; SciPy's choice.

    Returns: (row, column) of the pairs, by row.

    Raises: ValueError where a cost is not finite: there is no shortest path over it.
    """
    cost = np.asarray(cost, dtype=np.float64)
    if not np.isfinite(cost).all():
        raise ValueError("assign: expected finite costs, got NaN or infinity; put a large number in their place")
    if cost.shape[0] > cost.shape[1]:
        column, row = assign(cost.T)
        order = np.argsort(row)
        return row[order], column[order]
    rows, columns = cost.shape
    row_price, column_price = np.zeros(rows), np.zeros(columns)
    column_of, row_of = np.full(rows, -1), np.full(columns, -1)
    for start in range(rows):
        shortest, came_from = np.full(columns, np.inf), np.full(columns, -1)
        waiting, reached = list(range(columns - 1, -1, -1)), [start]
        row, length = start, 0.0
        while True:
            there = np.array(waiting)
            path = length + cost[row, there] - row_price[row] - column_price[there]
            better = path < shortest[there]
            shortest[there[better]], came_from[there[better]] = path[better], row
            length = shortest[there].min()
            equals = np.nonzero(shortest[there] == length)[0]
            free = equals[row_of[there[equals]] < 0]
            place = free[-1] if len(free) else equals[0]
            column = waiting[place]
            waiting[place] = waiting[-1]
            waiting.pop()
            if row_of[column] < 0:
                break
            row = row_of[column]
            reached.append(row)
        row_price[start] += length
        for row in reached[1:]:
            row_price[row] += length - shortest[column_of[row]]
        done = np.setdiff1d(np.arange(columns), waiting)
        column_price[done] -= length - shortest[done]
        while True:  # the pairs on the path change places
            row = came_from[column]
            row_of[column] = row
            column_of[row], column = column, column_of[row]
            if row == start:
                break
    return np.arange(rows), column_of
