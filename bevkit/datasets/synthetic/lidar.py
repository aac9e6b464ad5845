"""A spinning lidar looks around: 32 rings of rays against the ground, the scenery and the actors.

Every upright box is met only by the columns of rays that point its way, all at once: a slab test in the box's axes.
"""

from __future__ import annotations

import numpy as np

from .rig import Sensor
from .stage import Stage

RINGS, COLUMNS = 32, 540
LOWEST, RING_STEP = -30.67, 1.333  # degrees
RANGE, ACTOR_RANGE = 95.0, 85.0  # m
NOISE = 0.015  # m along the ray
_CLOSE = 0.6  # m

# Solid parts of a kind, as shares of its box: length from, to (0 is the rear), width, height from, to.
SOLIDS = {
    "car": ((0.01, 0.99, 0.96, 0.12, 0.57), (0.12, 0.72, 0.82, 0.55, 0.985)),
    "truck": ((0.01, 0.72, 0.98, 0.3, 0.99), (0.73, 0.99, 0.94, 0.14, 0.84)),
    "bus": ((0.005, 0.995, 0.98, 0.1, 0.99),),
    "trailer": ((0.01, 0.99, 0.98, 0.27, 0.99), (0.08, 0.4, 0.9, 0.0, 0.3)),
    "construction": ((0.05, 0.62, 0.8, 0.02, 0.58), (0.36, 0.64, 0.45, 0.5, 0.98), (0.6, 0.98, 0.3, 0.2, 0.6)),
    "motorcycle": ((0.03, 0.97, 0.3, 0.02, 0.6), (0.25, 0.65, 0.6, 0.5, 0.98)),
    "bicycle": ((0.03, 0.97, 0.2, 0.02, 0.5), (0.25, 0.65, 0.6, 0.45, 0.98)),
    "barrier": ((0.2, 0.8, 0.98, 0.02, 0.98),),
    "cone": ((0.25, 0.75, 0.5, 0.02, 0.97),),
}
_PERSON = ((0.25, 0.75, 0.75, 0.02, 0.98),)
_SHINE = {"car": 45, "truck": 40, "bus": 42, "trailer": 38, "cone": 90, "barrier": 70}


def scan(stage: Stage, sensor: Sensor, ego: np.ndarray, poses: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Scans once from global_from_ego [4 4] with actors at poses [A 3].

    Returns points [n 5] float32: x, y, z in the sensor frame (m), intensity 0 to 255, ring 0 (lowest) to 31.
    """
    pose = ego @ sensor.ego_from_sensor
    rise = np.radians(LOWEST + RING_STEP * np.arange(RINGS))
    turn = 2 * np.pi * (np.arange(COLUMNS) + rng.random()) / COLUMNS
    own = np.stack(
        np.broadcast_arrays(np.cos(rise) * np.cos(turn)[:, None], np.cos(rise) * np.sin(turn)[:, None], np.sin(rise)),
        -1,
    )  # columns rings 3
    rays = own @ pose[:3, :3].T
    with np.errstate(divide="ignore"):
        distance = np.where(rays[..., 2] < 0, -pose[2, 3] / rays[..., 2], np.inf)
    shine = np.full(distance.shape, 12.0)
    heading = np.arctan2(rays[:, RINGS // 2, 1], rays[:, RINGS // 2, 0])
    for box, share, glint in _boxes(stage, pose[:3, 3], poses):
        _meet(box, share, glint, pose[:3, 3], rays, heading, distance, shine, rng)
    hit = (distance < RANGE) & (distance > _CLOSE) & (rng.random(distance.shape) > 0.01)
    reach = distance[hit] + NOISE * rng.standard_normal(int(hit.sum()))
    ring = np.broadcast_to(np.arange(RINGS), distance.shape)[hit]
    intensity = np.clip(shine[hit] * np.exp(0.4 * rng.standard_normal(len(reach))), 0, 255).round()
    return np.column_stack([own[hit] * reach[:, None], intensity, ring]).astype(np.float32)


def _boxes(stage: Stage, position: np.ndarray, poses: np.ndarray) -> list[tuple[np.ndarray, float, float]]:
    """Lists what may be hit: x, y, z, length, width, height, yaw; the share of rays that hit it; how bright it is."""
    scenery = stage.scenery.boxes
    near = np.linalg.norm(scenery[:, :2] - position[:2], axis=1) - scenery[:, 3:5].max(1) / 2 < RANGE
    found = [(box[:7], float(box[7]), 18.0) for box in scenery[near]]
    for k in np.flatnonzero(np.linalg.norm(poses[:, :2] - position[:2], axis=1) < ACTOR_RANGE):
        kind, size = stage.world.actors[k].kind, stage.sizes[k]
        x, y, yaw = poses[k]
        for rear, front, wide, low, high in SOLIDS.get(kind, _PERSON):
            ahead = ((rear + front) / 2 - 0.5) * size[0]
            box = np.array(
                [
                    x + ahead * np.cos(yaw),
                    y + ahead * np.sin(yaw),
                    (low + high) / 2 * size[2],
                    (front - rear) * size[0],
                    wide * size[1],
                    (high - low) * size[2],
                    yaw,
                ]
            )
            found.append((box, 1.0 if kind != "bicycle" else 0.6, float(_SHINE.get(kind, 22))))
    return found


def _meet(
    box: np.ndarray,
    share: float,
    glint: float,
    origin: np.ndarray,
    rays: np.ndarray,
    heading: np.ndarray,
    distance: np.ndarray,
    shine: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Shortens the rays that meet a box."""
    away = box[:3] - origin
    flat = float(np.hypot(*away[:2]))
    radius = float(np.hypot(box[3], box[4])) / 2
    if flat > radius:
        off = np.abs((heading - np.arctan2(away[1], away[0]) + np.pi) % (2 * np.pi) - np.pi)
        columns = np.flatnonzero(off < np.arcsin(min(1.0, radius / flat)) + 0.03)
    else:
        columns = np.arange(len(heading))
    if not len(columns):
        return
    c, s = np.cos(box[6]), np.sin(box[6])
    into_box = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
    start = into_box @ -away
    ray = rays[columns] @ into_box.T
    ray = np.where(np.abs(ray) < 1e-9, 1e-9, ray)
    half = box[3:6] / 2
    one, two = (-half - start) / ray, (half - start) / ray
    enter, leave = np.minimum(one, two).max(-1), np.maximum(one, two).min(-1)
    meets = (enter < leave) & (enter > 0) & (enter < distance[columns])
    if share < 1:
        meets &= rng.random(meets.shape) < share
    distance[columns] = np.where(meets, enter, distance[columns])
    shine[columns] = np.where(meets, glint, shine[columns])


def count_inside(points: np.ndarray, centres: np.ndarray, sizes: np.ndarray, yaws: np.ndarray) -> np.ndarray:
    """Counts the points [n 3] inside every upright box (length, width, height): [A]. All in global metres."""
    counts = np.zeros(len(centres), int)
    for k, (centre, size, yaw) in enumerate(zip(centres, sizes, yaws)):
        near = points[np.abs(points[:, 0] - centre[0]) < size.max()] - centre
        c, s = np.cos(yaw), np.sin(yaw)
        x, y = c * near[:, 0] + s * near[:, 1], -s * near[:, 0] + c * near[:, 1]
        counts[k] = int(
            ((np.abs(x) <= size[0] / 2) & (np.abs(y) <= size[1] / 2) & (np.abs(near[:, 2]) <= size[2] / 2)).sum()
        )
    return counts
