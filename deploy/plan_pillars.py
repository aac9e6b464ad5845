"""Plans the view transforms whose cells look into the cameras (BEVFormer, FB-BEV); `plan.py` calls it. Numpy alone.

It twins `bevkit.models.view_transformers.pillars` and `bevkit.models.layers.seen_queries`; a test holds both together.
"""

import math

import numpy as np

FAR = 8.0  # images away, where nothing is read


def pillar_inputs(view, grid, image_from_camera, ego_from_camera, depth=None):
    """Returns where in the images the anchors of the cells lie and which camera sees which cell.

    With ``depth`` (settings of a lift) places also say where in its distribution an anchor's own depth stands.
    """
    places, metres, visible = look_at(view, grid, image_from_camera, ego_from_camera)
    if depth is not None:
        places = np.concatenate((places, depth_places(places, metres, depth)), axis=-1)  # [N Q Z 4]
    seen = visible.any(axis=-1)  # [N Q]
    share = (seen / np.maximum(seen.sum(axis=0), 1)).astype(np.float32)
    if view["seen"] is None:
        return dict(places=places, share=share)
    return seen_queries(places, seen, share, view["seen"])


def look_at(view, grid, image_from_camera, ego_from_camera):
    """Projects the anchors: places [N Q Z 2] (fractions of the image), metres [N Q Z] along the axis, visible."""
    rows, columns = grid["shape"]
    x, y = (grid[axis][0] + grid[axis][2] * (np.arange(count) + 0.5) for axis, count in (("x", columns), ("y", rows)))
    points = np.ones((rows, columns, len(view["heights"]), 4))
    points[..., 0], points[..., 1], points[..., 2] = x[:, None], y[:, None, None], view["heights"]
    camera_from_ego = np.linalg.inv(np.asarray(ego_from_camera, dtype=np.float64))
    image_from_ego = np.asarray(image_from_camera, dtype=np.float64) @ camera_from_ego[:, :3]  # [N 3 4]
    rays = np.einsum("nij,qzj->nqzi", image_from_ego, points.reshape(rows * columns, -1, 4))  # [N Q Z 3]
    metres = rays[..., 2]
    height, width = view["image_size"]
    first = 0.5 if view["pixel_origin"] == "centre" else 0.0
    places = (rays[..., :2] / np.maximum(metres, 1e-5)[..., None] + first) / (width, height)
    margin = view["margin"]
    visible = (metres > 1e-5) & ((places > margin) & (places < 1 - margin)).all(axis=-1)
    return places.clip(-FAR, 1 + FAR).astype(np.float32), metres.astype(np.float32), visible


def depth_places(places, metres, lift):
    """Places anchors in the picture of all depth bins, one below the other: [N Q Z 2]."""
    first, step, count = lift["depths"]
    height = lift["image_size"][0] // lift["stride"]
    bins = np.floor((metres - np.float32(first)) / np.float32(step)).clip(0, count - 1)
    row = (places[..., 1] * np.float32(height) - np.float32(0.5)).clip(-1, height)
    v = (bins * (height + 1) + row + np.float32(0.5)) / np.float32(count * (height + 1))
    return np.stack((places[..., 0], v.astype(np.float32)), axis=-1)


def seen_queries(places, seen, share, tables):
    """Fills the tables of `SeenQueries` from places [N Q Z E], seen [N Q] and share [N Q]."""
    room, depth = tables["room"], tables["depth"]
    most, cameras = int(seen.sum(axis=1).max()), int(seen.sum(axis=0).max())
    if most > room or cameras > depth:
        raise ValueError(f"rig: expected at most {room} cells a camera and {depth} cameras a cell, got {most} and "
                         f"{cameras}; export the model again with a larger export_capacity")
    order = np.argsort(~seen, axis=1, kind="stable")[:, :room]  # [N P], the cells seen first
    order = np.where(np.take_along_axis(seen, order, axis=1), order, 0)
    kept = np.arange(len(seen))[:, None] * room + np.cumsum(seen, axis=1) - 1  # [N Q]
    ranks = np.argsort(~seen, axis=0, kind="stable")[:depth]  # [S Q], the cameras that see a cell first
    slots = np.where(np.take_along_axis(seen, ranks, axis=0), np.take_along_axis(kept, ranks, axis=0), 0)
    return dict(places=np.take_along_axis(places, order[..., None, None], axis=1), queries=order, slots=slots,
                share=np.take_along_axis(share, ranks, axis=0))


def motion_inputs(motion, grid, past, now, fresh):
    """Plans BEVFormer's look at the past from the poses of the instant before and of now."""
    (x_low, x_high, _), (y_low, y_high, _) = grid["x"], grid["y"]
    past_from_now = np.linalg.inv(past) @ now
    turn = math.atan2(past_from_now[1, 0], past_from_now[0, 0])
    rotation = np.eye(4)
    rotation[:2, :2] = [[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]
    if motion["rotate_center"] is None:
        theta = theta_exact(rotation[None], grid)[0]
    else:
        theta = _cell_rotation(turn, motion["rotate_center"], grid["shape"])
    shift = -(np.linalg.inv(now) @ past)[:2, 3] / (x_high - x_low, y_high - y_low)
    heading = math.atan2(now[1, 0], now[0, 0]) % (2 * math.pi)
    attitude = (math.cos(heading / 2), 0, 0, math.sin(heading / 2))
    numbers = (*(now - past)[:3, 3], *attitude, *[0] * 9, heading, math.degrees(turn))
    return dict(theta=theta, shift=shift, numbers=np.array(numbers), known=np.array(0.0 if fresh else 1.0))


def _cell_rotation(turn, center, shape):
    """Plans a turn around (column, row) in cells as if they were square, as BEVFormer's weights have seen: [2 3]."""
    rows, columns = shape
    cos, sin = math.cos(turn), math.sin(turn)
    x, y = center[0] - columns / 2, center[1] - rows / 2
    return np.array([[cos, -sin * rows / columns, 2 * (x - cos * x + sin * y) / columns],
                     [sin * columns / rows, cos, 2 * (y - sin * x - cos * y) / rows]])


def theta_exact(past_from_now, grid):
    """Expresses the x-y part of motions [S 4 4] in coordinates that run from -1 to 1 over the map: [S 2 3]."""
    (x_low, x_high, _), (y_low, y_high, _) = grid["x"], grid["y"]
    normal_from_metric = np.array([[2 / (x_high - x_low), 0, -(x_high + x_low) / (x_high - x_low)],
                                   [0, 2 / (y_high - y_low), -(y_high + y_low) / (y_high - y_low)],
                                   [0, 0, 1]])
    planar = past_from_now[:, [0, 1, 3]][:, :, [0, 1, 3]]  # [S 3 3]
    planar[:, 2] = (0, 0, 1)
    return (normal_from_metric @ planar @ np.linalg.inv(normal_from_metric))[:, :2]
