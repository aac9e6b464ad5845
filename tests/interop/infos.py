"""Writes an info file as mmdet3d's converter does (version 1.1), from the index of a data set in nuScenes format."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bevkit.datasets import NuScenesClips
from bevkit.geometry import rigid
from bevkit.structures import Boxes3D
from bevkit.structures.classes import CLASSES

# mmdet3d's order of the classes.
CATEGORIES = ("car", "truck", "trailer", "bus", "construction_vehicle", "bicycle", "motorcycle", "pedestrian",
              "traffic_cone", "barrier")


def write_infos(path: Path, world: Path, split: str) -> NuScenesClips:
    """Writes the keyframes of a split, in order, and returns them as a data set of single frames without images."""
    dataset = NuScenesClips(world, "v1.0-mini", split=split, with_images=False)
    keyframes = [int(window[0]) for window in dataset.windows]
    content = dict(data_list=[entry(dataset, number, keyframe) for number, keyframe in enumerate(keyframes)],
                   metainfo=dict(categories={name: i for i, name in enumerate(CATEGORIES)}, dataset="nuscenes",
                                 version="v1.0-mini", info_version="1.1"))
    path.write_bytes(pickle.dumps(content))
    return dataset


def lidar_from_ego(dataset: NuScenesClips, number: int) -> torch.Tensor:
    """[4 4] of one frame of the data set."""
    return rigid.inverse(torch.from_numpy(dataset.index.ego_from_lidar[int(dataset.windows[number][0])]))


def entry(dataset: NuScenesClips, number: int, keyframe: int) -> dict[str, Any]:
    index = dataset.index
    ego_from_lidar = index.ego_from_lidar[keyframe]
    images = {name: dict(img_path=index.image_paths[keyframe, i].decode(),
                         cam2img=index.intrinsics[keyframe, i].tolist(),
                         lidar2cam=(np.linalg.inv(index.ego_from_camera[keyframe, i]) @ ego_from_lidar).tolist())
              for i, name in enumerate(index.camera_names)}
    boxes = dataset[number].present.boxes
    assert boxes is not None
    known = boxes[boxes.labels >= 0]
    return dict(sample_idx=number, token=index.tokens[keyframe].decode(),
                timestamp=float(index.timestamps[keyframe]) * 1e-6,
                ego2global=index.global_from_ego[keyframe].tolist(), images=images,
                lidar_points=dict(lidar_path=index.lidar_paths[keyframe].decode(), num_pts_feats=5,
                                  lidar2ego=ego_from_lidar.tolist()),
                instances=instances(known.moved(lidar_from_ego(dataset, number))))


def instances(boxes: Boxes3D) -> list[dict[str, Any]]:
    """Lists boxes that are in the lidar's frame already."""
    rows = torch.cat((boxes.centers, boxes.sizes, boxes.yaws[:, None]), dim=1)  # [A 7]
    return [dict(bbox_3d=row, bbox_label_3d=CATEGORIES.index(CLASSES[label]), velocity=velocity,
                 bbox_3d_isvalid=points > 0, num_lidar_pts=points, num_radar_pts=0)
            for row, label, velocity, points in zip(rows.tolist(), boxes.labels.tolist(), boxes.velocities.tolist(),
                                                    boxes.sensor_points.tolist())]
