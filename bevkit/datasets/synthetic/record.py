"""The recording car drives through one scene: pictures, scans and the scene's rows of the nuScenes tables."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import cv2
import numpy as np

from .actors import KINDS
from .chance import digest
from .ground import map_mask, paint_ground
from .lidar import count_inside, scan
from .mood import make_mood
from .render import Camera
from .rig import Sensor, make_rig, quaternion
from .scenery import build_scenery
from .stage import Stage
from .tables import SCENE_TABLES, chain, token, visibility_token
from .world import build_world

ANNOTATED_RANGE = 80.0  # m from the recording car
MOVING = 0.4  # m/s: slower is standing
FEWEST_PIXELS = 4  # of the finer drawing, for an actor that no lidar ray met


def write_file(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_bytes(data)
    os.replace(part, path)


class Recorder:
    """Records one scene into a data set folder."""

    def __init__(self, out: Path, name: str, seed: int, image_size: tuple[int, int], frames: int) -> None:
        self.out, self.name, self.seed, self.frames, self.size = out, name, seed, frames, image_size
        self.world = build_world(name, seed, frames)
        mood = make_mood(self.world.stream("mood"))
        scenery = build_scenery(self.world.streets, mood, self.world.stream("scenery"))
        ground = paint_ground(self.world.streets, mood, scenery.footprints, self.world.stream("ground"))
        self.stage = Stage(self.world, scenery, mood)
        self.rig = make_rig(self.world.stream("rig"), image_size)
        self.cameras = {
            s.channel: Camera(self.stage, ground, s.intrinsics, image_size, self.world.stream(s.channel))
            for s in self.rig
            if s.intrinsics is not None
        }
        self.quality = mood.quality
        self.rows: dict[str, list[dict]] = {table: [] for table in SCENE_TABLES}
        self.start, self.logfile = self._log()
        self.of_actor: dict[int, list[dict]] = {}

    def token(self, *parts: object) -> str:
        """The token of one of this scene's rows."""
        return digest("world", self.seed, self.name, *parts)

    def run(self, each_frame: Callable[[], None]) -> dict[str, list[dict]]:
        """Records all keyframes; returns the scene's rows by table. Calls `each_frame` after every one."""
        for sensor in self.rig:
            (self.out / "samples" / sensor.channel).mkdir(parents=True, exist_ok=True)
            self._calibration(sensor)
        shake = self.world.stream("clock")
        for frame in range(self.frames):
            self._keyframe(frame, frame * 500_000 + int(shake.integers(-900, 900)))
            each_frame()
        self._close()
        return self.rows

    def _log(self) -> tuple[int, str]:
        """Invents the drive: when, by which car, where; draws its map. Returns the start (us) and the log's name."""
        rng = self.world.stream("log")
        left = self.world.streets.left_hand
        vehicle, place, zone = ("n015", "singapore-onenorth", 8) if left else ("n008", "boston-seaport", -4)
        start = int(datetime(2018, 6, 1, 1, tzinfo=timezone.utc).timestamp()) + int(rng.integers(0, 150 * 86400))
        day = datetime.fromtimestamp(start, tz=timezone(timedelta(hours=zone)))
        logfile = f"{vehicle}-{day:%Y-%m-%d-%H-%M-%S%z}"
        self.rows["log"].append(
            {
                "token": self.token("log"),
                "logfile": logfile,
                "vehicle": vehicle,
                "date_captured": f"{day:%Y-%m-%d}",
                "location": place,
            }
        )
        filename = f"maps/{self.token('map')}.png"
        (self.out / "maps").mkdir(parents=True, exist_ok=True)
        write_file(self.out / filename, cv2.imencode(".png", map_mask(self.world.streets))[1].tobytes())
        self.rows["map"].append(
            {
                "category": "semantic_prior",
                "token": self.token("map"),
                "filename": filename,
                "log_tokens": [self.token("log")],
            }
        )
        return start * 1_000_000 + int(rng.integers(0, 1_000_000)), logfile

    def _calibration(self, sensor: Sensor) -> None:
        self.rows["calibrated_sensor"].append(
            {
                "token": self.token("calibrated_sensor", sensor.channel),
                "sensor_token": token("sensor", sensor.channel),
                "translation": sensor.ego_from_sensor[:3, 3].tolist(),
                "rotation": quaternion(sensor.ego_from_sensor[:3, :3]),
                "camera_intrinsic": [] if sensor.intrinsics is None else sensor.intrinsics.tolist(),
            }
        )

    def _keyframe(self, frame: int, moment: int) -> None:
        """Fires every sensor once around a moment (us from the scene's start) and annotates what they saw."""
        sample = self.token("sample", frame)
        self.rows["sample"].append(
            {
                "token": sample,
                "timestamp": self.start + moment,
                "prev": "",
                "next": "",
                "scene_token": self.token("scene"),
            }
        )
        seen, whole = (np.zeros(len(self.world.actors)) for _ in range(2))
        points = np.zeros((0, 3))
        for sensor in self.rig:
            at = moment + round(sensor.delay * 1e6)
            ego, poses = self.world.ego(at / 1e6), self.world.poses(at / 1e6)
            rng = self.world.stream(f"{sensor.channel} {frame}")
            path = self._sensor_data(sample, sensor, frame, at, ego)
            pose = ego @ sensor.ego_from_sensor
            if sensor.intrinsics is not None:
                picture = self.cameras[sensor.channel].shoot(pose, poses, rng)
                jpeg = cv2.imencode(".jpg", picture.image, [cv2.IMWRITE_JPEG_QUALITY, self.quality])[1]
                write_file(path, jpeg.tobytes())
                for total, part in ((seen, picture.seen), (whole, picture.whole)):
                    for actor, pixels in part.items():
                        total[actor] += pixels
            else:
                cloud = scan(self.stage, sensor, ego, poses, rng)
                write_file(path, cloud.tobytes())
                points = cloud[:, :3].astype(float) @ pose[:3, :3].T + pose[:3, 3]
        self._annotate(sample, frame, moment, seen, whole, points)

    def _sensor_data(self, sample: str, sensor: Sensor, frame: int, at: int, ego: np.ndarray) -> Path:
        """Adds the rows of one measurement; returns where its file belongs."""
        own, camera = self.token("sample_data", sensor.channel, frame), sensor.intrinsics is not None
        suffix = "jpg" if camera else "pcd.bin"
        filename = f"samples/{sensor.channel}/{self.logfile}__{sensor.channel}__{self.start + at}.{suffix}"
        self.rows["ego_pose"].append(
            {
                "token": own,
                "timestamp": self.start + at,
                "rotation": quaternion(ego[:3, :3]),
                "translation": ego[:3, 3].tolist(),
            }
        )
        self.rows["sample_data"].append(
            {
                "token": own,
                "sample_token": sample,
                "ego_pose_token": own,
                "calibrated_sensor_token": self.token("calibrated_sensor", sensor.channel),
                "timestamp": self.start + at,
                "fileformat": "jpg" if camera else "pcd",
                "is_key_frame": True,
                "height": self.size[1] if camera else 0,
                "width": self.size[0] if camera else 0,
                "filename": filename,
                "prev": "",
                "next": "",
            }
        )
        return self.out / filename

    def _annotate(
        self, sample: str, frame: int, moment: int, seen: np.ndarray, whole: np.ndarray, points: np.ndarray
    ) -> None:
        """Boxes every actor nearby that a ray met or a camera saw."""
        time = moment / 1e6
        poses, speeds, ego = self.world.poses(time), self.world.speeds(time), self.world.ego(time)
        near = np.flatnonzero(np.linalg.norm(poses[:, :2] - ego[:2, 3], axis=1) < ANNOTATED_RANGE)
        centres, sizes = self.stage.centres(poses)[near], self.stage.sizes[near]
        hits = count_inside(points, centres, sizes, poses[near, 2])
        for k, actor in enumerate(near.tolist()):
            if not hits[k] and seen[actor] < FEWEST_PIXELS:
                continue
            length, width, height = sizes[k].tolist()
            row = {
                "token": self.token("annotation", actor, frame),
                "sample_token": sample,
                "instance_token": self.token("instance", actor),
                "visibility_token": visibility_token(min(1.0, seen[actor] / max(whole[actor], 1))),
                "attribute_tokens": self._attributes(actor, float(speeds[actor])),
                "translation": centres[k].tolist(),
                "size": [width, length, height],
                "rotation": [float(np.cos(poses[actor, 2] / 2)), 0.0, 0.0, float(np.sin(poses[actor, 2] / 2))],
                "prev": "",
                "next": "",
                "num_lidar_pts": int(hits[k]),
                "num_radar_pts": 0,
            }
            self.of_actor.setdefault(actor, []).append(row)
            self.rows["sample_annotation"].append(row)

    def _attributes(self, number: int, speed: float) -> list[str]:
        actor = self.world.actors[number]
        if actor.kind in ("barrier", "cone"):
            return []
        if actor.kind in ("motorcycle", "bicycle"):
            name = "cycle.without_rider" if actor.parked else "cycle.with_rider"
        elif actor.kind in ("adult", "child", "worker"):
            name = "pedestrian.moving" if speed > MOVING else "pedestrian.standing"
        else:
            name = "vehicle.parked" if actor.parked else "vehicle.moving" if speed > MOVING else "vehicle.stopped"
        return [token("attribute", name)]

    def _close(self) -> None:
        """Links the rows into chains and adds the scene and its instances."""
        chain(self.rows["sample"])
        for sensor in self.rig:
            calibration = self.token("calibrated_sensor", sensor.channel)
            chain([row for row in self.rows["sample_data"] if row["calibrated_sensor_token"] == calibration])
        for actor, rows in self.of_actor.items():
            chain(rows)
            self.rows["instance"].append(
                {
                    "token": self.token("instance", actor),
                    "category_token": token("category", KINDS[self.world.actors[actor].kind].category),
                    "nbr_annotations": len(rows),
                    "first_annotation_token": rows[0]["token"],
                    "last_annotation_token": rows[-1]["token"],
                }
            )
        samples, hand = self.rows["sample"], "left" if self.world.streets.left_hand else "right"
        self.rows["scene"].append(
            {
                "token": self.token("scene"),
                "log_token": self.token("log"),
                "nbr_samples": len(samples),
                "first_sample_token": samples[0]["token"],
                "last_sample_token": samples[-1]["token"],
                "name": self.name,
                "description": f"Synthetic town, seed {self.seed}, {hand}-hand traffic",
            }
        )
