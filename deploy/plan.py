"""Computes the view plan of an exported model, where its cameras look, from calibration, with numpy alone.

It costs a second or so, and is computed once, and again when the calibration changes. The manifest beside the ONNX file
holds every setting. Matrices are named `a_from_b`; ego is x forward, y left, z up, camera is
x right, y down, z forward, pixel (0, 0) is the centre of the upper left pixel of the image the network sees.
"""

import math

import numpy as np
from plan_pillars import pillar_inputs


def view_inputs(manifest, image_from_camera, ego_from_camera, global_from_ego=None, intrinsics=None):
    """Makes the `view_*` inputs of a model.

    Args:
        manifest: the parsed manifest.json.
        image_from_camera: [N 3 3] intrinsics for the images as the network sees them (after resize and crop).
        ego_from_camera: [N 4 4], metres.
        global_from_ego: [4 4], only for a model with ``level_ego``, whose plan turns with the tilt of the vehicle.
        intrinsics: [N 3 3] of the raw images, only for a model whose depth net reads them (``camera_aware``).

    Raises:
        ValueError: the model has another view transform, wants more to be known, or the rig does not fit its tables.
    """
    view, grid = manifest["view"], manifest["grid"]
    if view["type"] not in PLANS:
        raise ValueError(f"view: expected one of {', '.join(PLANS)}, got {view['type']}; "
                         "this file plans no other view transform")
    if manifest["level_ego"]:
        if global_from_ego is None:
            raise ValueError("global_from_ego: expected the present pose, because this model sees a level ego frame")
        level_from_ego = np.linalg.inv(level(global_from_ego)) @ global_from_ego
        ego_from_camera = level_from_ego.astype(np.float32) @ np.asarray(ego_from_camera, dtype=np.float32)
    plan = PLANS[view["type"]](view, grid, image_from_camera, ego_from_camera)
    if view.get("camera_aware"):
        if intrinsics is None:
            raise ValueError("intrinsics: expected those of the raw images, because this model's depth net reads them")
        plan["cameras"] = camera_numbers(intrinsics, image_from_camera, ego_from_camera)
    return {f"view_{name}": np.ascontiguousarray(table[None]) for name, table in plan.items()}


def camera_numbers(intrinsics, image_from_camera, ego_from_camera):
    """Returns the 27 numbers [N 27] by which a camera-aware depth net knows a camera; see `bevkit`'s CAMERA_NUMBERS."""
    intrinsics = np.asarray(intrinsics, dtype=np.float64)
    image_aug = np.asarray(image_from_camera, dtype=np.float64) @ np.linalg.inv(intrinsics)
    pose = np.asarray(ego_from_camera, dtype=np.float64)[:, :3].reshape(-1, 12)
    of_map = np.tile((1.0, 0.0, 0.0, 1.0, 1.0), (len(pose), 1))  # no augmentation of the map in the vehicle
    return np.concatenate((intrinsics[:, [0, 1, 0, 1], [0, 1, 2, 2]], image_aug[:, :2].reshape(-1, 6), of_map, pose),
                          axis=1).astype(np.float32)


def level(global_from_ego):
    """Returns the pose [4 4] of the level ego frame: the same place, z straight up, the heading as training has it."""
    yaw = math.atan2(-global_from_ego[0][1], global_from_ego[0][0])
    pose = np.eye(4)
    pose[:2, :2] = [[math.cos(yaw), -math.sin(yaw)], [math.sin(yaw), math.cos(yaw)]]
    pose[:3, 3] = np.asarray(global_from_ego)[:3, 3]
    return pose


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


def _lift(view, grid, image_from_camera, ego_from_camera):
    """Plans `LiftSplat`: the tables of its pooling."""
    cells = _cells(_points(view, image_from_camera, ego_from_camera), view, grid)  # [N D H W]
    if view["aggregate_depth"]:  # every depth of a camera is pooled like a camera of its own
        cells = cells.reshape(-1, 1, *cells.shape[2:])  # [N*D 1 H W]
    return _fill_tables(cells, grid["shape"][0] * grid["shape"][1], view["tables"])


def _matrices(view, grid, image_from_camera, ego_from_camera):
    """Plans `MatrixVT`: ring [D L] and ray [N*W L], how much of a depth and of an image column each cell takes."""
    rows, columns = grid["shape"]
    points = _points(view, image_from_camera, ego_from_camera).mean(axis=2, dtype=np.float64).astype(np.float32)
    cells = _cells(points, view, grid, heights=False)  # [N D W]
    if view["center_cell"] == "emptied":
        cells[cells == rows // 2 * columns + columns // 2] = -1
    camera, depth, column = np.nonzero(cells >= 0)
    cell, plan = cells[camera, depth, column], {}
    lines = dict(ring=(depth, cells.shape[1]), ray=(camera * cells.shape[2] + column, cells.shape[0] * cells.shape[2]))
    for name, (line, count) in lines.items():
        matrix = np.zeros((count, rows * columns), dtype=np.float32)
        np.add.at(matrix, (line, cell), 1)
        if view["maps"] == "binary":
            plan[name] = (matrix > 0).astype(np.float32)
        else:
            plan[name] = matrix / np.maximum(matrix.max(axis=0), 1)
    return plan


def _forward_backward(view, grid, image_from_camera, ego_from_camera):
    """Plans `ForwardBackward`: the tables of the forward projection, then where cells look back, and how deep."""
    return {**_lift(view["lift"], grid, image_from_camera, ego_from_camera),
            **pillar_inputs(view, grid, image_from_camera, ego_from_camera, depth=view["lift"])}


def _cells(points, view, grid, heights=True):
    """Finds the row-major cell of points [* 3]: [*] int64, -1 = off the grid; without ``heights`` at any z."""
    axes = np.array([grid["x"], grid["y"], grid["z"]], dtype=np.float32)
    index = (points - axes[:, 0]) / axes[:, 2]
    index = np.floor(index) if view["indexing"] == "floor" else np.trunc(index)
    rows, columns = grid["shape"]
    end = (columns, rows, round((grid["z"][1] - grid["z"][0]) / grid["z"][2]))
    axes = 3 if heights else 2
    on_grid = ((index >= 0) & (index < end))[..., :axes].all(axis=-1)
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


def _projection(view, grid, image_from_camera, ego_from_camera):
    """Plans `SparseDetector`: metres in the ego frame to fractions of each image and depth."""
    height, width = view["image_size"]
    pixels = np.diag((1 / width, 1 / height, 1.0)) @ np.asarray(image_from_camera, dtype=np.float64)
    camera_from_ego = np.linalg.inv(np.asarray(ego_from_camera, dtype=np.float64))
    return dict(projection=(pixels @ camera_from_ego[:, :3]).astype(np.float32))


PLANS = dict(LiftSplat=_lift, MatrixVT=_matrices, BEVFormer=pillar_inputs, ForwardBackward=_forward_backward,
             SparseDetector=_projection)
