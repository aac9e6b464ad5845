"""Computes the temporal plan of an exported model, how its ego moved, from poses and times, with numpy alone.

It costs microseconds, and is computed at each instant. The manifest beside the ONNX file holds every setting. Poses are
`global_from_ego` in any fixed frame, float64.
"""

import math

import numpy as np


def temporal_inputs(manifest, global_from_ego, timestamps=None, fresh=False, projection=None):
    """Makes the `temporal_*` inputs of a model.

    Args:
        manifest: the parsed manifest.json.
        global_from_ego: [R+1 4 4] the newest poses, oldest first, the present last; R is ``stream.instants``.
        timestamps: [R+1] seconds; half a second apart by default.
        fresh: a scene has just begun: the past must not have an influence.
        projection: [1 N 3 4] the input `view_projection` of a sparse model, which looks into past images anew; the
            cameras are taken to have been mounted as they are.

    Raises:
        ValueError: another number of poses or times, or a fusion that this file does not plan.
    """
    poses, needed = np.asarray(global_from_ego, dtype=np.float64), 1 + manifest["stream"]["instants"]
    times = 0.5 * np.arange(needed) if timestamps is None else np.asarray(timestamps, dtype=np.float64)
    if poses.shape != (needed, 4, 4) or times.shape != (needed,):
        raise ValueError(f"global_from_ego: expected [{needed} 4 4] and as many timestamps, got {list(poses.shape)} "
                         f"and {list(times.shape)}")
    fusion, view, grid = manifest["temporal"], manifest["view"].get("motion"), manifest["grid"]
    known, inputs = np.array(0.0 if fresh else 1.0), {}
    if view is not None:
        inputs.update({f"motion_{name}": value for name, value in _bevformer(view, grid, *poses[-2:]).items()},
                      motion_known=known)
    if fusion and fusion["type"] == "SparseDetector":
        if projection is None:
            raise ValueError("projection: expected the input view_projection, because this model reads past images")
        inputs.update(_looking(poses, times, np.asarray(projection, dtype=np.float64)[0]), known=known)
        fusion = None
    if fusion and fusion["type"] not in FUSIONS:
        raise ValueError(f"temporal: expected one of {', '.join(FUSIONS)}, got {fusion['type']}; this file plans no "
                         "other fusion")
    if fusion:
        past = fusion["instants"]
        inputs.update(FUSIONS[fusion["type"]](fusion, grid, poses[-1 - past:], times[-1 - past:]))
        if past:
            inputs["known"] = known
    return {f"temporal_{name}": np.asarray(value, dtype=np.float32)[None] for name, value in inputs.items()}


def _aligned(fusion, grid, poses, times):
    """Plans `AlignAndStack`: every past map under the present, and how the ego moved between them."""
    past, now = poses[:-1], poses[-1]
    next_from_this = np.linalg.inv(poses[1:]) @ past  # [S 4 4]
    if fusion["warp"] == "fiery":
        theta = _theta_fiery(_accumulated(next_from_this), grid)
    elif fusion["warp"] == "fiptr":
        theta = _theta_fiptr(_accumulated(next_from_this), grid)
    else:
        theta = _theta(np.linalg.inv(past) @ now, grid, low_edge=fusion["warp"] == "low_edge")
    return dict(theta=theta, motion=np.concatenate((np.zeros((1, 6)), motion_vector(next_from_this))))


def _looking(poses, times, projection):
    """Plans `SparseDetector`: how the present ego frame is seen by past images, newest first, and their ages."""
    past_from_now = np.linalg.inv(poses[:-1][::-1]) @ poses[-1]  # [S 4 4]
    return dict(projection=projection @ past_from_now[:, None], ages=(times[-1] - times[:-1])[::-1])


def _memory(fusion, grid, poses, times):
    """Plans `RecurrentMemory`: the memory under the present, and the seconds since."""
    return dict(theta=_theta(np.linalg.inv(poses[:1]) @ poses[1], grid)[0], elapsed=times[1] - times[0])


def _history(fusion, grid, poses, times):
    """Plans `HistoryStack`: the stack, which lies in the last frame, under the present, and the ages of its maps."""
    past_from_now, low_edge = np.linalg.inv(poses[-2]) @ poses[-1], fusion["low_edge"]
    if fusion["heights"] == 1:
        warp = _theta(past_from_now[None], grid, low_edge)[0]
    else:
        low, high = (np.array([grid[axis][end] for axis in "xyz"]) for end in (0, 1))
        cells = np.array((*grid["shape"][::-1], fusion["heights"]))
        normal_from_metric = np.diag((*2 / (high - low), 1))
        normal_from_metric[:3, 3] = -2 * low / (high - low) - 1 + (1 / cells if low_edge else 0)
        warp = (normal_from_metric @ past_from_now @ np.linalg.inv(normal_from_metric))[:3]
    return dict(warp=warp, ages=(times[-1] - times)[::-1])


FUSIONS = dict(AlignAndStack=_aligned, RecurrentMemory=_memory, HistoryStack=_history)


def motion_vector(motion):
    """Reads (tx, ty, tz, rx, ry, rz) [S 6] from rigid motions [S 4 4] whose rotation is Rx(rx) Ry(ry) Rz(rz)."""
    rx = np.arctan2(-motion[:, 1, 2], motion[:, 2, 2])
    ry = np.arcsin(np.clip(motion[:, 0, 2], -1, 1))
    rz = np.arctan2(-motion[:, 0, 1], motion[:, 0, 0])
    return np.concatenate((motion[:, :3, 3], np.stack((rx, ry, rz), axis=-1)), axis=-1)


def _accumulated(next_from_this):
    """Accumulates motions [S 4 4] to the present as FIERY and FipTR do, whose released weights have seen it."""
    accumulated = next_from_this.copy()
    for index in range(len(accumulated) - 2, -1, -1):
        accumulated[index] = next_from_this[index] @ accumulated[index + 1]
    return accumulated


def _theta_fiery(now_from_past, grid):
    """Writes motions [S 4 4] as FIERY does: [S 2 3]."""
    tx, ty, _, _, _, yaw = motion_vector(now_from_past).T
    cos, sin = np.cos(yaw), np.sin(yaw)
    entries = (cos, sin, -tx / grid["x"][1], -sin, cos, ty / grid["y"][1])
    return np.stack(entries, axis=-1).reshape(-1, 2, 3)


def _theta_fiptr(now_from_past, grid):
    """Writes motions [S 4 4] as FipTR does: [S 2 3]."""
    low, high, step = (np.array([grid[axis][end] for axis in "xy"]) for end in range(3))
    cells = np.array(grid["shape"][::-1])
    metric_from_normal = np.diag((*(high - low - step / 2) / 2 * cells / (cells - 1), 1))
    metric_from_normal[:2, 2] = (low + high + step / 2) / 2
    normal_from_metric = np.diag((*(cells - 1) / cells / high, 1))
    past_from_now = np.linalg.inv(now_from_past)[:, [0, 1, 3]][:, :, [0, 1, 3]]
    return (normal_from_metric @ past_from_now @ metric_from_normal)[:, :2]


def _bevformer(motion, grid, past, now):
    """Plans BEVFormer's look at the past from the poses of the instant before and of now."""
    (x_low, x_high, _), (y_low, y_high, _) = grid["x"], grid["y"]
    past_from_now = np.linalg.inv(past) @ now
    turn = math.atan2(past_from_now[1, 0], past_from_now[0, 0])
    rotation = np.eye(4)
    rotation[:2, :2] = [[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]
    if motion["rotate_center"] is None:
        theta = _theta(rotation[None], grid)[0]
    else:
        theta = _cell_rotation(turn, motion["rotate_center"], grid["shape"])
    shift = -(np.linalg.inv(now) @ past)[:2, 3] / (x_high - x_low, y_high - y_low)
    heading = math.atan2(now[1, 0], now[0, 0]) % (2 * math.pi)
    attitude = (math.cos(heading / 2), 0, 0, math.sin(heading / 2))
    numbers = (*(now - past)[:3, 3], *attitude, *[0] * 9, heading, math.degrees(turn))
    return dict(theta=theta, shift=shift, numbers=np.array(numbers))


def _cell_rotation(turn, center, shape):
    """Plans a turn around (column, row) in cells as if they were square, as BEVFormer's weights have seen: [2 3]."""
    rows, columns = shape
    cos, sin = math.cos(turn), math.sin(turn)
    x, y = center[0] - columns / 2, center[1] - rows / 2
    return np.array([[cos, -sin * rows / columns, 2 * (x - cos * x + sin * y) / columns],
                     [sin * columns / rows, cos, 2 * (y - sin * x - cos * y) / rows]])


def _theta(past_from_now, grid, low_edge=False):
    """Expresses the x-y part of motions [S 4 4] in coordinates that run from -1 to 1 over the map: [S 2 3]."""
    (x_low, x_high, _), (y_low, y_high, _) = grid["x"], grid["y"]
    normal_from_metric = np.array([[2 / (x_high - x_low), 0, -(x_high + x_low) / (x_high - x_low)],
                                   [0, 2 / (y_high - y_low), -(y_high + y_low) / (y_high - y_low)],
                                   [0, 0, 1]])
    if low_edge:
        normal_from_metric[:2, 2] += 1 / np.array(grid["shape"][::-1])
    planar = past_from_now[:, [0, 1, 3]][:, :, [0, 1, 3]]  # [S 3 3]
    planar[:, 2] = (0, 0, 1)
    return (normal_from_metric @ planar @ np.linalg.inv(normal_from_metric))[:, :2]
