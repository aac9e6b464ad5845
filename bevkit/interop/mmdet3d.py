"""The bridge to mmdetection3d 1.4, and the only file that imports mmcv, mmdet or mmdet3d.

To configs of mmdet3d it gives bevkit's view transformers (`BEVView`, in the small detector `BEVDetector`); to configs
of bevkit it gives mmdet's and mmdet3d's image backbones and necks (`MMBackbone`, `MMNeck`). Either config asks for it
by ``custom_imports = dict(imports=["bevkit.interop.mmdet3d"])``. Boxes cross both ways.

mmdet3d keeps the boxes of nuScenes in the frame of the lidar, which on that car looks to the right; bevkit keeps them
in the ego frame. Both write length, width, height and a yaw counter-clockwise from +x, but mmdet3d's boxes stand on
their bottom centre, in float32.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmdet3d.datasets import NuScenesDataset
from mmdet3d.models.detectors import Base3DDetector
from mmdet3d.models.layers.fusion_layers import apply_3d_transformation
from mmdet3d.registry import MODELS as MMDET3D_MODELS
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmengine.model import BaseModule
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from torch import Tensor, nn

from bevkit.geometry import rigid
from bevkit.models.architectures.base import single
from bevkit.models.view_transformers import RecurrentViewTransformer, ViewOutput, ViewTransformer
from bevkit.registry import MODELS, SCOPE
from bevkit.structures import BEVGrid, Boxes3D, CameraRig, Detections3D, EgoMotion
from bevkit.structures.classes import CLASSES, class_indices

Config = dict[str, Any]
Meta = Mapping[str, Any]  # Det3DDataSample.metainfo
NUSCENES_CLASSES: tuple[str, ...] = NuScenesDataset.METAINFO["classes"]  # mmdet3d's order
_PROBE = 128  # pixels a side of the image on which channels and strides are measured: a multiple of every stride

# ---- backbones and necks of mmdet and mmdet3d for bevkit's configs ---------------------------------------------------


def _built(config: Config, **defaults: Any) -> nn.Module:
    """Builds a part by mmdet3d's registry, whichever scope is the default one, with the weights its config asks for."""
    silent = logging.root.manager.disable
    logging.disable(logging.INFO)  # mmengine would tell the story of every weight
    try:
        with DefaultScope.overwrite_default_scope("mmdet3d"):
            part = MMDET3D_MODELS.build(config, default_args=defaults)
            part.init_weights()  # here, for mmengine reaches modules of its own kind only, and bevkit's are plain ones
    finally:
        logging.disable(silent)
    return part


def _as_tuple(maps: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
    return (maps,) if isinstance(maps, Tensor) else tuple(maps)


@torch.no_grad()
def _measured(part: nn.Module, features: Tensor | tuple[Tensor, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Runs a part on what a black image of `_PROBE` pixels gives: (channels, strides) of its outputs."""
    training = part.training
    part.eval()
    maps = _as_tuple(part(features))
    part.train(training)
    return tuple(each.shape[1] for each in maps), tuple(_PROBE // each.shape[-1] for each in maps)


def _measured_backbone(part: nn.Module) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return _measured(part, torch.zeros(1, 3, _PROBE, _PROBE))


def _measured_neck(part: nn.Module, channels: Sequence[int], strides: Sequence[int]
                   ) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return _measured(part, tuple(torch.zeros(1, count, _PROBE // stride, _PROBE // stride)
                                 for count, stride in zip(channels, strides)))


@MODELS.register_module()
class MMBackbone(nn.Module):
    """Turns images [M 3 h w] into features, finest first, by a backbone of mmdet or mmdet3d.

    Args:
        model: its config with the scope before the name, such as ``dict(type="mmdet.ResNet", depth=50)``. Pretrained
            weights are what its ``init_cfg`` says.
    """

    def __init__(self, model: Config) -> None:
        super().__init__()
        self.model = _built(model)
        self.channels, self.strides = _measured_backbone(self.model)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return _as_tuple(self.model(images))  # each [M C h/stride w/stride]


@MODELS.register_module()
class MMNeck(nn.Module):
    """Mixes the features of a backbone by a neck of mmdet or mmdet3d.

    Args:
        in_channels, in_strides: of the features, finest first.
        model: its config without ``in_channels``, such as ``dict(type="mmdet3d.SECONDFPN", out_channels=(64, 64),
            upsample_strides=(0.5, 1))``.
    """

    def __init__(self, in_channels: Sequence[int], in_strides: Sequence[int], model: Config) -> None:
        super().__init__()
        self.model = _built(model, in_channels=list(in_channels))
        self.channels, self.strides = _measured_neck(self.model, in_channels, in_strides)

    def forward(self, features: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return _as_tuple(self.model(features))  # each [M C H W]


# ---- bevkit's view transformers for mmdet3d's configs ----------------------------------------------------------------


@MMDET3D_MODELS.register_module()
class BEVView(BaseModule):
    """Lifts the image features of mmdet3d's samples to a map, by any view transformer of bevkit.

    The map [B C Y X] lies in the frame of the samples' boxes: that of the lidar, turned, scaled and flipped as the
    pipeline has done it. A recurrent view transformer (BEVFormer) takes every sample for the begin of a scene.

    Args:
        grid: dict with x, y, z as (low, high, step) in metres.
        transformer: config of a view transformer of bevkit, without grid, in_channels and stride.
        in_channels, stride: of the finest features.
    """

    def __init__(self, grid: Config, transformer: Config, in_channels: int, stride: int,
                 init_cfg: Config | None = None) -> None:
        super().__init__(init_cfg)
        self.grid = BEVGrid(**grid)
        # Parts that it builds in turn are bevkit's, too.
        self.transformer: ViewTransformer = MODELS.build(dict(transformer, _scope_=SCOPE), default_args=dict(
            grid=self.grid, in_channels=in_channels, stride=stride))
        self.out_channels = self.transformer.channels

    def forward(self, features: tuple[Tensor, ...], rig: CameraRig) -> ViewOutput:
        """Lifts features, finest first, each [B*N C H W], that a rig with leading axis [B] has seen."""
        view, plan = self.transformer, single(self.transformer.plan(rig))
        if not isinstance(view, RecurrentViewTransformer):
            return view(features, *plan)
        count, maps = len(rig.intrinsics), features[0]
        still = torch.eye(4, dtype=torch.float64, device=maps.device).expand(count, 2, 4, 4)
        motion = single(view.motion_plan(EgoMotion.of(still, fresh=True)))
        past = maps.new_zeros(count, 1, view.channels, *self.grid.shape)
        return view(features, *plan, past=past, motion=motion)


def rig_of_samples(metas: Sequence[Meta], image_size: tuple[int, int], device: torch.device | str = "cpu") -> CameraRig:
    """Reads the cameras of B samples, in the frame of their boxes, from what mmdet3d's pipeline has packed.

    That is ``lidar2cam`` and ``cam2img`` of every camera, ``ori_cam2img`` where images were resized or cropped, and
    what was done to points and boxes (``transformation_3d_flow`` and its values).

    Args: image_size (h, w) of the images the network sees. Returns a rig with leading axis [B], float64.

    Raises:
        ValueError: a sample has no calibration.
    """
    rigs = []
    for meta in metas:
        missing = [name for name in ("lidar2cam", "cam2img") if name not in meta]
        if missing:
            raise ValueError("samples: expected lidar2cam and cam2img of every camera, got no "
                             f"{' and no '.join(missing)}; load images with LoadMultiViewImageFromFiles and keep both "
                             "in Pack3DDetInputs")
        seen = _matrices(meta["cam2img"], device)[:, :3, :3]
        raw = _matrices(meta.get("ori_cam2img", meta["cam2img"]), device)[:, :3, :3]
        lidar_from_camera = rigid.inverse(_matrices(meta["lidar2cam"], device))
        rig = CameraRig(raw, seen @ torch.linalg.inv(raw), lidar_from_camera, tuple(image_size))
        rigs.append(rig.moved(_boxes_from_lidar(meta).to(device)))
    return CameraRig.stack(rigs)


def _matrices(values: Any, device: torch.device | str) -> Tensor:
    return torch.as_tensor(np.stack([np.asarray(value, np.float64) for value in values]), device=device)


def _boxes_from_lidar(meta: Meta) -> Tensor:
    """Returns the matrix [4 4] by which the pipeline has moved points and boxes: where it took origin and axes."""
    ends = torch.cat((torch.zeros(1, 3), torch.eye(3)))
    origin, *axes = apply_3d_transformation(ends, "LIDAR", dict(meta)).double()
    return rigid.rigid_from(torch.stack([axis - origin for axis in axes], dim=-1), origin)


@MMDET3D_MODELS.register_module()
class BEVDetector(Base3DDetector):
    """A camera detector of mmdet3d around a view transformer of bevkit: images -> features -> map -> boxes.

    Args:
        img_backbone, img_neck: configs of mmdet or mmdet3d; the view transformer reads their channels and strides.
        view: config of a `BEVView` without in_channels and stride.
        bev_backbone, bev_neck: configs of parts that work on the map, such as ``SECOND`` and ``SECONDFPN``.
        bbox_head: config of a head that takes a list of maps and data samples, such as ``CenterHead``.
        train_cfg, test_cfg: handed to the head.
        data_preprocessor, init_cfg: as for every detector of mmdet3d.
    """

    def __init__(self, img_backbone: Config, view: Config, bbox_head: Config, img_neck: Config | None = None,
                 bev_backbone: Config | None = None, bev_neck: Config | None = None, train_cfg: Config | None = None,
                 test_cfg: Config | None = None, data_preprocessor: Config | None = None,
                 init_cfg: Config | None = None) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.img_backbone = MMDET3D_MODELS.build(img_backbone)
        channels, strides = _measured_backbone(self.img_backbone)
        self.img_neck = None if img_neck is None else MMDET3D_MODELS.build(
            img_neck, default_args=dict(in_channels=list(channels)))
        if self.img_neck is not None:
            channels, strides = _measured_neck(self.img_neck, channels, strides)
        self.view = MMDET3D_MODELS.build(view, default_args=dict(in_channels=channels[0], stride=strides[0]))
        self.bev_backbone = None if bev_backbone is None else MMDET3D_MODELS.build(bev_backbone)
        self.bev_neck = None if bev_neck is None else MMDET3D_MODELS.build(bev_neck)
        self.bbox_head = MMDET3D_MODELS.build(bbox_head, default_args=dict(train_cfg=train_cfg, test_cfg=test_cfg))

    def extract_feat(self, batch_inputs: Config, batch_data_samples: list[Det3DDataSample]) -> list[Tensor]:
        """Turns images [B N 3 h w] (``imgs``) and their calibration into the maps the head reads."""
        images = batch_inputs["imgs"]
        rig = rig_of_samples([sample.metainfo for sample in batch_data_samples], images.shape[-2:], images.device)
        features = _as_tuple(self.img_backbone(images.flatten(0, 1)))  # each [B*N C H W]
        if self.img_neck is not None:
            features = _as_tuple(self.img_neck(features))
        maps = (self.view(features, rig).bev,)
        if self.bev_backbone is not None:
            maps = _as_tuple(self.bev_backbone(maps[0]))
        return list(maps if self.bev_neck is None else _as_tuple(self.bev_neck(maps)))

    def loss(self, batch_inputs: Config, batch_data_samples: list[Det3DDataSample]) -> dict[str, Tensor]:
        """Returns the losses of the head."""
        return self.bbox_head.loss(self.extract_feat(batch_inputs, batch_data_samples), batch_data_samples)

    def predict(self, batch_inputs: Config, batch_data_samples: list[Det3DDataSample]) -> list[Det3DDataSample]:
        """Returns the samples with the boxes found in ``pred_instances_3d``."""
        found = self.bbox_head.predict(self.extract_feat(batch_inputs, batch_data_samples), batch_data_samples)
        return self.add_pred_to_datasample(batch_data_samples, found)

    def _forward(self, batch_inputs: Config, batch_data_samples: list[Det3DDataSample]) -> Any:
        """Returns what the head says, undecoded (mmdet3d's mode ``tensor``)."""
        return self.bbox_head(self.extract_feat(batch_inputs, batch_data_samples))


# ---- boxes -----------------------------------------------------------------------------------------------------------


def lidar_boxes(boxes: Boxes3D, lidar_from_ego: Tensor) -> LiDARInstance3DBoxes:
    """Writes boxes of the ego frame as mmdet3d has them: [A 9] = bottom centre, l, w, h, yaw, vx, vy by the lidar.

    Args: lidar_from_ego [4 4]; the identity leaves the boxes in the ego frame.
    """
    there = boxes.moved(lidar_from_ego)
    rows = torch.cat((there.centers, there.sizes, there.yaws.unsqueeze(1), there.velocities), dim=1)  # [A 9]
    return LiDARInstance3DBoxes(rows, box_dim=9, origin=(0.5, 0.5, 0.5))


def ego_boxes(boxes: LiDARInstance3DBoxes, labels: Tensor, ego_from_lidar: Tensor,
              classes: Sequence[str] = NUSCENES_CLASSES) -> Boxes3D:
    """Reads boxes of mmdet3d into the ego frame; undoes `lidar_boxes`. Boxes without velocity get NaN.

    Args: labels [A] among ``classes``; ego_from_lidar [4 4].
    """
    rows = boxes.tensor
    velocities = rows[:, 7:9] if rows.shape[1] >= 9 else rows.new_full((len(rows), 2), torch.nan)
    ours = labels.new_tensor(class_indices(tuple(classes), "mmdet3d's classes"))[labels.long()]
    found = Boxes3D.predicted(boxes.gravity_center, boxes.dims, boxes.yaw, velocities, ours.long())
    return found.moved(ego_from_lidar)


def data_sample(found: Detections3D, sample_idx: int, lidar_from_ego: Tensor,
                classes: Sequence[str] = NUSCENES_CLASSES, most: int = 500) -> Det3DDataSample:
    """Writes the detections of a keyframe as a data sample of mmdet3d, for its metrics and visualizers.

    mmdet3d's NuScenesMetric guesses attributes by class and speed, by the same rule as bevkit, and reads none:
    predicted attributes are lost. An unknown velocity becomes zero.

    Args:
        found: boxes in the ego frame.
        sample_idx: the keyframe's place in the info file.
        lidar_from_ego: [4 4].
        classes: the names behind mmdet3d's labels, in order; boxes of other classes are left out.
        most: keep so many, the best; the benchmark allows 500.
    """
    place = {CLASSES.index(name): i for i, name in enumerate(classes) if name in CLASSES}
    theirs = torch.tensor([place.get(label, -1) for label in range(len(CLASSES))], device=found.scores.device)
    order = found.scores.argsort(descending=True, stable=True)
    order = order[theirs[found.boxes.labels[order]] >= 0][:most]
    boxes = found.boxes[order]
    instances = lidar_boxes(boxes, lidar_from_ego)
    instances.tensor[:, 7:] = instances.tensor[:, 7:].nan_to_num()
    sample = Det3DDataSample(metainfo=dict(sample_idx=sample_idx))
    sample.pred_instances_3d = InstanceData(bboxes_3d=instances, scores_3d=found.scores[order].float(),
                                            labels_3d=theirs[boxes.labels])
    sample.pred_instances = InstanceData()
    return sample


def detections(sample: Det3DDataSample, ego_from_lidar: Tensor, classes: Sequence[str] = NUSCENES_CLASSES
               ) -> Detections3D:
    """Reads what a detector of mmdet3d has found (``pred_instances_3d``) into the ego frame; undoes `data_sample`."""
    found = sample.pred_instances_3d
    return Detections3D(ego_boxes(found.bboxes_3d, found.labels_3d, ego_from_lidar, classes), found.scores_3d)
