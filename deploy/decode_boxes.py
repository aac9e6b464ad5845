"""In the vehicle: from what an exported detector returns to boxes. Needs numpy, nothing else.

This file twins `bevkit.models.coders.center_point.CenterPointCoder.decode` and `bevkit.models.coders.query_boxes.
QueryBoxCoder.decode`; a test holds both to the same boxes. Settings and class names are in the manifest.

    boxes, scores, names = decode_center_point(outputs, manifest["decode"], manifest["grid"])

A box is nine numbers: x, y, z of the gravity centre, length, width, height (metres), yaw (radians, counter-clockwise
from forward), vx, vy (m/s), in the ego frame: x forward, y left, z up.
"""

import numpy as np

HAIR = 1e-9  # metres; of two outlines that coincide and run the same way exactly one must count


def decode_center_point(outputs, coder, grid):
    """Reads the highest cells of each task and removes boxes that stand in the way of better ones.

    Args:
        outputs: heatmap [K Y X] (logits) and offset, height, size, heading, velocity [G c Y X] of one sample.
        coder: ``decode`` of the manifest: tasks, nms, max_peaks, max_boxes, max_before_nms, score_threshold,
            center_range.
        grid: ``grid`` of the manifest.

    Returns:
        boxes [A 9] float32, scores [A] float32, names (a list of A classes), task by task, each best first.
    """
    return _decode_tasks(outputs, coder, grid)[:3]


def decode_forecast(outputs, coder, grid):
    """Reads boxes and where they will go; twins `bevkit.models.coders.forecast.ForecastCoder.decode`.

    Args:
        outputs: as for `decode_center_point`, and paths [G K*F*2 Y X], path_scores [G K Y X] of one sample.
        coder: ``decode`` of the manifest, with ``steps`` F.

    Returns:
        boxes, scores, names as `decode_center_point`; paths [A K F 2] float32, metres from the centre of now along x
        and y at each step of 0.5 s, the likeliest guess first; their probabilities [A K] float32.
    """
    boxes, scores, names, place = _decode_tasks(outputs, coder, grid)
    paths, logits = (np.asarray(outputs[name], np.float32) for name in ("paths", "path_scores"))
    guesses = logits.shape[1]
    paths, logits = (maps.reshape(*maps.shape[:2], -1).transpose(0, 2, 1).reshape(-1, maps.shape[1])[place]
                     for maps in (paths, logits))
    odds = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
    odds = odds / odds.sum(axis=1, keepdims=True)
    order = np.argsort(-odds, axis=1, kind="stable")
    paths = paths.reshape(-1, guesses, coder["steps"], 2)
    return (boxes, scores, names, np.take_along_axis(paths, order[..., None, None], axis=1),
            np.take_along_axis(odds, order, axis=1))


def _decode_tasks(outputs, coder, grid):
    """Decodes all tasks: boxes, scores, names, and the place of each box in maps [G Y X]."""
    heatmap = np.asarray(outputs["heatmap"], np.float32)
    names = ("offset", "height", "size", "heading", "velocity")
    codes = np.concatenate([np.asarray(outputs[name], np.float32) for name in names], axis=1)  # [G 10 Y X]
    if heatmap.ndim != 3 or codes.ndim != 4:
        raise ValueError(f"decode: expected heatmap [K Y X] and maps [G c Y X] of one sample, got "
                         f"{list(heatmap.shape)} and {list(codes.shape)}; take one sample of the batch")
    splits = np.cumsum([len(task) for task in coder["tasks"]])[:-1]
    found = [_decode_task(sigmoid(heat), code, task, nms, coder, grid) for heat, code, task, nms in zip(
        np.split(heatmap, splits), codes, coder["tasks"], coder["nms"])]
    boxes, scores, classes, cells = zip(*found)
    place = np.concatenate([task * heatmap[0].size + cell for task, cell in enumerate(cells)])
    return np.concatenate(boxes), np.concatenate(scores), sum(classes, []), place


def _decode_task(scores, code, task, nms, coder, grid):
    """Decodes one task: scores [k Y X], code [10 Y X]; returns boxes, scores, class names and cells."""
    cells, columns = scores[0].size, scores.shape[2]
    place = best_of(scores.ravel(), coder["max_peaks"])
    score, channel, cell = scores.ravel()[place], place // cells, place % cells
    dx, dy, z, length, width, height, sin, cos, vx, vy = code.reshape(10, -1)[:, cell]
    x = (cell % columns + dx) * np.float32(grid["x"][2]) + np.float32(grid["x"][0])
    y = (cell // columns + dy) * np.float32(grid["y"][2]) + np.float32(grid["y"][0])
    boxes = np.stack((x, y, z, np.exp(length), np.exp(width), np.exp(height), np.arctan2(sin, cos), vx, vy),
                     axis=1).astype(np.float32)
    keep = (score > coder["score_threshold"]) & inside(boxes, coder["center_range"])
    boxes, score, channel, cell = boxes[keep], score[keep], channel[keep], cell[keep]
    chosen = suppress(nms, boxes, score, channel, coder["max_before_nms"])[:coder["max_boxes"]]
    return boxes[chosen], score[chosen], [task[index] for index in channel[chosen]], cell[chosen]


def decode_query_boxes(outputs, coder):
    """Takes the best (query, class) pairs of the last decoder layer.

    Args:
        outputs: scores [L Q K] (logits) and boxes [L Q 10] of one sample.
        coder: ``decode`` of the manifest: classes, max_boxes, score_threshold, center_range, relax_threshold.

    Returns:
        boxes [A 9] float32, scores [A] float32, names (a list of A classes), best first.
    """
    scores, codes = sigmoid(np.asarray(outputs["scores"], np.float32)), np.asarray(outputs["boxes"], np.float32)
    if scores.ndim != 3 or codes.ndim != 3:
        raise ValueError(f"decode: expected scores [L Q K] and boxes [L Q 10] of one sample, got {list(scores.shape)} "
                         f"and {list(codes.shape)}; take one sample of the batch")
    place = best_of(scores[-1].ravel(), coder["max_boxes"])
    score, query, channel = scores[-1].ravel()[place], place // scores.shape[2], place % scores.shape[2]
    x, y, length, width, z, height, sin, cos, vx, vy = codes[-1][query].T
    boxes = np.stack((x, y, z, np.exp(length), np.exp(width), np.exp(height), np.arctan2(sin, cos), vx, vy), axis=1)
    keep = inside(boxes, coder["center_range"]) & sure(score, coder["score_threshold"], coder["relax_threshold"])
    return boxes[keep], score[keep], [coder["classes"][index] for index in channel[keep]]


def sure(scores, threshold, relax):
    """Says which scores [A] pass a threshold (None: all); ``relax`` lowers it by tenths until one does."""
    if threshold is None:
        return np.ones(len(scores), bool)
    passed = scores > threshold
    while relax and not passed.any():
        threshold *= 0.9
        if threshold < 0.01:
            return np.ones(len(scores), bool)
        passed = scores >= threshold
    return passed


def sigmoid(logits):
    return (1 / (1 + np.exp(-logits.astype(np.float64)))).astype(np.float32)


def best_of(scores, count):
    """Returns the places of the best ``count`` scores [N], best first; of equal ones the first comes first."""
    count = min(count, len(scores))
    worst = np.partition(scores, len(scores) - count)[len(scores) - count]
    places = np.flatnonzero(scores >= worst)
    return places[np.argsort(-scores[places], kind="stable")][:count]


def inside(boxes, center_range):
    """Says which centres lie in (x, y, z low, x, y, z high), its borders included: [A] bool."""
    low, high = np.split(np.asarray(center_range, np.float32), 2)
    return ((boxes[:, :3] >= low) & (boxes[:, :3] <= high)).all(axis=1)


def suppress(nms, boxes, scores, channel, most):
    """Returns the indices of boxes that stay, best first; ``nms`` as in the manifest."""
    order = np.argsort(-scores, kind="stable")
    x, y, _, length, width, _, yaw, _, _ = boxes[order].T
    if nms["kind"] == "circle":
        conflicts = (x[:, None] - x) ** 2 + (y[:, None] - y) ** 2 <= nms["squared_distance"]
    elif nms["kind"] == "size_aware":
        cos, sin, scale = np.abs(np.cos(yaw)), np.abs(np.sin(yaw)), nms["scale"]
        across_x, across_y = length * cos + width * sin, length * sin + width * cos
        conflicts = (np.abs(x[:, None] - x) <= scale * (across_x[:, None] + across_x) / 2) & \
            (np.abs(y[:, None] - y) <= scale * (across_y[:, None] + across_y) / 2)
    else:
        order = order[:most]
        scale = np.asarray(nms.get("scale", 1.0))
        scale = scale[channel[order]] if scale.ndim else np.full(len(order), scale)
        footprints = boxes[order][:, [0, 1, 3, 4, 6]].astype(np.float64)
        footprints[:, 2:4] *= scale[:, None]
        conflicts = rotated_iou(footprints) > nms["overlap"]
    stays = np.ones(len(order), bool)
    for index in range(len(order)):
        if stays[index]:
            stays[index + 1:] &= ~conflicts[index, index + 1:]
    return order[stays]


def rotated_iou(boxes):
    """Returns intersection over union [A A] of rectangles [A 5] = (x, y, length, width, yaw) with each other."""
    area, reach = boxes[:, 2] * boxes[:, 3], np.hypot(boxes[:, 2], boxes[:, 3]) / 2
    distance = np.hypot(*(boxes[:, None, :2] - boxes[:, :2]).transpose(2, 0, 1))
    row, column = np.nonzero(distance < reach[:, None] + reach)
    one, other = boxes[row], boxes[column]
    one, other = (np.concatenate((each[:, :2] - boxes[row, :2], each[:, 2:]), axis=1) for each in (one, other))
    common = np.maximum(_border_inside(one, other, 1.0) + _border_inside(other, one, -1.0), 0)
    overlap = np.zeros_like(distance)
    overlap[row, column] = common / np.maximum(area[row] + area[column] - common, 1e-12)
    return overlap


def turned(points, yaw):
    """Turns points [P 4 2] counter-clockwise by angles [P]."""
    cos, sin = np.cos(yaw)[:, None], np.sin(yaw)[:, None]
    return np.stack((cos * points[..., 0] - sin * points[..., 1], sin * points[..., 0] + cos * points[..., 1]), axis=-1)


def _border_inside(outlines, boxes, along):
    """Sums half of cross(start, end) over the pieces of outlines of rectangles [P 5] that lie in others [P 5]: [P].

    How and why is told in `bevkit.geometry.overlap`, whose twin this is.
    """
    unit = np.array(((0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5), (0.5, -0.5)))
    corners = turned(unit * outlines[:, None, 2:4], outlines[:, 4]) + outlines[:, None, :2]  # [P 4 2]
    local = turned(corners - boxes[:, None, :2], -boxes[:, 4])
    edge = np.roll(local, -1, axis=1) - local
    way = np.stack((edge[..., 1], -edge[..., 0], -edge[..., 1], edge[..., 0]), axis=-1)  # [P 4 edges 4 sides]
    half = boxes[:, None, 2:4] / 2
    within = np.concatenate((half - local, half + local), axis=-1) + np.where(way > 0, along * HAIR, -HAIR)
    gain = np.concatenate((-edge, edge), axis=-1)
    met = -within / np.where(gain == 0, 1, gain)
    beside = np.where(within < 0, 2.0, -1.0)
    enters = np.where(gain > 0, met, np.where(gain == 0, beside, -1.0)).max(axis=-1).clip(min=0)  # [P 4]
    leaves = np.where(gain < 0, met, 2.0).min(axis=-1).clip(max=1)
    after = np.roll(corners, -1, axis=1)
    cross = corners[..., 0] * after[..., 1] - corners[..., 1] * after[..., 0]
    return ((leaves - enters).clip(min=0) * cross).sum(axis=-1) / 2
