"""The door to nuScenes: turns its tables into a `SceneIndex`. No other file of this folder knows the devkit."""

from __future__ import annotations

import gc
import json
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from bevkit.datasets.infos import CAMERAS, TABLES, SceneIndex, points_in, texts
from bevkit.geometry import rigid
from bevkit.structures.classes import ATTRIBUTES, CLASSES

Row = dict[str, Any]
REFERENCE = "LIDAR_TOP"


class Tables:
    """The tables of one version by token, reduced to keyframes of the lidar and the cameras.

    ``get`` has the devkit's signature, so that the devkit's own rules (velocity) run on it. Reading the JSON files
    here and not through the devkit's database spares the sweeps and the radars: nine tenths of the memory.
    """

    def __init__(self, dataroot: Path, version: str, progress: Progress) -> None:
        self.folder = dataroot / version
        self.version = version
        self._rows: dict[str, dict[str, Row]] = {}
        sizes = {name: (self.folder / f"{name}.json").stat().st_size for name in TABLES}
        task = progress.add_task("reading tables", total=sum(sizes.values()))
        for name in ("category", "attribute", "sensor", "calibrated_sensor", "scene", "sample", "instance",
                     "sample_data", "ego_pose", "sample_annotation"):
            progress.update(task, description=f"reading {name}")
            self._rows[name] = {row["token"]: row for row in self._read(name)}
            progress.advance(task, sizes[name])

    def get(self, table: str, token: str) -> Row:
        """Returns a row; raises ValueError naming the table where the token is not in it."""
        try:
            return self._rows[table][token]
        except KeyError:
            raise ValueError(f"{self.folder / table}.json: token {token!r} is named by another table but is not there; "
                             f"the tables of {self.version} do not belong together") from None

    def rows(self, table: str) -> list[Row]:
        return list(self._rows[table].values())

    def has(self, table: str, token: str) -> bool:
        return token in self._rows[table]

    def channel(self, sample_data: Row) -> Row:
        """Returns the sensor row (channel, modality) of a sample_data row."""
        calibration = self.get("calibrated_sensor", sample_data["calibrated_sensor_token"])
        return self.get("sensor", calibration["sensor_token"])

    def _read(self, name: str) -> list[Row]:
        keep = None
        if name == "sample_data":
            def keep(row: Row) -> bool:
                sensor = self.channel(row)
                return row["is_key_frame"] and (sensor["modality"] == "camera" or sensor["channel"] == REFERENCE)
        elif name == "ego_pose":
            wanted = {row["ego_pose_token"] for row in self.rows("sample_data")}

            def keep(row: Row) -> bool:
                return row["token"] in wanted
        path = self.folder / f"{name}.json"
        try:
            # Dropping rows while they are parsed keeps 2.6 million sweep rows of trainval out of memory.
            hook = None if keep is None else (lambda row: row if keep(row) else None)
            rows = json.loads(path.read_text("utf-8"), object_hook=hook)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"nuScenes table {path} is damaged ({error}); copy it again") from None
        return [row for row in rows if row is not None]


def read_index(dataroot: str | Path, version: str) -> SceneIndex:
    """Reads one version into a `SceneIndex`, showing a progress bar.

    The ego frame of a keyframe is that of LIDAR_TOP's firing time. Where a keyframe has no LIDAR_TOP row, the first
    of its cameras in nuScenes order (CAM_FRONT first) gives the pose instead.

    Raises:
        ValueError: a table is damaged, or tables do not belong together.
    """
    collecting = gc.isenabled()
    gc.disable()  # the collector would walk millions of rows again and again; they hold no cycles
    try:
        return _read_index(Path(dataroot), version)
    finally:
        if collecting:
            gc.enable()


def _read_index(dataroot: Path, version: str) -> SceneIndex:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        tables = Tables(dataroot, version, progress)
        samples, scene_start, names = _order_samples(tables)
        data = _sensor_rows(tables)
        cameras = _camera_names(data)
        frames = _frames(tables, samples, data, cameras)
        boxes = _boxes(tables, samples, frames["global_from_ego"], progress)
    return SceneIndex(scenes=texts(names), scene_start=scene_start, cameras=texts(cameras),
                      splits=np.array(json.dumps(_splits(tables, names)).encode()), **frames, **boxes)


def _order_samples(tables: Tables) -> tuple[list[Row], np.ndarray, list[str]]:
    """Returns samples scene by scene in time order, where each scene starts, and the scenes' names."""
    by_scene: dict[str, list[Row]] = defaultdict(list)
    for sample in tables.rows("sample"):
        by_scene[sample["scene_token"]].append(sample)
    scenes = [scene for scene in tables.rows("scene") if scene["token"] in by_scene]
    ordered = [sorted(by_scene[scene["token"]], key=lambda row: row["timestamp"]) for scene in scenes]
    scene_start = np.cumsum([0, *map(len, ordered)]).astype(np.int64)
    return [sample for group in ordered for sample in group], scene_start, [scene["name"] for scene in scenes]


def _sensor_rows(tables: Tables) -> dict[str, dict[str, Row]]:
    """Returns {sample token: {channel: sample_data row}}."""
    data: dict[str, dict[str, Row]] = defaultdict(dict)
    for row in tables.rows("sample_data"):
        data[row["sample_token"]][tables.channel(row)["channel"]] = row
    return data


def _camera_names(data: dict[str, dict[str, Row]]) -> list[str]:
    found = {channel for rows in data.values() for channel in rows} - {REFERENCE}
    return [name for name in CAMERAS if name in found] + sorted(found - set(CAMERAS))


def _matrices(rows: list[Row]) -> torch.Tensor:
    """Turns rows with rotation and translation into matrices [n 4 4] float64."""
    rotation = torch.tensor([row["rotation"] for row in rows], dtype=torch.float64).reshape(-1, 4)
    translation = torch.tensor([row["translation"] for row in rows], dtype=torch.float64).reshape(-1, 3)
    return rigid.rigid_from(rigid.rotation_from_quaternion(rotation), translation)


def _frames(tables: Tables, samples: list[Row], data: dict[str, dict[str, Row]],
            cameras: list[str]) -> dict[str, np.ndarray]:
    """Returns what the index stores per keyframe and camera."""
    n, count = len(samples), len(cameras)
    references, places, seen = [], [], []
    lidars = [data[sample["token"]].get(REFERENCE) for sample in samples]
    paths = [[""] * count for _ in range(n)]
    image_sizes = np.zeros((n, count, 2), np.int64)
    intrinsics = np.tile(np.eye(3), (n, count, 1, 1))
    for i, sample in enumerate(samples):
        rows = data[sample["token"]]
        channel = next((name for name in (REFERENCE, *cameras) if name in rows), None)
        if channel is None:
            raise ValueError(f"{tables.folder / 'sample_data'}.json: sample {sample['token']} has no keyframe row of "
                             f"{REFERENCE} or a camera, so its pose is unknown; the tables are incomplete")
        references.append(tables.get("ego_pose", rows[channel]["ego_pose_token"]))
        for j, name in enumerate(cameras):
            if name in rows:
                calibration = tables.get("calibrated_sensor", rows[name]["calibrated_sensor_token"])
                paths[i][j] = rows[name]["filename"]
                image_sizes[i, j] = rows[name]["height"], rows[name]["width"]
                intrinsics[i, j] = calibration["camera_intrinsic"]
                places.append((i, j))
                seen.append((tables.get("ego_pose", rows[name]["ego_pose_token"]), calibration))
    global_from_ego = _matrices(references)
    ego_from_camera = torch.eye(4, dtype=torch.float64).repeat(n, count, 1, 1)
    if places:
        i, j = torch.tensor(places).T
        global_from_camera = _matrices([pose for pose, _ in seen]) @ _matrices([mount for _, mount in seen])
        ego_from_camera[i, j] = rigid.inverse(global_from_ego)[i] @ global_from_camera
    return dict(tokens=texts([sample["token"] for sample in samples]),
                timestamps=np.array([sample["timestamp"] for sample in samples], np.int64),
                global_from_ego=global_from_ego.numpy(), image_sizes=image_sizes, intrinsics=intrinsics,
                image_paths=texts([path for row in paths for path in row]).reshape(n, count),
                ego_from_camera=ego_from_camera.numpy(),
                lidar_paths=texts(["" if row is None else row["filename"] for row in lidars]),
                ego_from_lidar=_lidar_mounts(tables, lidars))


def _lidar_mounts(tables: Tables, rows: list[Row | None]) -> np.ndarray:
    """Returns ego_from_lidar [n 4 4] of sample_data rows, the identity where there is none."""
    mounts = torch.eye(4, dtype=torch.float64).repeat(len(rows), 1, 1)
    present = [i for i, row in enumerate(rows) if row is not None]
    if present:
        mounts[present] = _matrices([tables.get("calibrated_sensor", row["calibrated_sensor_token"])
                                     for row in rows if row is not None])
    return mounts.numpy()


def _boxes(tables: Tables, samples: list[Row], global_from_ego: np.ndarray,
           progress: Progress) -> dict[str, np.ndarray]:
    """Returns what the index stores per box, in the ego frame of each box's keyframe."""
    place = {sample["token"]: i for i, sample in enumerate(samples)}
    # A stable sort by keyframe keeps the order of the table inside a keyframe, as the devkit's sample["anns"] does.
    rows = sorted((row for row in tables.rows("sample_annotation") if row["sample_token"] in place),
                  key=lambda row: place[row["sample_token"]])
    frame = np.array([place[row["sample_token"]] for row in rows], np.int64)
    ego_from_global = rigid.inverse(torch.from_numpy(global_from_ego))[torch.from_numpy(frame)]  # [A 4 4]
    ego_from_box = ego_from_global @ _matrices(rows)
    velocities = torch.from_numpy(_velocities(tables, rows, progress))
    widths = np.array([row["size"] for row in rows], np.float64).reshape(-1, 3)  # nuScenes: width, length, height
    categories = [tables.get("category", tables.get("instance", row["instance_token"])["category_token"])["name"]
                  for row in rows]
    track = {row["token"]: i + 1 for i, row in enumerate(tables.rows("instance"))}  # 0 stays free for "no object"
    return dict(
        labelled=np.array(bool(tables.rows("sample_annotation"))), tracked=np.array(True),
        box_start=np.searchsorted(frame, np.arange(len(samples) + 1)).astype(np.int64),
        centers=ego_from_box[:, :3, 3].numpy(), sizes=widths[:, [1, 0, 2]], yaws=rigid.yaw_of(ego_from_box).numpy(),
        velocities=(ego_from_global[:, :3, :3] @ velocities[..., None])[:, :2, 0].numpy(),
        labels=_class_indices(categories), track_ids=np.array([track[row["instance_token"]] for row in rows], np.int64),
        # Some real rows have '' for a visibility token: unknown.
        visibility=np.array([int(row["visibility_token"]) if row["visibility_token"].isdigit() else 0 for row in rows],
                            np.int64),
        sensor_points=points_in(rows),
        attributes=_attribute_indices(tables, rows),
        vehicle=np.array([name.startswith("vehicle") for name in categories], bool))


def _velocities(tables: Tables, rows: list[Row], progress: Progress) -> np.ndarray:
    """Returns global velocities [A 3] by the devkit's rule; NaN where it gives none."""
    from nuscenes.nuscenes import NuScenes

    for row in rows:  # tables cut out of larger ones may name neighbours that were left behind
        for end in ("prev", "next"):
            if row[end] and not tables.has("sample_annotation", row[end]):
                row[end] = ""
    velocities = np.full((len(rows), 3), np.nan)
    for i, row in enumerate(progress.track(rows, description="velocities")):
        velocities[i] = NuScenes.box_velocity(tables, row["token"])  # type: ignore[arg-type]
    return velocities


def _class_indices(categories: list[str]) -> np.ndarray:
    from nuscenes.eval.detection.utils import category_to_detection_name

    known = {name: category_to_detection_name(name) for name in set(categories)}
    index = {name: -1 if known[name] is None else CLASSES.index(known[name]) for name in known}
    return np.array([index[name] for name in categories], np.int64)


def _attribute_indices(tables: Tables, rows: list[Row]) -> np.ndarray:
    index = {row["token"]: ATTRIBUTES.index(row["name"]) if row["name"] in ATTRIBUTES else -1
             for row in tables.rows("attribute")}
    return np.array([index.get(row["attribute_tokens"][0], -1) if row["attribute_tokens"] else -1 for row in rows],
                    np.int64)


def _splits(tables: Tables, scenes: list[str]) -> dict[str, list[str]]:
    """Returns the devkit's splits and those of ``splits.json`` beside the tables, reduced to scenes that are here."""
    from nuscenes.utils.splits import create_splits_scenes, get_scenes_of_custom_split

    splits = dict(create_splits_scenes())
    custom = tables.folder / "splits.json"
    if custom.is_file():
        place = SimpleNamespace(dataroot=str(tables.folder.parent), version=tables.version)
        for name in json.loads(custom.read_bytes()):
            splits[name] = get_scenes_of_custom_split(name, place)
    here = set(scenes)
    return {name: [scene for scene in members if scene in here] for name, members in splits.items()
            if here & set(members)}
