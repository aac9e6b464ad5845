"""The cameras of a vehicle: any number of them, as one object."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from bevkit.checks import expect
from bevkit.geometry import pinhole, rigid
from bevkit.structures.tensors import TensorFields


@dataclass(frozen=True)
class CameraRig(TensorFields):
    """N cameras, each with its raw calibration and what augmentation did to its image.

    Attributes:
        intrinsics: [* N 3 3], raw image (pixels) from camera.
        image_aug: [* N 3 3], the pixels the network sees from raw pixels (resize, crop, flip, turn).
        ego_from_camera: [* N 4 4], metres; through each camera's own firing time.
        image_size: (height, width) of the images the network sees.
    """

    intrinsics: Tensor
    image_aug: Tensor
    ego_from_camera: Tensor
    image_size: tuple[int, int]

    def __post_init__(self) -> None:
        axes = expect("rig.intrinsics", self.intrinsics, "* N 3 3")
        expect("rig.image_aug", self.image_aug, "* N 3 3", axes)
        expect("rig.ego_from_camera", self.ego_from_camera, "* N 4 4", axes)

    @property
    def num_cameras(self) -> int:
        return self.intrinsics.shape[-3]

    @property
    def image_from_camera(self) -> Tensor:
        """[* N 3 3]: pixels the network sees from camera."""
        return self.image_aug @ self.intrinsics

    def __getitem__(self, index: Any) -> CameraRig:
        """Indexes the leading axes, as on a tensor; the camera axis stays."""
        return replace(self, intrinsics=self.intrinsics[index], image_aug=self.image_aug[index],
                       ego_from_camera=self.ego_from_camera[index])

    def flatten(self) -> CameraRig:
        """Joins all leading axes to one: [B T N ..] becomes [B*T N ..]."""
        return replace(self, intrinsics=self.intrinsics.flatten(0, -4), image_aug=self.image_aug.flatten(0, -4),
                       ego_from_camera=self.ego_from_camera.flatten(0, -4))

    def moved(self, new_from_ego: Tensor) -> CameraRig:
        """Expresses the rig in another ego frame, by a matrix [* 4 4] over the leading axes."""
        return replace(self, ego_from_camera=new_from_ego.unsqueeze(-3) @ self.ego_from_camera)

    def project(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Projects ego points [* P 3] into every camera: pixels [* N P 2], depths [* N P], visible [* N P]."""
        camera_points = rigid.transform(rigid.inverse(self.ego_from_camera), points.unsqueeze(-3))
        pixels, depth = pinhole.project(self.image_from_camera, camera_points)
        return pixels, depth, pinhole.inside(pixels, depth, self.image_size)

    def unproject(self, pixels: Tensor, depth: Tensor) -> Tensor:
        """Lifts pixels [* N P 2] at depths [* N P] (metres along each optical axis) to ego points [* N P 3]."""
        return rigid.transform(self.ego_from_camera, pinhole.unproject(self.image_from_camera, pixels, depth))

    @staticmethod
    def stack(rigs: list[CameraRig]) -> CameraRig:
        """Stacks rigs on a new first axis; raises ValueError when image sizes differ."""
        sizes = {rig.image_size for rig in rigs}
        if len(sizes) != 1:
            raise ValueError(f"rig: expected one image size in a batch, got {sorted(sizes)}; resize images alike")
        return CameraRig(torch.stack([rig.intrinsics for rig in rigs]), torch.stack([rig.image_aug for rig in rigs]),
                         torch.stack([rig.ego_from_camera for rig in rigs]), sizes.pop())
