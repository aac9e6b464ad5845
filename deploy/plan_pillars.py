"""Plans the view transforms whose cells look into the cameras (BEVFormer, FB-BEV); `plan.py` calls it. Numpy alone.

It twins `bevkit.models.view_transformers.pillars` and `bevkit.models.layers.seen_queries`; a test holds both together.
"""

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
