"""Random changes of a clip that leave the truth true: the rig, the boxes and the poses follow what is done.

A transform is called with a clip and a generator and returns a clip. Changes of image geometry happen where images are
read (`ImageLoader`), so that no pixel is resampled twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from bevkit.datasets.images import draw_range
from bevkit.geometry import rigid
from bevkit.registry import TRANSFORMS
from bevkit.structures import BEVClip

_LUMA = torch.tensor([0.299, 0.587, 0.114])
# Brightness and two colour axes (YIQ); the hue is an angle in the plane of the latter two.
_YIQ_FROM_RGB = torch.tensor([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])


@TRANSFORMS.register_module()
class Photometric:
    """Changes brightness, contrast, saturation and hue of the images, as another lens, exposure and sun would.

    The four changes compose to one affine map of colours, applied in one pass and cut to 0..255. Contrast turns about
    mid-grey; the hue turns in the YIQ plane.

    Args:
        brightness, contrast, saturation: factors, or ranges (low, high) to draw from; 1 changes nothing.
        hue: degrees, or a range.
        per: what shares one draw: ``"clip"`` (all images), ``"camera"`` (its frames) or ``"image"``.
        probability: that a clip is changed at all.
    """

    def __init__(self, brightness: float | Sequence[float] = (0.8, 1.2), contrast: float | Sequence[float] = (0.8, 1.2),
                 saturation: float | Sequence[float] = (0.8, 1.2), hue: float | Sequence[float] = (-8.0, 8.0),
                 per: str = "clip", probability: float = 1.0) -> None:
        if per not in ("clip", "camera", "image"):
            raise ValueError(f"Photometric: expected per = clip, camera or image, got {per!r}")
        self.ranges = np.array([draw_range(name, value) for name, value in (
            ("brightness", brightness), ("contrast", contrast), ("saturation", saturation), ("hue", hue))])
        self.per = per
        self.probability = probability

    def __call__(self, clip: BEVClip, rng: np.random.Generator) -> BEVClip:
        if clip.present.images is None or rng.random() >= self.probability:
            return clip
        cameras = clip.present.images.shape[0]
        count = len(clip.inputs)
        shape = {"clip": (1, 1), "camera": (1, cameras), "image": (count, cameras)}[self.per]
        draws = rng.uniform(self.ranges[:, 0], self.ranges[:, 1], (*shape, 4))
        draws = np.broadcast_to(draws, (count, cameras, 4)).tolist()
        return change_images(clip, lambda images, time: torch.stack(
            [recolour(image, *draw) for image, draw in zip(images, draws[time], strict=True)]))


def change_images(clip: BEVClip, change: Callable[[Tensor, int], Tensor]) -> BEVClip:
    """Changes the images [N 3 h w] of every input frame of a clip, which is told its number."""
    frames = list(clip.frames)
    for time, frame in enumerate(clip.inputs):
        assert frame.images is not None  # an input frame of a clip whose present has images
        frames[time] = replace(frame, images=change(frame.images, time))
    return replace(clip, frames=tuple(frames))


def recolour(image: Tensor, brightness: float, contrast: float, saturation: float, hue: float) -> Tensor:
    """Applies factors of brightness, contrast and saturation and a hue in degrees to RGB [3 h w] uint8."""
    turn = rigid.rotation_about_z(torch.tensor(np.radians(hue), dtype=torch.float32))[[2, 0, 1]][:, [2, 0, 1]]
    matrix = torch.linalg.inv(_YIQ_FROM_RGB) @ turn @ _YIQ_FROM_RGB
    matrix = (saturation * torch.eye(3) + (1 - saturation) * _LUMA.expand(3, 3)) @ matrix
    matrix, shift = brightness * contrast * matrix, 127.5 * (1 - contrast)
    flat = image.flatten(1).float()  # [3 h*w]
    return torch.addmm(torch.full((3, 1), shift + 0.5), matrix, flat).clamp_(0, 255).byte().view_as(image)


@TRANSFORMS.register_module()
class GridMask:
    """Covers the images by a lattice of squares (Chen et al., 2020), the same in all images of a clip.

    The lattice's period is drawn from 2 pixels to the image's height, and where it begins from one period.

    Args:
        probability: that a clip is masked at all.
        ratio: side of a square over the period.
        fill: RGB of the squares; the default is ImageNet's mean, which a model sees as zero.
    """

    def __init__(self, probability: float = 0.7, ratio: float = 0.5,
                 fill: Sequence[int] = (124, 116, 104)) -> None:
        if not 0 < ratio < 1:
            raise ValueError(f"GridMask: expected a ratio between 0 and 1, got {ratio}")
        self.probability, self.ratio = probability, ratio
        self.fill = torch.tensor(fill, dtype=torch.uint8).view(3, 1, 1)

    def __call__(self, clip: BEVClip, rng: np.random.Generator) -> BEVClip:
        if clip.present.images is None or rng.random() >= self.probability:
            return clip
        height, width = clip.present.images.shape[-2:]
        period = int(rng.integers(2, max(height, 3)))
        covered = min(max(round(period * self.ratio), 1), period - 1)
        rows, columns = (torch.from_numpy((np.arange(size) + rng.integers(period)) % period < covered)
                         for size in (height, width))
        mask = rows[:, None] & columns  # [h w]
        return change_images(clip, lambda images, _: torch.where(mask, self.fill, images))


@TRANSFORMS.register_module()
class BEVJitter:
    """Turns, scales and mirrors the ego frame, alike in all frames of a clip; the images stay as they are.

    The new frame is ``new_from_ego = mirror @ scale @ rotation``: boxes, cameras and lidar points are expressed in it,
    and ``global_from_new = global_from_ego @ inverse(new_from_ego)``, so that points of the world keep their place.

    Args:
        rotate: degrees about z, counter-clockwise; a number or a range (low, high).
        scale: factor or range.
        flip_x: probability of mirroring front and back (x).
        flip_y: probability of mirroring left and right (y).
    """

    def __init__(self, rotate: float | Sequence[float] = 0.0, scale: float | Sequence[float] = 1.0,
                 flip_x: float = 0.0, flip_y: float = 0.0) -> None:
        self.rotate, self.scale = draw_range("rotate", rotate), draw_range("scale", scale)
        self.flip_x, self.flip_y = flip_x, flip_y

    def __call__(self, clip: BEVClip, rng: np.random.Generator) -> BEVClip:
        angle, scale = rng.uniform(*self.rotate), rng.uniform(*self.scale)
        mirror_x, mirror_y = (1 - 2 * (rng.random(2) < (self.flip_x, self.flip_y))).tolist()
        rotation = rigid.rotation_about_z(torch.tensor(np.radians(angle), dtype=torch.float64))
        mirror = torch.tensor([mirror_x, mirror_y, 1], dtype=torch.float64)
        return move_ego(clip, rigid.rigid_from(scale * mirror[:, None] * rotation, torch.zeros(3, dtype=torch.float64)))


def move_ego(clip: BEVClip, new_from_ego: Tensor) -> BEVClip:
    """Expresses every frame of a clip in a new ego frame, given by a matrix [4 4]."""
    ego_from_new = rigid.inverse(new_from_ego)
    return replace(clip, frames=tuple(
        replace(frame, global_from_ego=frame.global_from_ego @ ego_from_new,
                boxes=None if frame.boxes is None else frame.boxes.moved(new_from_ego),
                points=None if frame.points is None else rigid.transform(new_from_ego.to(frame.points), frame.points),
                rig=None if frame.rig is None else frame.rig.moved(new_from_ego)) for frame in clip.frames))
