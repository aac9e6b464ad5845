"""Computes the plan inputs of an exported model from calibration and poses, with numpy alone.

The manifest beside the ONNX file holds every setting. The view plan says where the cameras look; it costs a second or
so, and is computed once, and again when the calibration changes. The temporal plan says how the ego moved; it costs
microseconds, and is computed at each instant. Matrices are named `a_from_b`; ego is x forward, y left, z up, camera is
x right, y down, z forward, pixel (0, 0) is the centre of the upper left pixel of the image the network sees.
"""

import math

import numpy as np


def view_inputs(manifest, image_from_camera, ego_from_camera, global_from_ego=None):
    """Makes the `view_*` inputs of a model with a LiftSplat view transform.

    Args:
        manifest: the parsed manifest.json.
        image_from_camera: [N 3 3] intrinsics for the images as the network sees them (after resize and crop).
        ego_from_camera: [N 4 4], metres.
        global_from_ego: [4 4], only for a model with ``level_ego``, whose plan turns with the tilt of the vehicle.

    Raises:
        ValueError: the model has another view transform, or the rig does not fit its tables.
    """
    view, grid = manifest["view"], manifest["grid"]
    if view["type"] != "LiftSplat":
        raise ValueError(f"view: expected LiftSplat, got {view['type']}; this file plans no other view transform")
    if manifest["level_ego"]:
        if global_from_ego is None:
            raise ValueError("global_from_ego: expected the present pose, because this model sees a level ego frame")
        level_from_ego = np.linalg.inv(level(global_from_ego)) @ global_from_ego
        ego_from_camera = level_from_ego.astype(np.float32) @ np.asarray(ego_from_camera, dtype=np.float32)
    cells = _cells(_points(view, image_from_camera, ego_from_camera), view, grid)  # [N D H W]
    tables = _fill_tables(cells, grid["shape"][0] * grid["shape"][1], view["tables"])
    return {f"view_{name}": table[None] for name, table in tables.items()}


def temporal_inputs(manifest, global_from_ego):
    """Makes the `temporal_*` inputs of a model with AlignAndStack from the S+1 newest poses [S+1 4 4], oldest first."""
    temporal, grid = manifest["temporal"], manifest["grid"]
    if temporal["type"] != "AlignAndStack":
        raise ValueError(f"temporal: expected AlignAndStack, got {temporal['type']}; this file plans no other fusion")
    poses = np.asarray(global_from_ego, dtype=np.float64)
    if poses.shape != (temporal["past"] + 1, 4, 4):
        raise ValueError(f"global_from_ego: expected [{temporal['past'] + 1} 4 4], got {list(poses.shape)}")
    past, now = poses[:-1], poses[-1]
    next_from_this = np.linalg.inv(poses[1:]) @ past  # [S 4 4]
    motion = np.concatenate((np.zeros((1, 6)), motion_vector(next_from_this)))
    if temporal["warp"] == "exact":
        theta = _theta_exact(np.linalg.inv(past) @ now, grid)
    else:
        theta = _theta_fiery(next_from_this, grid)
    return {"temporal_theta": theta[None].astype(np.float32), "temporal_motion": motion[None].astype(np.float32)}


def level(global_from_ego):
    """Returns the pose [4 4] of the level ego frame: the same place, z straight up, the heading as training has it."""
    yaw = math.atan2(-global_from_ego[0][1], global_from_ego[0][0])
    pose = np.eye(4)
    pose[:2, :2] = [[math.cos(yaw), -math.sin(yaw)], [math.sin(yaw), math.cos(yaw)]]
    pose[:3, 3] = np.asarray(global_from_ego)[:3, 3]
    return pose


def motion_vector(motion):
    """Reads (tx, ty, tz, rx, ry, rz) [S 6] from rigid motions [S 4 4] whose rotation is Rx(rx) Ry(ry) Rz(rz)."""
    rx = np.arctan2(-motion[:, 1, 2], motion[:, 2, 2])
    ry = np.arcsin(np.clip(motion[:, 0, 2], -1, 1))
    rz = np.arctan2(-motion[:, 0, 1], motion[:, 0, 0])
    return np.concatenate((motion[:, :3, 3], np.stack((rx, ry, rz), axis=-1)), axis=-1)


def _theta_exact(past_from_now, grid):
    """Expresses the x-y part of motions [S 4 4] in coordinates that run from -1 to 1 over the map: [S 2 3]."""
    (x_low, x_high, _), (y_low, y_high, _) = grid["x"], grid["y"]
    normal_from_metric = np.array([[2 / (x_high - x_low), 0, -(x_high + x_low) / (x_high - x_low)],
                                   [0, 2 / (y_high - y_low), -(y_high + y_low) / (y_high - y_low)],
                                   [0, 0, 1]])
    planar = past_from_now[:, [0, 1, 3]][:, :, [0, 1, 3]]  # [S 3 3]
    planar[:, 2] = (0, 0, 1)
    return (normal_from_metric @ planar @ np.linalg.inv(normal_from_metric))[:, :2]


def _theta_fiery(next_from_this, grid):
    """Accumulates motions [S 4 4] and writes them as FIERY does, whose released weights have seen it: [S 2 3]."""
    accumulated = next_from_this.copy()
    for index in range(len(accumulated) - 2, -1, -1):
        accumulated[index] = next_from_this[index] @ accumulated[index + 1]
    tx, ty, _, _, _, yaw = motion_vector(accumulated).T
    cos, sin = np.cos(yaw), np.sin(yaw)
    entries = (cos, sin, -tx / grid["x"][1], -sin, cos, ty / grid["y"][1])
    return np.stack(entries, axis=-1).reshape(-1, 2, 3)


def _points(view, image_from_camera, ego_from_camera):
    """Lifts every feature pixel to every depth: ego points [N D H W 3] float32 in metres."""
    height, width = view["image_size"]
    rows, columns = height // view["stride"], width // view["stride"]
    if view["frustum"] == "corner":
        u, v = np.linspace(0, width - 1, columns), np.linspace(0, height - 1, rows)
    else:
        u, v = ((np.arange(count) + 0.5) * view["stride"] - 0.5 for count in (columns, rows))
    pixels = np.empty((rows, columns, 3))
    pixels[..., 0], pixels[..., 1], pixels[..., 2] = u, v[:, None], 1
    # Rounded to float32 where the model's own plan rounds, so that both put a point into the same cell.
    pixels = pixels.astype(np.float32).astype(np.float64)
    ego_from_camera = np.asarray(ego_from_camera, dtype=np.float32)
    camera_from_image = np.linalg.inv(np.asarray(image_from_camera, dtype=np.float32).astype(np.float64))
    ego_from_image = ego_from_camera[:, :3, :3].astype(np.float64) @ camera_from_image  # [N 3 3]
    rays = np.einsum("hwj,nij->nhwi", pixels, ego_from_image).astype(np.float32)  # [N H W 3]
    first, step, count = view["depths"]
    depths = (first + step * np.arange(count)).astype(np.float32)
    origins = ego_from_camera[:, None, None, None, :3, 3]
    return rays[:, None] * depths[:, None, None, None] + origins


def _cells(points, view, grid):
    """Finds the row-major cell of points [N D H W 3]: [N D H W] int64, -1 = off the grid."""
    axes = np.array([grid["x"], grid["y"], grid["z"]], dtype=np.float32)
    index = (points - axes[:, 0]) / axes[:, 2]
    index = np.floor(index) if view["indexing"] == "floor" else np.trunc(index)
    rows, columns = grid["shape"]
    heights = round((grid["z"][1] - grid["z"][0]) / grid["z"][2])
    on_grid = ((index >= 0) & (index < (columns, rows, heights))).all(axis=-1)
    return np.where(on_grid, index[..., 1] * columns + index[..., 0], -1).astype(np.int64)


def _rank(keys):
    """Counts, along sorted keys [S], how many equal ones stand before each."""
    return np.arange(len(keys)) - np.searchsorted(keys, keys)


def _fill_tables(cells, area, tables):
    """Fills the gather tables of the pooling from cells [N D H W]; `bevkit/ops/bev_pool_tables.py` explains them."""
    cameras, depths, rows, columns = cells.shape
    slots, members, group_size, groups = (tables[name] for name in ("slots", "members", "group_size", "groups"))
    points = np.flatnonzero(cells >= 0)
    place = cells.reshape(-1)[points]
    view, row, column = points // (depths * rows * columns), points // columns % rows, points % columns
    keys = ((view * columns + column) * area + place) * rows + row
    order = np.argsort(keys, kind="stable")
    points, row, keys = points[order], row[order], keys[order]
    # A slot is a (column, cell, turn); turns count the depths of one pixel that share the cell.
    keys, slot = np.unique(keys // rows * depths + _rank(keys), return_inverse=True)
    line, cell = keys // (area * depths), keys // depths % area
    turn = _rank(line)
    needed = int(turn.max()) + 1 if len(turn) else 0
    if needed > slots - 1:
        raise ValueError(f"rig: expected an image column to meet at most {slots - 1} cells, got {needed}; "
                         "level the cameras, or export the model again with a larger export_capacity")
    taps = np.full((cameras * columns * slots, rows), cells.size, dtype=np.int32)
    slot_rows = line * slots + turn
    taps[slot_rows[slot], row] = points
    group_table, member_table = _fill_cells(slot_rows, cell, area, members, groups, group_size,
                                            first_group=cameras * columns * slots, empty=slots - 1)
    return {"taps": taps.reshape(cameras, columns, slots, rows), "groups": group_table, "members": member_table}


def _fill_cells(slot_rows, slot_cells, area, members, groups, group_size, first_group, empty):
    """Lists the slots of every cell, in groups where they are many: groups [Q G] and members [Y*X K]."""
    order = np.argsort(slot_cells, kind="stable")
    rows, cells = slot_rows[order], slot_cells[order]
    turn = _rank(cells)
    count = np.bincount(cells, minlength=area)
    crowded = count[cells] > members
    member_table = np.full((area, members), empty, dtype=np.int32)
    member_table[cells[~crowded], turn[~crowded]] = rows[~crowded]
    group_table = np.full((groups, group_size), empty, dtype=np.int32)
    rows, cells, turn = rows[crowded], cells[crowded], turn[crowded]
    keys, group = np.unique(cells * area + turn // group_size, return_inverse=True)
    if count.max(initial=0) > members * group_size or len(keys) > groups:
        raise ValueError(f"rig: expected at most {members * group_size} slots a cell and {groups} groups, got "
                         f"{count.max()} and {len(keys)}; export the model again with a larger export_capacity")
    group_table[group, turn % group_size] = rows
    member_table[keys // area, keys % area] = first_group + np.arange(len(keys))
    return group_table, member_table
