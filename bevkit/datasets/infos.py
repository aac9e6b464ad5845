"""The cached index of a data set: every keyframe and box in flat arrays, built once, then opened in a blink."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import time
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from bevkit.files import write_atomically

FORMAT = 3  # raise it whenever the meaning of a stored array changes; older caches are then rebuilt
CAMERAS = ("CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_FRONT_LEFT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT")
TABLES = ("category", "attribute", "instance", "sensor", "calibrated_sensor", "ego_pose", "scene", "sample",
          "sample_data", "sample_annotation")
_STALE_SECONDS = 3600.0
_CORRUPT = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SceneIndex:
    """n keyframes of S scenes seen by C cameras, with A boxes; plain numpy arrays, texts as UTF-8 bytes.

    Keyframes stand scene by scene, oldest first; boxes stand keyframe by keyframe, in the order of the tables.

    Attributes:
        scenes: [S] names; keyframes of scene s are ``scene_start[s] : scene_start[s + 1]``.
        scene_start: [S+1] int64.
        splits: JSON text, {split name: [scene names]}, of the splits that touch these scenes.
        cameras: [C] channel names.
        tokens: [n] sample tokens.
        timestamps: [n] int64 microseconds.
        global_from_ego: [n 4 4] at the lidar time.
        image_paths: [n C] relative to the dataroot, empty where a camera has no image.
        image_sizes: [n C 2] int64 (height, width).
        intrinsics: [n C 3 3]; ego_from_camera: [n C 4 4] through the camera's own firing time.
        lidar_paths: [n] relative to the dataroot, empty where a keyframe has no lidar file.
        ego_from_lidar: [n 4 4].
        labelled: [] bool, whether there is truth at all (not in a test split).
        tracked: [] bool, whether ``track_ids`` are known.
        box_start: [n+1] int64, boxes of keyframe i are ``box_start[i] : box_start[i + 1]``.
        centers .. vehicle: [A ..] as in `Boxes3D`, in the ego frame of their keyframe.
    """

    scenes: np.ndarray
    scene_start: np.ndarray
    splits: np.ndarray
    cameras: np.ndarray
    tokens: np.ndarray
    timestamps: np.ndarray
    global_from_ego: np.ndarray
    image_paths: np.ndarray
    image_sizes: np.ndarray
    intrinsics: np.ndarray
    ego_from_camera: np.ndarray
    lidar_paths: np.ndarray
    ego_from_lidar: np.ndarray
    labelled: np.ndarray
    tracked: np.ndarray
    box_start: np.ndarray
    centers: np.ndarray
    sizes: np.ndarray
    yaws: np.ndarray
    velocities: np.ndarray
    labels: np.ndarray
    track_ids: np.ndarray
    visibility: np.ndarray
    sensor_points: np.ndarray
    attributes: np.ndarray
    vehicle: np.ndarray

    @property
    def scene_names(self) -> list[str]:
        return [name.decode() for name in self.scenes]

    @property
    def camera_names(self) -> list[str]:
        return [name.decode() for name in self.cameras]

    @property
    def split_names(self) -> dict[str, list[str]]:
        return json.loads(self.splits.item())


def points_in(rows: Sequence[dict[str, Any]]) -> np.ndarray:
    """Returns how many points of lidar and radar lie in each box [A] int64, as the devkit counts; -1 = unknown."""
    return np.array([row["num_lidar_pts"] + row.get("num_radar_pts", 0) if "num_lidar_pts" in row else -1
                     for row in rows], np.int64)


def texts(values: list[str]) -> np.ndarray:
    """Stores texts as fixed-width UTF-8 bytes: a quarter of numpy's own width, and no pickle."""
    return np.array([value.encode() for value in values], dtype=np.bytes_)


def open_index(dataroot: str | Path, version: str, cache_dir: str | Path | None = None) -> SceneIndex:
    """Opens the index of a nuScenes version, building it from the tables when there is none that fits them.

    The cache is keyed by the tables' sizes and change times, written beside and then renamed, so that a build killed
    at any moment, two builds at once or a damaged file cost a rebuild and nothing else.

    Args:
        dataroot: the folder that holds ``version/*.json`` and the samples.
        version: such as ``"v1.0-mini"``.
        cache_dir: where the cache lies; default ``dataroot/.bevkit``, or the user's cache folder for a dataroot
            without write permission.

    Raises:
        FileNotFoundError: the version or one of its tables is missing.
        ValueError: a table is damaged.
    """
    dataroot = Path(dataroot)
    folder = Path(cache_dir) if cache_dir is not None else default_cache_dir(dataroot)
    path = folder / f"{version}.{_fingerprint(dataroot, version)}.npz"
    index = load(path)
    if index is None:
        from bevkit.datasets.nuscenes_tables import read_index  # the devkit is needed for building only

        index = read_index(dataroot, version)
        try:
            save(index, path)
            _remove_superseded(folder, version, path)
        except OSError as error:
            log.warning("index of %s not cached (%s); pass cache_dir= a folder that can be written", version, error)
    return index


def save(index: SceneIndex, path: Path) -> None:
    """Writes an index so that the file is either whole or absent, whenever the process dies."""
    buffer = io.BytesIO()
    np.savez(buffer, format=np.int64(FORMAT), **{item.name: getattr(index, item.name) for item in fields(index)})
    write_atomically(path, buffer.getvalue())


def load(path: Path) -> SceneIndex | None:
    """Reads an index; None where it is absent, damaged (every array is checked by its CRC) or of another format."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            if int(archive["format"]) != FORMAT:
                return None
            return SceneIndex(**{item.name: archive[item.name] for item in fields(SceneIndex)})
    except FileNotFoundError:
        return None
    except _CORRUPT as error:
        log.warning("index %s is damaged (%s) and will be rebuilt", path, error)
        return None


def default_cache_dir(dataroot: Path) -> Path:
    """Returns ``dataroot/.bevkit`` or, where the dataroot is write-protected, a folder of its own in the user cache."""
    # The permission bits count too: os.access lets root write everywhere, but a protected folder is meant to stay so.
    if os.access(dataroot, os.W_OK) and dataroot.stat().st_mode & 0o222:
        return dataroot / ".bevkit"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "bevkit" / hashlib.sha1(str(dataroot.resolve()).encode()).hexdigest()[:12]


def _fingerprint(dataroot: Path, version: str) -> str:
    """Names the state of the tables by size and change time; raises FileNotFoundError for a missing one."""
    folder = dataroot / version
    if not folder.is_dir():
        known = sorted(path.parent.name for path in dataroot.glob("*/sample.json"))
        raise FileNotFoundError(f"nuScenes version {version!r}: expected a folder {folder}, "
                                f"found {', '.join(known) or 'no version'} in {dataroot}")
    digest = hashlib.sha1(f"format {FORMAT}".encode())
    for name in (*TABLES, "splits"):
        path = folder / f"{name}.json"
        if path.is_file():
            stat = path.stat()
            digest.update(f"{name} {stat.st_size} {stat.st_mtime_ns};".encode())
        elif name != "splits":  # custom splits are optional
            raise FileNotFoundError(f"nuScenes table {path} is missing; copy all tables of {version} there again")
    return digest.hexdigest()[:16]


def _remove_superseded(folder: Path, version: str, current: Path) -> None:
    """Removes indices of earlier tables and the leavings of killed builds."""
    for path in folder.glob(f"{version}.*.npz"):
        if path != current:
            path.unlink(missing_ok=True)
    for path in folder.glob(f".{version}.*.tmp"):
        try:
            if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                path.unlink()
        except FileNotFoundError:
            pass  # another build finished or cleaned up first
