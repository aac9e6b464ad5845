"""In the vehicle: from the segmentation and flow of an exported graph to instance maps. Needs numpy and OpenCV alone.

deploy/ holds what runs beside the engine, plain scripts without PyTorch and without bevkit. This file twins
`bevkit.models.coders.instance_flow.InstanceFlowCoder.decode`; a test holds both to the same maps.

    ids = decode(segmentation, flow, nms_kernel=nms_kernel_size(x_high=50.0))
"""

from __future__ import annotations

import cv2
import numpy as np

VEHICLE = 1  # class index; 0 is background


def nms_kernel_size(x_high: float) -> int:
    """Returns the side in cells of the window in which one centre survives, for a grid that ends ``x_high`` m ahead."""
    size = round(350 / x_high)
    return size + 1 - size % 2


def decode(segmentation: np.ndarray, flow: np.ndarray, nms_kernel: int, center_threshold: float = 0.1,
           max_centers: int = 100) -> np.ndarray:
    """Finds the instances of the frame before the present and follows them through the flow.

    Args:
        segmentation: [F+2 K Y X] class logits of one sample, frames t-1 .. t+F.
        flow: [F+2 2 Y X] cells to the centre a frame earlier, channel 0 = x (column), 1 = y (row).
        nms_kernel: side in cells of the window in which one centre survives, odd.
        center_threshold: vehicle probability above which a cell can be a centre.
        max_centers: centres beyond this number are dropped, those farthest ahead first.

    Returns:
        ids [F+1 Y X] int64 of the present and the future frames; 0 is background.
    """
    if nms_kernel % 2 == 0:
        raise ValueError(f"nms_kernel: expected an odd number of cells, got {nms_kernel}; use {nms_kernel + 1}")
    if segmentation.ndim != 4 or flow.shape != (len(segmentation), 2, *segmentation.shape[2:]):
        raise ValueError(f"decode: expected segmentation [F+2 K Y X] and flow [F+2 2 Y X] of one sample, got "
                         f"{list(segmentation.shape)} and {list(flow.shape)}; take one sample of the batch")
    logits, flow = segmentation.astype(np.float32), flow.astype(np.float32)
    others = np.delete(logits, VEHICLE, axis=1)
    occupied = logits[:, VEHICLE] > others.max(axis=1)  # [F+2 Y X]
    centers = find_centers(vehicle_probability(logits[0]), nms_kernel, center_threshold)[:max_centers]
    ids = [group(centers, flow[1], occupied[1])]  # each [Y X]
    for step in range(2, len(flow)):
        ids.append(follow(ids[-1], flow[step]) * occupied[step])
    return np.stack(ids)


def vehicle_probability(logits: np.ndarray) -> np.ndarray:
    """Returns the softmax [.. Y X] float32 of class logits [.. K Y X] at the vehicle class."""
    logits = logits.astype(np.float64)
    weights = np.exp(logits - logits.max(axis=-3, keepdims=True))
    return (weights[..., VEHICLE, :, :] / weights.sum(axis=-3)).astype(np.float32)


def find_centers(probability: np.ndarray, nms_kernel: int, center_threshold: float) -> np.ndarray:
    """Returns the local maxima [K 2] (column, row) of a map [Y X], rear ones first, among these the right ones."""
    highest = cv2.dilate(probability, np.ones((nms_kernel, nms_kernel), np.uint8))
    return np.argwhere(((probability > center_threshold) & (probability == highest)).T)


def group(centers: np.ndarray, flow: np.ndarray, occupied: np.ndarray) -> np.ndarray:
    """Gives each occupied cell the number of the centre [K 2] nearest to where it points: [Y X] int64."""
    ids = np.zeros(occupied.shape, np.int64)
    row, column = np.nonzero(occupied)  # each [P]
    if len(centers) and len(row):
        x, y = (column + flow[0, row, column]).astype(np.float32), (row + flow[1, row, column]).astype(np.float32)
        places = centers.astype(np.float32)
        away_x, away_y = x[:, None] - places[:, 0], y[:, None] - places[:, 1]  # each [P K]
        nearest = (away_x * away_x + away_y * away_y).argmin(axis=1)
        ids[row, column] = np.unique(nearest, return_inverse=True)[1] + 1  # only centres that someone points at count
    return ids


def follow(ids: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Returns for every cell the id [Y X] that stands where it points at a frame earlier; 0 off the map."""
    rows, columns = ids.shape
    x = np.nan_to_num(np.rint((np.arange(columns) + flow[0]).astype(np.float32)), nan=-1.0)  # [Y X]
    y = np.nan_to_num(np.rint((np.arange(rows)[:, None] + flow[1]).astype(np.float32)), nan=-1.0)  # [Y X]
    on_map = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
    return np.where(on_map, ids[y.clip(0, rows - 1).astype(int), x.clip(0, columns - 1).astype(int)], 0)


def decode_maps(logits: np.ndarray, coder: dict) -> dict[str, np.ndarray]:
    """Returns a mask [Y X] bool by the name of each layer; twins `bevkit.models.coders.map_layers.MapCoder.decode`.

    Args:
        logits: [K Y X] of one sample.
        coder: ``decode`` of the manifest: layers, threshold.
    """
    if logits.ndim != 3 or len(logits) != len(coder["layers"]):
        raise ValueError(f"decode_maps: expected logits [{len(coder['layers'])} Y X] of one sample, got "
                         f"{list(logits.shape)}; take one sample of the batch")
    border = np.log(coder["threshold"] / (1 - coder["threshold"]))
    return {name: layer >= border for name, layer in zip(coder["layers"], logits.astype(np.float32))}
