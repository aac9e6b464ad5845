"""Where the sensors sit on the recording car: the nuScenes layout, with each car's own small deviations.

Positions in metres in the ego frame (x forward, y left, z up, origin below the rear axle), angles in degrees.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# channel: x, y, z, yaw, focal length at 1600 pixels of width, shutter relative to the lidar (ms)
CAMERAS = {
    "CAM_FRONT": (1.70, 0.01, 1.51, 0.3, 1262.0, -35.3),
    "CAM_FRONT_RIGHT": (1.55, -0.49, 1.50, -56.6, 1258.0, -27.4),
    "CAM_BACK_RIGHT": (1.03, -0.48, 1.56, -111.2, 1256.0, -19.7),
    "CAM_BACK": (0.04, 0.01, 1.57, 179.7, 804.0, -10.3),
    "CAM_BACK_LEFT": (1.04, 0.48, 1.58, 109.6, 1257.0, -0.6),
    "CAM_FRONT_LEFT": (1.55, 0.50, 1.51, 55.6, 1266.0, -43.0),
}
LIDAR = "LIDAR_TOP"
FULL_WIDTH, FULL_HEIGHT = 1600, 900


@dataclass(frozen=True)
class Sensor:
    """One calibrated sensor: its pose on the car and, for a camera, its intrinsics."""

    channel: str
    ego_from_sensor: np.ndarray  # [4 4]
    intrinsics: np.ndarray | None  # [3 3], pixels of the written image
    delay: float  # s after the lidar


def make_rig(rng: np.random.Generator, image_size: tuple[int, int]) -> list[Sensor]:
    """Mounts six cameras and the lidar on one car, a little differently on each."""
    sensors = []
    zoom_x, zoom_y = image_size[0] / FULL_WIDTH, image_size[1] / FULL_HEIGHT
    for channel, (x, y, z, yaw, focal, delay) in CAMERAS.items():
        turn = np.radians((yaw + rng.normal(0, 0.5), rng.normal(-0.4, 0.4), rng.normal(0, 0.35)))
        pose = np.eye(4)
        pose[:3, :3] = _camera_axes(*turn)
        pose[:3, 3] = np.array([x, y, z]) + rng.normal(0, 0.012, 3)
        focal = focal + rng.normal(0, 5)
        centre = np.array([812, 468]) + rng.normal(0, 9, 2)
        intrinsics = np.array(
            [[focal * zoom_x, 0, centre[0] * zoom_x], [0, focal * zoom_y, centre[1] * zoom_y], [0, 0, 1.0]]
        )
        sensors.append(Sensor(channel, pose, intrinsics, delay / 1000 + float(rng.normal(0, 2e-4))))
    pose = np.eye(4)
    pose[:3, :3] = _turns(*np.radians((-90 + rng.normal(0, 0.2), rng.normal(0, 0.5), rng.normal(-1.0, 0.4))))
    pose[:3, 3] = np.array([0.96, 0.0, 1.84]) + rng.normal(0, 0.012, 3)
    return [*sensors, Sensor(LIDAR, pose, None, 0.0)]


def _turns(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Turns by yaw about z, pitch about y and roll about x (radians), in this order."""
    cy, sy, cp, sp, cr, sr = (f(a) for a in (yaw, pitch, roll) for f in (np.cos, np.sin))
    about_z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    about_y = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    about_x = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    return about_z @ about_y @ about_x


def _camera_axes(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Camera axes (x right, y down, z forward) as columns in the ego frame."""
    forward_left_up = _turns(yaw, pitch, roll)
    return np.stack([-forward_left_up[:, 1], -forward_left_up[:, 2], forward_left_up[:, 0]], 1)


def quaternion(rotation: np.ndarray) -> list[float]:
    """Writes a rotation matrix as a unit quaternion w, x, y, z (Shepperd's method: divides by the largest part)."""
    r = rotation
    squares = np.array(
        [
            1 + r[0, 0] + r[1, 1] + r[2, 2],
            1 + r[0, 0] - r[1, 1] - r[2, 2],
            1 - r[0, 0] + r[1, 1] - r[2, 2],
            1 - r[0, 0] - r[1, 1] + r[2, 2],
        ]
    )
    k = int(squares.argmax())
    parts = [
        (squares[0], r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]),
        (r[2, 1] - r[1, 2], squares[1], r[0, 1] + r[1, 0], r[0, 2] + r[2, 0]),
        (r[0, 2] - r[2, 0], r[0, 1] + r[1, 0], squares[2], r[1, 2] + r[2, 1]),
        (r[1, 0] - r[0, 1], r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], squares[3]),
    ][k]
    q = np.array(parts) / (2 * np.sqrt(squares[k]))
    return [float(v) for v in q / np.linalg.norm(q)]
