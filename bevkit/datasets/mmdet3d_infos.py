"""Reads mmdet3d's ``nuscenes_infos_*.pkl`` into a `SceneIndex`, without letting a pickle run code."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bevkit.datasets.infos import CAMERAS, SceneIndex, points_in, texts
from bevkit.geometry import boxes as box_geometry
from bevkit.geometry import rigid
from bevkit.structures.classes import CLASSES

Info = dict[str, Any]
IMAGE_SIZE = (900, 1600)  # of every nuScenes camera; the info files do not say
MAX_GAP_SECONDS = 1.5  # between keyframes of one scene, where the file does not name scenes
VEHICLES = {"car", "truck", "bus", "trailer", "construction_vehicle", "motorcycle", "bicycle"}
_ARRAYS = {"_reconstruct", "scalar", "_frombuffer"}
_ALLOWED = {
    *((f"{core}.multiarray", name) for core in ("numpy.core", "numpy._core") for name in _ARRAYS),
    *((f"{core}.numeric", name) for core in ("numpy.core", "numpy._core") for name in _ARRAYS),
    ("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode"), ("collections", "OrderedDict"),
    ("builtins", "set"),
}


class _Refused(pickle.UnpicklingError):
    """The pickle names something that is neither an array nor a plain container."""


class _ArrayUnpickler(pickle.Unpickler):
    """Builds numpy arrays and plain containers, nothing else: a pickle may name any function of any library."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise _Refused(f"it asks for {module}.{name}")
        return super().find_class(module, name)


def read_infos(path: str | Path, tracks: bool = False, box_convention: str = "auto") -> SceneIndex:
    """Reads an info file of mmdet3d before 1.1 (``infos``) or since (``data_list``).

    Scenes come from ``scene_name`` or ``scene_token`` where a fork has written them; otherwise a new log or a gap of
    more than 1.5 s starts one. Visibility and attributes are not in such files (0 and -1). Boxes keep gravity centres.

    Args:
        path: the file.
        tracks: whether the caller needs to follow objects through time.
        box_convention: of the old format: ``"lwh"`` (length, width, height, yaw counter-clockwise from +x; written by
            mmdet3d >= 1.0), ``"wlh"`` (width first, yaw clockwise from -y; before 1.0), or ``"auto"``: cars are
            longer than wide.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: it is no info file, asks for foreign code, or has no tracks where they are needed.
    """
    path = Path(path)
    content = _unpickle(path)
    if not isinstance(content, dict) or not ("infos" in content or "data_list" in content):
        raise ValueError(f"{path}: expected a dict with 'infos' or 'data_list' as mmdet3d writes nuScenes, "
                         f"got {list(content)[:8] if isinstance(content, dict) else type(content).__name__}")
    modern = "data_list" in content
    try:
        frames = [_modern_frame(info, _categories(content)) for info in content["data_list"]] if modern else \
            [_old_frame(info) for info in content["infos"]]
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"{path}: expected nuScenes keyframes as mmdet3d writes them, but an entry lacks "
                         f"{error}; make it again with mmdet3d, or use the tables") from None
    if not frames:
        raise ValueError(f"{path}: holds no keyframes")
    index = _join(frames, wide=False if modern else _is_wide(frames, box_convention))
    if tracks and not index.tracked:
        raise ValueError(f"{path}: has no instance tokens, so objects cannot be followed into the future; use the "
                         "nuScenes tables (leave infos out), or future=0")
    return index


def _unpickle(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            return _ArrayUnpickler(file, encoding="latin1").load()
    except FileNotFoundError:
        raise FileNotFoundError(f"info file {path} is missing; make it with mmdet3d, or use the tables") from None
    except _Refused as error:
        raise ValueError(f"info file {path} refused: expected arrays and plain containers, but {error}; "
                         "a pickle can run code, so make the file again or use the tables") from None
    except (pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError, KeyError, TypeError,
            ValueError) as error:
        raise ValueError(f"info file {path} is damaged ({error}); make it again") from None


def _categories(content: Info) -> dict[int, str]:
    """Returns {label: class name} of the modern format."""
    named = content.get("metainfo", {}).get("categories", {name: i for i, name in enumerate(CLASSES)})
    return {label: name for name, label in named.items()}


def _old_frame(info: Info) -> Info:
    """Reads one entry of ``infos``: rotations are quaternions, times microseconds, cameras relative to the lidar."""
    ego_from_lidar = _pose(info["lidar2ego_rotation"], info["lidar2ego_translation"])
    frame = dict(token=info["token"], timestamp=int(info["timestamp"]), lidar=info.get("lidar_path", ""),
                 scene=info.get("scene_name") or info.get("scene_token"), ego_from_lidar=ego_from_lidar,
                 global_from_ego=_pose(info["ego2global_rotation"], info["ego2global_translation"]), cameras={})
    for name, camera in info["cams"].items():
        lidar_from_camera = np.eye(4)
        lidar_from_camera[:3, :3] = camera["sensor2lidar_rotation"]
        lidar_from_camera[:3, 3] = camera["sensor2lidar_translation"]
        frame["cameras"][name] = (_relative(camera["data_path"], name), np.asarray(camera["cam_intrinsic"], float),
                                  ego_from_lidar @ lidar_from_camera)
    if "gt_boxes" in info:
        boxes = np.asarray(info["gt_boxes"], float).reshape(-1, 7)
        velocity = np.asarray(info.get("gt_velocity", np.full((len(boxes), 2), np.nan)), float).reshape(-1, 2)
        tracks = info.get("instance_tokens", info.get("gt_ins_tokens"))
        frame["truth"] = dict(boxes=boxes, velocity=velocity, names=[str(name) for name in info["gt_names"]],
                              points=_points(info, len(boxes)),
                              tracks=None if tracks is None else [str(token) for token in tracks])
    return frame


def _modern_frame(info: Info, categories: dict[int, str]) -> Info:
    """Reads one entry of ``data_list``: 4x4 matrices, seconds, ``lidar2cam`` through both firing times."""
    ego_from_lidar = np.asarray(info["lidar_points"]["lidar2ego"], float)
    frame = dict(token=info["token"], timestamp=round(info["timestamp"] * 1e6), ego_from_lidar=ego_from_lidar,
                 lidar=info["lidar_points"].get("lidar_path", ""), cameras={},
                 scene=info.get("scene_name") or info.get("scene_token"),
                 global_from_ego=np.asarray(info["ego2global"], float))
    for name, camera in info["images"].items():
        frame["cameras"][name] = (_relative(camera["img_path"], name), np.asarray(camera["cam2img"], float)[:3, :3],
                                  ego_from_lidar @ np.linalg.inv(np.asarray(camera["lidar2cam"], float)))
    if "instances" in info:
        rows = info["instances"]
        frame["truth"] = dict(
            boxes=np.array([row["bbox_3d"] for row in rows], float).reshape(-1, 7),
            velocity=np.array([row.get("velocity", (np.nan, np.nan)) for row in rows], float).reshape(-1, 2),
            names=[categories.get(row["bbox_label_3d"], "") for row in rows],
            points=points_in(rows), tracks=None)
    return frame


def _points(info: Info, count: int) -> np.ndarray:
    """Returns how many points of lidar and radar lie in each of so many boxes; -1 = unknown."""
    if "num_lidar_pts" not in info:
        return np.full(count, -1)
    return np.asarray(info["num_lidar_pts"], np.int64) + np.asarray(info.get("num_radar_pts", 0), np.int64)


def _pose(quaternion: Any, translation: Any) -> np.ndarray:
    rotation = rigid.rotation_from_quaternion(torch.tensor([float(value) for value in quaternion], dtype=torch.float64))
    return rigid.rigid_from(rotation, torch.tensor([float(value) for value in translation],
                                                   dtype=torch.float64)).numpy()


def _relative(path: str, sensor: str) -> str:
    """Cuts a stored path to what lies under the dataroot."""
    for folder in ("samples/", "sweeps/"):
        if folder in path:
            return path[path.index(folder):]
    return f"samples/{sensor}/{Path(path).name}"


def _is_wide(frames: list[Info], convention: str) -> bool:
    """Says whether old boxes store width before length."""
    if convention not in ("auto", "lwh", "wlh"):
        raise ValueError(f"box_convention: expected auto, lwh or wlh, got {convention!r}")
    if convention != "auto":
        return convention == "wlh"
    ratios = [box[3] / box[4] for frame in frames if "truth" in frame
              for box, name in zip(frame["truth"]["boxes"], frame["truth"]["names"], strict=True) if name == "car"]
    return bool(ratios) and float(np.median(ratios)) < 1


def _scene_names(frames: list[Info]) -> list[str]:
    """Names the scene of each frame of a list in time order."""
    names, last = [], None
    for frame in frames:
        if frame["scene"]:
            name = str(frame["scene"])
        elif last is not None and last["log"] == _log_of(frame) \
                and frame["timestamp"] - last["timestamp"] <= MAX_GAP_SECONDS * 1e6:
            name = names[-1]
        else:
            name = f"from-{frame['token'][:8]}"
        names.append(name)
        last = dict(log=_log_of(frame), timestamp=frame["timestamp"])
    return names


def _log_of(frame: Info) -> str:
    return Path(frame["lidar"]).name.split("__")[0]


def _join(frames: list[Info], wide: bool) -> SceneIndex:
    """Sorts keyframes into scenes and stacks them."""
    frames = sorted(frames, key=lambda frame: frame["timestamp"])
    named = _scene_names(frames)
    scenes = list(dict.fromkeys(named))
    order = sorted(range(len(frames)), key=lambda i: scenes.index(named[i]))  # stable: time order inside
    frames = [frames[i] for i in order]
    counts = [named.count(scene) for scene in scenes]
    present = {name for frame in frames for name in frame["cameras"]}
    cameras = [name for name in CAMERAS if name in present] + sorted(present - set(CAMERAS))
    blank = ("", np.eye(3), np.eye(4))
    views = [[frame["cameras"].get(name, blank) for name in cameras] for frame in frames]
    shape = (len(frames), len(cameras))
    return SceneIndex(
        scenes=texts(scenes), scene_start=np.cumsum([0, *counts]), splits=np.array(b"{}"), cameras=texts(cameras),
        tokens=texts([frame["token"] for frame in frames]),
        timestamps=np.array([frame["timestamp"] for frame in frames], np.int64),
        global_from_ego=np.stack([frame["global_from_ego"] for frame in frames]),
        image_paths=texts([view[0] for row in views for view in row]).reshape(shape),
        image_sizes=np.tile(np.array(IMAGE_SIZE, np.int64), (*shape, 1)),
        intrinsics=np.stack([np.stack([view[1] for view in row]) for row in views]),
        ego_from_camera=np.stack([np.stack([view[2] for view in row]) for row in views]),
        lidar_paths=texts([_relative(frame["lidar"], "LIDAR_TOP") if frame["lidar"] else "" for frame in frames]),
        ego_from_lidar=np.stack([frame["ego_from_lidar"] for frame in frames]),
        labelled=np.array(any("truth" in frame for frame in frames)), **_boxes(frames, wide))


def _boxes(frames: list[Info], wide: bool) -> dict[str, np.ndarray]:
    """Brings lidar boxes to the ego frame and to length, width, height and counter-clockwise yaw."""
    nothing = dict(boxes=np.zeros((0, 7)), velocity=np.zeros((0, 2)), points=np.zeros(0, np.int64), names=[],
                   tracks=None)
    truths = [frame.get("truth", nothing) for frame in frames]
    counts = np.array([len(truth["boxes"]) for truth in truths], np.int64)
    boxes = np.concatenate([truth["boxes"] for truth in truths])
    names = [name for truth in truths for name in truth["names"]]
    tracked = all(truth["tracks"] is not None for truth in truths if len(truth["boxes"]))
    tokens = [token for truth in truths for token in truth["tracks"] or ()] if tracked else []
    number = {token: i + 1 for i, token in enumerate(dict.fromkeys(tokens))}
    yaws = -boxes[:, 6] - np.pi / 2 if wide else boxes[:, 6]
    turn = torch.from_numpy(np.repeat(np.stack([frame["ego_from_lidar"] for frame in frames]), counts, axis=0))
    velocity = np.concatenate([truth["velocity"] for truth in truths])
    velocity = torch.from_numpy(np.pad(velocity, ((0, 0), (0, 1))))  # [A 3]: the height's change is not stored
    whole = len(boxes)
    return dict(
        tracked=np.array(tracked), box_start=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        centers=rigid.transform(turn, torch.from_numpy(boxes[:, None, :3]))[:, 0].numpy(),
        sizes=boxes[:, [4, 3, 5]] if wide else boxes[:, 3:6],
        yaws=box_geometry.transform_yaw(turn, torch.from_numpy(yaws)[:, None])[:, 0].numpy(),
        velocities=(turn[:, :3, :3] @ velocity[..., None])[:, :2, 0].numpy(),
        labels=np.array([CLASSES.index(name) if name in CLASSES else -1 for name in names], np.int64),
        track_ids=np.array([number[token] for token in tokens] if tracked else [-1] * whole, np.int64),
        visibility=np.zeros(whole, np.int64), sensor_points=np.concatenate([truth["points"] for truth in truths]),
        attributes=np.full(whole, -1, np.int64),
        vehicle=np.array([name in VEHICLES or name.startswith("vehicle") for name in names], bool))
