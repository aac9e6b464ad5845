"""The boxes of one instant."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bevkit.checks import expect
from bevkit.geometry import boxes as box_geometry
from bevkit.geometry import rigid
from bevkit.structures.classes import CLASSES, VEHICLES
from bevkit.structures.tensors import TensorFields


@dataclass(frozen=True)
class Boxes3D(TensorFields):
    """A boxes in one frame (ego unless said otherwise).

    Attributes:
        centers: [A 3] gravity centres, metres.
        sizes: [A 3] length, width, height, metres.
        yaws: [A] radians, counter-clockwise from +x.
        velocities: [A 2] metres a second along the frame's axes, NaN = unknown.
        labels: [A] int64 class index, -1 = none of the classes.
        track_ids: [A] int64, the same object has the same number in every frame of a scene.
        visibility: [A] int64 nuScenes level 1 (0-40 %) .. 4 (80-100 %), 0 = unknown.
        sensor_points: [A] int64 number of lidar and radar points inside, -1 = unknown.
        attributes: [A] int64 attribute index, -1 = none.
        vehicle: [A] bool, a road vehicle (category "vehicle.*" of nuScenes), whatever its class.
    """

    centers: Tensor
    sizes: Tensor
    yaws: Tensor
    velocities: Tensor
    labels: Tensor
    track_ids: Tensor
    visibility: Tensor
    sensor_points: Tensor
    attributes: Tensor
    vehicle: Tensor

    def __post_init__(self) -> None:
        axes = expect("boxes.centers", self.centers, "A 3")
        expect("boxes.sizes", self.sizes, "A 3", axes)
        expect("boxes.velocities", self.velocities, "A 2", axes)
        for name in ("yaws", "labels", "track_ids", "visibility", "sensor_points", "attributes", "vehicle"):
            expect(f"boxes.{name}", getattr(self, name), "A", axes)

    def __len__(self) -> int:
        return self.centers.shape[0]

    def __getitem__(self, index: Tensor | slice) -> Boxes3D:
        """Chooses boxes by a mask, an index tensor or a slice."""
        return self.map(lambda tensor: tensor[index])

    @property
    def corners(self) -> Tensor:
        """[A 8 3], bottom face first, each counter-clockwise from front left."""
        return box_geometry.corners(self.centers, self.sizes, self.yaws)

    def moved(self, a_from_b: Tensor) -> Boxes3D:
        """Expresses boxes of frame b in frame a by a matrix [4 4]: rotation, shift, uniform scale, mirror."""
        matrix = a_from_b.to(self.centers)
        scale = torch.linalg.det(matrix[:3, :3]).abs() ** (1 / 3)
        velocities = torch.cat((self.velocities, torch.zeros_like(self.velocities[:, :1])), dim=1)
        return replace(self, centers=rigid.transform(matrix, self.centers), sizes=self.sizes * scale,
                       yaws=box_geometry.transform_yaw(matrix, self.yaws),
                       velocities=(velocities @ matrix[:3, :3].T)[:, :2])

    @staticmethod
    def empty(dtype: torch.dtype = torch.float64) -> Boxes3D:
        """Returns no boxes."""
        real, whole = torch.zeros(0, 3, dtype=dtype), torch.zeros(0, dtype=torch.int64)
        return Boxes3D(real, real, real[:, 0], real[:, :2], whole, whole, whole, whole, whole, whole.bool())

    @staticmethod
    def predicted(centers: Tensor, sizes: Tensor, yaws: Tensor, velocities: Tensor, labels: Tensor) -> Boxes3D:
        """Makes boxes of what a detector says; tracks, visibility, points and attributes are unknown."""
        unknown = torch.full_like(labels, -1)
        vehicle = torch.tensor([name in VEHICLES for name in CLASSES], device=labels.device)
        return Boxes3D(centers, sizes, yaws, velocities, labels, unknown, torch.zeros_like(labels), unknown, unknown,
                       vehicle[labels])
