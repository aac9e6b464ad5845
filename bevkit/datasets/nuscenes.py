"""nuScenes as clips: T input keyframes, the present last, and F future keyframes of one scene."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from bevkit.datasets.images import ImageLoader
from bevkit.datasets.infos import open_index
from bevkit.datasets.lidar import read_lidar
from bevkit.datasets.mmdet3d_infos import read_infos
from bevkit.datasets.raster_maps import raster_map_paths
from bevkit.geometry import rigid
from bevkit.registry import DATASETS, MODELS, TRANSFORMS
from bevkit.structures import KEYFRAME_SECONDS, BEVClip, BEVFrame, BEVGrid, Boxes3D, CameraRig
from bevkit.structures.classes import CLASSES

log = logging.getLogger(__name__)
Transform = Callable[[BEVClip, np.random.Generator], BEVClip]
_WITHOUT = {"images": "pass with_images=False for labels alone", "lidar files": "pass lidar=False"}
_BOX_FIELDS = tuple(item.name for item in fields(Boxes3D))


@DATASETS.register_module()
class NuScenesClips(Dataset[BEVClip]):
    """Whole clips of any nuScenes version, by any of its cameras; ``len`` is their number.

    A clip is ``past`` keyframes, the present last, and ``future`` more for labels, neighbours at 2 Hz inside one scene.
    What is drawn at random depends on (seed, epoch, index, turn) alone: neither on the number of workers nor on what
    was read before.

    Args:
        dataroot: the folder that holds ``version/*.json`` and the samples.
        version: ``"v1.0-mini"``, ``"v1.0-trainval"``, ``"v1.0-test"`` or any folder of tables in the same format.
        past: T >= 1 input frames, the present counted.
        future: F >= 0 label frames after the present.
        ahead: how many of the F are read with images, as inputs of a model that labels recordings.
        split: of the devkit (``"mini_train"``, ``"val"``, ..) or of ``splits.json`` beside the tables; None = all.
        scenes: names of scenes to keep; None = all of the split.
        keyframes: (first, end) keep these keyframes of each scene, counted from 0, end excluded; clips lie inside.
        cameras: channel names in the wanted order; None = all that the tables have, CAM_FRONT first.
        images: an `ImageLoader` or its arguments; None = raw size.
        with_images: False reads labels, poses and calibration only.
        lidar: read the keyframe's lidar points of every input frame, for depth labels.
        raster_maps: say in each frame's ``meta["raster_map"]`` where the map of its scene is, for `MapCoder`.
        pipeline: transforms (clip, generator) -> clip or their configs, in order.
        target_coder: what makes ``clip.targets`` in the worker: an object with ``encode(clip)`` or its config.
        grid: handed to the ``target_coder`` config: a `BEVGrid` or its arguments.
        at_scene_start: ``"skip"`` gives whole pasts only; ``"repeat"`` lets the first keyframe stand for those before.
        missed: probability with which each past keyframe is missing, as when a vehicle drops frames; older ones of
            the scene take their places, and where there are none the oldest that is left stands in.
        at_scene_end: ``"skip"`` gives whole futures only; ``"unknown"`` fills up with frames without boxes (None), at
            the last known pose, 0.5 s apart; ``"repeat"`` lets the last keyframe stand for those behind.
        infos: an mmdet3d info file ``nuscenes_infos_*.pkl`` to read in place of the tables of ``version``.
        draw_per: ``"clip"``, or ``"scene"``: all clips of a scene are augmented alike in an epoch, as streams need it.
        cache_dir: where the index of the tables is cached, see `infos.open_index`.
        seed: of all that is random.

    Raises:
        FileNotFoundError: the version, a table or the first image is missing.
        ValueError: an argument does not fit the tables, or no whole clip is left.
    """

    def __init__(self, dataroot: str | Path, version: str, past: int = 1, future: int = 0, *,
                 split: str | None = None, scenes: Sequence[str] | None = None,
                 keyframes: tuple[int, int | None] | None = None, cameras: Sequence[str] | None = None,
                 images: ImageLoader | dict[str, Any] | None = None, with_images: bool = True, lidar: bool = False,
                 raster_maps: bool = False, pipeline: Sequence[Transform | dict[str, Any]] = (),
                 target_coder: Any = None, grid: BEVGrid | dict[str, Any] | None = None, at_scene_start: str = "skip",
                 at_scene_end: str = "skip", missed: float = 0.0, infos: str | Path | None = None,
                 draw_per: str = "clip", cache_dir: str | Path | None = None, seed: int = 0,
                 ahead: int = 0) -> None:
        if past < 1 or not 0 <= ahead <= future:
            raise ValueError(f"NuScenesClips: expected past >= 1 (the present counts) and 0 <= ahead <= future, "
                             f"got past={past}, future={future}, ahead={ahead}")
        ends = ("skip", "repeat") if ahead else ("skip", "unknown", "repeat")  # the unknown has no images
        if at_scene_start not in ("skip", "repeat") or at_scene_end not in ends:
            raise ValueError(f"NuScenesClips: expected at_scene_start = skip or repeat and at_scene_end = "
                             f"{' or '.join(ends)}, got {at_scene_start!r} and {at_scene_end!r}")
        if draw_per not in ("clip", "scene"):
            raise ValueError(f"NuScenesClips: expected draw_per = clip or scene, got {draw_per!r}")
        if not 0 <= missed < 1 or (missed and past == 1):
            raise ValueError("NuScenesClips: expected missed, a probability, in 0 <= missed < 1, and 0 for clips of "
                             f"one frame, got {missed} and past={past}; streams miss no frames by themselves")
        self.dataroot, self.version, self.split = Path(dataroot), version, split
        self.past, self.future, self.ahead = past, future, ahead
        self.missed, self.draw_per, self.seed = missed, draw_per, seed
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self.index = read_infos(infos, future > 0) if infos is not None else open_index(dataroot, version, cache_dir)
        self.cameras = self._choose_cameras(cameras)
        self._columns = [self.index.camera_names.index(name) for name in self.cameras]
        self.with_images, self.lidar = with_images, lidar
        self._seen = (self.index.image_paths[:, self._columns] != b"").all(axis=1)  # [K]
        self.windows = self._windows(self._choose_scenes(split, scenes), keyframes, at_scene_start, at_scene_end)
        self.images = images if isinstance(images, ImageLoader) else \
            TRANSFORMS.build({"type": "ImageLoader", **(images or {})})
        self.pipeline = [TRANSFORMS.build(step) if isinstance(step, dict) else step for step in pipeline]
        self.target_coder = _build_coder(target_coder, grid)
        scenes_here = sorted({self.index.scene_names[scene] for scene in np.unique(self.clip_scenes()).tolist()})
        self._raster_maps = raster_map_paths(dataroot, version, scenes_here) if raster_maps else {}
        self._hold_tensors()
        if with_images:
            self._expect_files(self.index.image_paths[:, self._columns], "images")
        if lidar:
            self._expect_files(self.index.lidar_paths[:, None], "lidar files")

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int | tuple[int, int]) -> BEVClip:
        """Reads a clip; (index, turn) draws for the turn of a clip that an epoch asks for several times."""
        index, turn = index if isinstance(index, tuple) else (index, 0)
        if not -len(self) <= index < len(self):
            raise IndexError(f"clip {index} is not among the {len(self)} clips")
        index %= len(self)
        group = index if self.draw_per == "clip" else self._scene_of(int(self.windows[index, self.past - 1]))
        rng = np.random.default_rng((self.seed, int(self._epoch), group, turn))
        draws = self.images.sample(len(self.cameras), rng)
        window = self._without_missed(index, turn).tolist()
        inputs = self.past + self.ahead
        frames = [self._input_frame(keyframe, draws) for keyframe in window[:inputs]]
        for keyframe in window[inputs:]:
            frames.append(self._frame(keyframe) if keyframe >= 0 else _unknown_after(frames[-1]))
        clip = BEVClip(frames=tuple(frames), past=self.past, ahead=self.ahead)
        for transform in self.pipeline:
            clip = transform(clip, rng)
        if self.target_coder is None:
            return clip
        return replace(clip, targets={**clip.targets, **self.target_coder.encode(clip)})

    def _without_missed(self, index: int, turn: int) -> np.ndarray:
        """Lets keyframes before the present go missing from a window [T+F]."""
        window = self.windows[index]
        if not self.missed:
            return window
        rng = np.random.default_rng((self.seed, int(self._epoch), index, turn, 1))  # of its own: augmentation is not it
        present = int(window[self.past - 1])
        before = np.arange(self._first_of[self._scene_of(present)], present)
        before = before[self._seen[before]]
        kept = np.append(before[rng.random(len(before)) >= self.missed], present)[-self.past:]
        filled = np.concatenate((np.full(self.past - len(kept), kept[0]), kept))
        return np.concatenate((filled, window[self.past:]))

    def set_epoch(self, epoch: int) -> None:
        """Says which epoch the next clips draw for; data workers that live on hear it too."""
        self._epoch.fill_(epoch)

    def class_presence(self) -> np.ndarray:
        """Says which of K classes the present frame of each of L clips shows, lidar or radar on it: [L K] bool."""
        found = np.zeros((len(self.index.tokens), len(CLASSES)), bool)
        keyframes = np.repeat(np.arange(len(found)), np.diff(self.index.box_start))
        counted = (self.index.labels >= 0) & (self.index.sensor_points != 0)
        found[keyframes[counted], self.index.labels[counted]] = True
        return found[self.windows[:, self.past - 1]]

    def clip_scenes(self) -> np.ndarray:
        """Returns the number of the scene that each of L clips belongs to: [L]."""
        return np.searchsorted(self.index.scene_start, self.windows[:, self.past - 1], side="right") - 1

    def _scene_of(self, keyframe: int) -> int:
        return int(np.searchsorted(self.index.scene_start, keyframe, side="right")) - 1

    @property
    def metainfo(self) -> dict[str, Any]:
        """What an evaluator may want to know; mmengine hands it to the metrics."""
        return dict(classes=CLASSES, dataroot=str(self.dataroot), version=self.version, split=self.split,
                    cameras=tuple(self.cameras), past=self.past, future=self.future)

    def _frame(self, keyframe: int) -> BEVFrame:
        scene = self._scene_of(keyframe)
        meta = dict(sample_token=self.index.tokens[keyframe].decode(), scene_name=self.index.scenes[scene].decode(),
                    keyframe=keyframe - int(self.index.scene_start[scene]))
        if self._raster_maps:
            meta["raster_map"] = self._raster_maps[meta["scene_name"]]
        seconds = float(self.index.timestamps[keyframe]) * 1e-6
        return BEVFrame(self._poses[keyframe].clone(), seconds, self._truth(keyframe), meta=meta)

    def _truth(self, keyframe: int) -> Boxes3D | None:
        if self._boxes is None:
            return None
        part = slice(*self.index.box_start[keyframe: keyframe + 2].tolist())
        # Clones: a view sent to another process would take the boxes of the whole data set along.
        return Boxes3D(*(tensor[part].clone() for tensor in self._boxes))

    def _input_frame(self, keyframe: int, draws: np.ndarray) -> BEVFrame:
        columns = self._columns
        sizes = [tuple(size) for size in self.index.image_sizes[keyframe, columns].tolist()]
        paths = [str(self.dataroot / path.decode()) for path in self.index.image_paths[keyframe, columns]]
        images, image_aug, size = None, torch.eye(3, dtype=torch.float64).repeat(len(columns), 1, 1), sizes[0]
        if self.with_images:
            plans = [self.images.plan(*pair) for pair in zip(sizes, draws.tolist(), strict=True)]
            images, image_aug = self.images.read(paths, plans), self.images.matrices(plans)
            size = plans[0].size
        rig = CameraRig(self._intrinsics[keyframe, columns], image_aug, self._ego_from_camera[keyframe, columns], size)
        frame = self._frame(keyframe)
        return replace(frame, images=images, rig=rig, points=self._points(keyframe) if self.lidar else None,
                       meta={**frame.meta, "cameras": tuple(self.cameras), "image_paths": tuple(paths)})

    def _points(self, keyframe: int) -> Tensor:
        """Reads the lidar points [P 3] of a keyframe in its ego frame."""
        points = read_lidar(self.dataroot / self.index.lidar_paths[keyframe].decode())
        return rigid.transform(self._ego_from_lidar[keyframe].to(points), points)

    def _choose_cameras(self, wanted: Sequence[str] | None) -> list[str]:
        known = self.index.camera_names
        if wanted is not None and len(wanted) == 0:
            raise ValueError(f"cameras: expected at least one of {', '.join(known)}, got none; leave it out for all")
        missing = [name for name in wanted or () if name not in known]
        if missing:
            raise ValueError(f"cameras: {', '.join(missing)} not in {self.version}; it has {', '.join(known)}")
        return list(known if wanted is None else wanted)

    def _choose_scenes(self, split: str | None, wanted: Sequence[str] | None) -> list[int]:
        names, splits = self.index.scene_names, self.index.split_names
        if split is not None and split not in splits:
            raise ValueError(f"split {split!r}: no scene of {self.version} is in it; "
                             f"expected one of {', '.join(splits) or 'none, so leave split out and name scenes'}")
        unknown = [name for name in wanted or () if name not in names]
        if unknown:
            raise ValueError(f"scenes: {', '.join(unknown)} not in {self.version}; it has {', '.join(names[:20])}"
                             f"{' ..' if len(names) > 20 else ''}")
        inside = set(names if split is None else splits[split])
        kept = inside if wanted is None else inside & set(wanted)
        return [i for i, name in enumerate(names) if name in kept]

    def _windows(self, scenes: list[int], keyframes: tuple[int, int | None] | None, at_start: str,
                 at_end: str) -> np.ndarray:
        """Lists the clips as rows of keyframe numbers [L T+F], -1 for an unknown future."""
        first, end = keyframes or (0, None)
        offsets = np.arange(1 - self.past, self.future + 1)
        found = [np.empty((0, len(offsets)), np.int64)]
        self._first_of: dict[int, int] = {}  # the first keyframe that may be read of each scene
        for scene in scenes:
            run = np.arange(*self.index.scene_start[scene: scene + 2])[first:end]
            if len(run) == 0:
                continue
            self._first_of[scene] = int(run[0])
            rows = run[:, None] + offsets
            whole = np.ones(len(rows), bool)
            if at_start == "skip":
                whole &= rows[:, 0] >= run[0]
            if at_end == "skip":
                whole &= rows[:, -1] <= run[-1]
            rows = np.where(rows > run[-1], run[-1] if at_end == "repeat" else -1, rows.clip(min=run[0]))
            found.append(rows[whole])
        windows = np.concatenate(found)
        complete = self._seen[windows[:, : self.past + self.ahead]].all(axis=1)
        if not complete.all():
            log.info("%d of %d clips left out: a camera has no image there", (~complete).sum(), len(windows))
        if not complete.any():
            longest = max((np.diff(self.index.scene_start)[scene] for scene in scenes), default=0)
            raise ValueError(
                f"no whole clip of {self.past} past (the present counted) + {self.future} future keyframes in "
                f"{len(scenes)} scenes of {self.version} (the longest has {longest} keyframes; keyframes={keyframes}); "
                f"ask for fewer, or set at_scene_start='repeat' or at_scene_end='unknown'")
        return windows[complete]

    def _hold_tensors(self) -> None:
        """Wraps the index as tensors once, so that an item only slices."""
        self._poses, self._intrinsics, self._ego_from_camera, self._ego_from_lidar = (
            torch.from_numpy(array) for array in (self.index.global_from_ego, self.index.intrinsics,
                                                  self.index.ego_from_camera, self.index.ego_from_lidar))
        self._boxes = None
        if self.index.labelled:
            self._boxes = tuple(torch.from_numpy(getattr(self.index, name)) for name in _BOX_FIELDS)

    def _expect_files(self, paths: np.ndarray, kind: str) -> None:
        """Finds out before the first epoch, not in a worker, that files [n K] were never downloaded."""
        read = np.unique(self.windows[:, : self.past + self.ahead])
        if self.missed:  # then older keyframes of the same scenes too
            presents = self.windows[:, self.past - 1]
            read = np.concatenate([np.arange(self._first_of[scene], presents[self.clip_scenes() == scene].max() + 1)
                                   for scene in np.unique(self.clip_scenes())])
            read = np.union1d(read[self._seen[read]], self.windows[:, self.past: self.past + self.ahead])
        names = [name.decode() for name in paths[read].ravel()]
        # One listing a folder: asking for 200,000 files one by one takes minutes on a network disk.
        folders = {name.rpartition("/")[0] for name in names}
        there = {f"{folder}/{name}" for folder in folders for name in _listing(self.dataroot / folder)}
        missing = [name for name in names if name not in there]
        if missing:
            raise FileNotFoundError(
                f"{len(missing)} of {len(names)} {kind} of {self.version} are missing, the first is "
                f"{self.dataroot / missing[0]}; put the samples beside the tables, choose scenes= that are there, or "
                f"{_WITHOUT[kind]}")


def _boxes_from(arrays: tuple[np.ndarray, ...]) -> Boxes3D:
    return Boxes3D(*(torch.from_numpy(array) for array in arrays))


def _reduce_boxes(boxes: Boxes3D) -> tuple[Callable[..., Boxes3D], tuple[tuple[np.ndarray, ...]]]:
    return _boxes_from, (tuple(getattr(boxes, name).numpy() for name in _BOX_FIELDS),)


# Boxes leave a data worker as bytes in the queue. As tensors each would take a shared-memory file of its own: 560 a
# batch of eight clips, ten times the transfer, and "too many open files".
ForkingPickler.register(Boxes3D, _reduce_boxes)


def _listing(folder: Path) -> list[str]:
    return os.listdir(folder) if folder.is_dir() else []


def _unknown_after(last: BEVFrame) -> BEVFrame:
    """Returns a frame 0.5 s after the last one, about which only the guess that the ego stands still is made."""
    return BEVFrame(last.global_from_ego, last.timestamp + KEYFRAME_SECONDS,
                    meta=dict(scene_name=last.meta["scene_name"], sample_token="", keyframe=-1))


def _build_coder(coder: Any, grid: BEVGrid | dict[str, Any] | None) -> Any:
    if not isinstance(coder, dict):
        return coder
    if grid is None:
        return MODELS.build(coder)
    return MODELS.build(coder, default_args=dict(grid=BEVGrid(**grid) if isinstance(grid, dict) else grid))
