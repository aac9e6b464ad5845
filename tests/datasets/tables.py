"""Writes a small data set in nuScenes format: a few cars that drive straight, seen by two tiny cameras."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import numpy as np

CAMERAS = ("CAM_FRONT", "CAM_BACK")
HEIGHT, WIDTH = 36, 64


def yaw_quaternion(yaw: float) -> list[float]:
    return [math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)]


def write_tables(root: Path, version: str = "v1.0-mini", scenes: dict[str, int] | None = None, *, lidar: bool = True,
                 labels: bool = True, images: bool = True) -> Path:
    """Writes tables (and images) of scenes {name: keyframes}; returns the dataroot."""
    tables: dict[str, list[dict]] = {name: [] for name in (
        "category", "attribute", "visibility", "instance", "sensor", "calibrated_sensor", "ego_pose", "log", "scene",
        "sample", "sample_data", "sample_annotation", "map")}
    tables["category"] = [dict(token="cat0", name="vehicle.car"), dict(token="cat1", name="static_object.bicycle_rack")]
    tables["attribute"] = [dict(token="att0", name="vehicle.moving")]
    for channel in ("LIDAR_TOP", *CAMERAS):
        camera = channel != "LIDAR_TOP"
        facing = 0.0 if channel == "CAM_FRONT" else math.pi
        look = {0.0: [0.5, -0.5, 0.5, -0.5], math.pi: [0.5, -0.5, -0.5, 0.5]}[facing]  # z forward or backward, y down
        tables["sensor"].append(dict(token=f"s-{channel}", channel=channel, modality="camera" if camera else "lidar"))
        tables["calibrated_sensor"].append(dict(
            token=f"c-{channel}", sensor_token=f"s-{channel}", translation=[1.0, 0.0, 1.5],
            rotation=look if camera else [1.0, 0.0, 0.0, 0.0],
            camera_intrinsic=[[50.0, 0, 31.5], [0, 50.0, 17.5], [0, 0, 1]] if camera else []))
    for name, count in (scenes or {"scene-0061": 8, "scene-0103": 6}).items():
        _write_scene(tables, root, name, count, lidar, labels, images)
    folder = root / version
    folder.mkdir(parents=True)
    for name, rows in tables.items():
        (folder / f"{name}.json").write_text(json.dumps(rows))
    return root


def _write_scene(tables: dict[str, list[dict]], root: Path, scene: str, count: int, lidar: bool, labels: bool,
                 images: bool) -> None:
    tables["scene"].append(dict(token=scene, name=scene, nbr_samples=count))
    start = 1_600_000_000_000_000 + 60_000_000 * len(tables["scene"])
    for i in range(count):
        sample, time = f"{scene}-{i}", start + 500_000 * i
        tables["sample"].append(dict(token=sample, timestamp=time, scene_token=scene, prev="", next=""))
        for channel, delay in (("LIDAR_TOP", 0), ("CAM_FRONT", 20_000), ("CAM_BACK", 45_000)):
            if channel == "LIDAR_TOP" and not lidar:
                continue
            seconds = 0.5 * i + 1e-6 * delay
            tables["ego_pose"].append(dict(token=f"{sample}-{channel}", timestamp=time + delay,
                                           rotation=yaw_quaternion(0.1 * seconds),
                                           translation=[100 + 4 * seconds, 50.0, 0.0]))
            path = f"samples/{channel}/{sample}.jpg"
            camera = channel != "LIDAR_TOP"
            tables["sample_data"].append(dict(
                token=f"{sample}-{channel}", sample_token=sample, ego_pose_token=f"{sample}-{channel}",
                calibrated_sensor_token=f"c-{channel}", timestamp=time + delay, is_key_frame=True, filename=path,
                height=HEIGHT * camera, width=WIDTH * camera))
            if camera and images:
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                picture = np.random.default_rng(len(tables["sample_data"])).integers(0, 256, (HEIGHT, WIDTH, 3))
                cv2.imwrite(str(root / path), picture.astype(np.uint8))
        for car in range(3 if labels else 0):
            token = f"{scene}-car{car}"
            if i == 0:
                tables["instance"].append(dict(token=token, category_token=f"cat{car // 2}"))
            tables["sample_annotation"].append(dict(
                token=f"{token}-{i}", sample_token=sample, instance_token=token, visibility_token="" if car else "3",
                attribute_tokens=[] if car else ["att0"], translation=[110 + 2.0 * i, 50 + 3.0 * car, 1.0],
                size=[2.0, 4.5, 1.6], rotation=yaw_quaternion(0.2 * car), num_lidar_pts=5, num_radar_pts=car,
                prev=f"{token}-{i - 1}" if i else "", next=f"{token}-{i + 1}" if i + 1 < count else ""))
