"""Camera images from disk: decoded, resized, cropped, mirrored and turned in one pass, with the matrix that did it."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from bevkit.registry import TRANSFORMS

Range = float | Sequence[float]
_REDUCED = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}


@dataclass(frozen=True)
class ImagePlan:
    """What happens to one image: resize, then crop, then mirror, then turn about its middle.

    Attributes:
        source: (height, width) of the raw image.
        resized: (height, width) after the resize.
        corner: (left, top) of the crop window in the resized image.
        size: (height, width) of the crop window and of the result.
        flip: mirror left and right.
        angle: degrees, counter-clockwise as seen.
        scale: the asked-for resize factor, from which ``resized`` was rounded.
    """

    source: tuple[int, int]
    resized: tuple[int, int]
    corner: tuple[int, int]
    size: tuple[int, int]
    flip: bool = False
    angle: float = 0.0
    scale: float = 1.0

    def after_resize(self) -> np.ndarray:
        """[3 3] result from resized image, in coordinates whose (0, 0) is the outer corner of the upper left pixel."""
        (left, top), (height, width) = self.corner, self.size
        matrix = np.array([[1.0, 0, -left], [0, 1, -top], [0, 0, 1]])
        if self.flip:
            matrix = np.array([[-1.0, 0, width], [0, 1, 0], [0, 0, 1]]) @ matrix
        if self.angle:
            angle, x, y = math.radians(self.angle), width / 2, height / 2
            cos, sin = math.cos(angle), math.sin(angle)
            matrix = np.array([[cos, sin, x - cos * x - sin * y], [-sin, cos, y + sin * x - cos * y],
                               [0, 0, 1]]) @ matrix
        return matrix

    def matrix(self, pixel_origin: str = "centre") -> np.ndarray:
        """[3 3] result pixels from raw pixels, for `CameraRig.image_aug`; `ImageLoader` explains ``pixel_origin``."""
        if pixel_origin == "corner":
            return self.after_resize() @ np.diag([self.scale, self.scale, 1.0])
        ratio = np.diag([self.resized[1] / self.source[1], self.resized[0] / self.source[0], 1.0])
        return _centred(self.after_resize() @ ratio)


def _centred(matrix: np.ndarray) -> np.ndarray:
    """Expresses a map of corner coordinates in pixel-centre coordinates (half a pixel less)."""
    half = np.array([[1.0, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    return np.linalg.inv(half) @ matrix @ half


@TRANSFORMS.register_module()
class ImageLoader:
    """Reads camera images at the size the network wants and says how pixels moved.

    The raw image is scaled to cover ``size`` (times ``zoom``), the crop window is laid on it, and the result may be
    mirrored and turned. Every number may be a range (low, high) to draw from: once a clip and camera, alike in all
    frames, so that a moving camera stays one camera.

    Args:
        size: (height, width) of the result; None keeps the raw size.
        zoom: factor on the scale that just covers ``size``. 1600x900 to (224, 480) at zoom 1 is FIERY's and PowerBEV's
            resize by 0.3.
        crop: where the window lies in the resized image, across and down: 0 = left or top, 1 = right or bottom.
            Default: middle, bottom (sky is cut), as in FIERY.
        flip: probability of mirroring left and right.
        rotate: degrees counter-clockwise; a range to draw from.
        interpolation: ``"bilinear"``: antialiased, by PyTorch, within one grey value of PIL; ``"pil"``: decoded and
            resized by PIL on uint8, bit for bit what FIERY, PowerBEV and their released weights saw, and slower.
        reduced: decode JPEG at 1/2, 1/4 or 1/8 where that is exact: the raw size divides by it, so that pixel centres
            stay where the matrix says, and the resize asks for no more pixels than it leaves. Grey values then differ
            by 0.4 on average from those of a full decode, as libjpeg filters by frequency. Never used with ``"pil"``.
        pixel_origin: ``"centre"``: pixel (0, 0) is the centre of the upper left pixel and resizing by s moves u to
            (u + 0.5) s - 0.5. ``"corner"``: the plain scaling u s of FIERY's and PowerBEV's intrinsics.
        fill: RGB of what lies outside of the image.
    """

    def __init__(self, size: Sequence[int] | None = None, zoom: Range = 1.0,
                 crop: tuple[Range, Range] = (0.5, 1.0), flip: float = 0.0, rotate: Range = 0.0,
                 interpolation: str = "bilinear", reduced: bool = True, pixel_origin: str = "centre",
                 fill: Sequence[int] = (0, 0, 0)) -> None:
        _choice("interpolation", interpolation, ("bilinear", "pil"))
        _choice("pixel_origin", pixel_origin, ("centre", "corner"))
        if not 0 <= flip <= 1:
            raise ValueError(f"ImageLoader: expected flip = a probability in 0..1, got {flip}")
        if size is not None and (len(size) != 2 or min(size) < 1):
            raise ValueError(f"ImageLoader: expected size = (height, width) in pixels, got {size}")
        self.size = None if size is None else (int(size[0]), int(size[1]))
        self.zoom, self.rotate = draw_range("zoom", zoom), draw_range("rotate", rotate)
        self.crop = (draw_range("crop", crop[0]), draw_range("crop", crop[1]))
        if self.zoom[0] <= 0:
            raise ValueError(f"ImageLoader: expected zoom above 0, got {zoom}")
        self.flip = flip
        self.interpolation = interpolation
        self.reduced = reduced and interpolation != "pil"
        self.pixel_origin = pixel_origin
        if len(fill) != 3 or not all(0 <= value <= 255 for value in fill):
            raise ValueError(f"ImageLoader: expected fill = three numbers of 0..255, got {fill}")
        self.fill = tuple(fill)

    def sample(self, cameras: int, rng: np.random.Generator) -> np.ndarray:
        """Draws (zoom, crop across, crop down, flip, angle) for each camera: [N 5]."""
        low, high = np.array([self.zoom, *self.crop, (0.0, 1.0), self.rotate]).T
        draws = rng.uniform(low, high, (cameras, 5))
        draws[:, 3] = draws[:, 3] < self.flip
        return draws

    def plan(self, source: tuple[int, int], draw: Sequence[float]) -> ImagePlan:
        """Says what will happen to a raw image (height, width) for one row of `sample`."""
        zoom, across, down, flip, angle = draw
        size = self.size or source
        scale = max(size[0] / source[0], size[1] / source[1]) * zoom
        resized = (max(round(source[0] * scale), 1), max(round(source[1] * scale), 1))
        corner = (math.floor(across * (resized[1] - size[1])), math.floor(down * (resized[0] - size[0])))
        return ImagePlan(source, resized, corner, size, bool(flip), float(angle), scale)

    def matrices(self, plans: Sequence[ImagePlan]) -> Tensor:
        """Returns `CameraRig.image_aug` [N 3 3] float64."""
        return torch.from_numpy(np.stack([plan.matrix(self.pixel_origin) for plan in plans]))

    def read(self, paths: Sequence[str | Path], plans: Sequence[ImagePlan]) -> Tensor:
        """Reads N images: [N 3 h w] uint8 RGB.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: a file is truncated, no image, or of another size than the tables say; sizes differ.
        """
        height, width = plans[0].size
        if any(plan.size != (height, width) for plan in plans):
            raise ValueError(f"images: expected one size for all cameras, got {sorted({plan.size for plan in plans})}; "
                             "set the size= that ImageLoader makes of them")
        images = np.empty((len(paths), 3, height, width), np.uint8)
        for planes, path, plan in zip(images, paths, plans, strict=True):
            if self.interpolation == "pil":
                planes[:] = finish(resize_pil(decode_pil(path, plan.source), plan.resized), plan, self.fill)
            else:
                picture = decode(path, plan.source, reduction(plan) if self.reduced else 1)
                planes[:] = finish(resize(picture, plan.resized), plan, self.fill[::-1])[::-1]  # OpenCV decodes to BGR
        return torch.from_numpy(images)


def reduction(plan: ImagePlan) -> int:
    """Returns 8, 4, 2 or 1: how coarsely a JPEG may be decoded without loss of what the plan keeps."""
    (height, width), (rows, columns) = plan.source, plan.resized
    fitting = (k for k in (8, 4, 2) if height % k == 0 == width % k and rows * k <= height and columns * k <= width)
    return next(fitting, 1)


def decode(path: str | Path, source: tuple[int, int], reduced: int = 1) -> np.ndarray:
    """Decodes an image file to BGR [h w 3] at 1/``reduced`` of its size, which must be ``source`` (height, width)."""
    data = _bytes(path)
    flags = _REDUCED.get(reduced, cv2.IMREAD_COLOR) | cv2.IMREAD_IGNORE_ORIENTATION
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    # OpenCV paints the missing part of a truncated JPEG grey and says nothing, so the end marker is looked for.
    if picture is None or (data[:2] == b"\xff\xd8" and data.rstrip(b"\0")[-2:] != b"\xff\xd9"):
        _open_pil(path, data)  # raises unless the file is whole after all (some writers leave bytes after the end)
    if picture is None:
        raise ValueError(f"image {path}: cannot be decoded by OpenCV; save it as JPEG or PNG")
    _expect_size(path, source, (picture.shape[0] * reduced, picture.shape[1] * reduced))
    return picture


def decode_pil(path: str | Path, source: tuple[int, int]) -> np.ndarray:
    """Decodes an image file to RGB [h w 3] with PIL."""
    picture = np.asarray(_open_pil(path, _bytes(path)))
    _expect_size(path, source, picture.shape[:2])
    return picture


def resize(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes [h w 3] uint8 to planes [3 h' w'] of size (height, width): bilinear, averaging where it shrinks."""
    planes = torch.from_numpy(picture).permute(2, 0, 1)
    if picture.shape[:2] != size:
        planes = F.interpolate(planes[None], size=size, mode="bilinear", antialias=True)[0]
    return planes.numpy()


def resize_pil(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Does what `resize` does with PIL, whose roundings the released weights of the FIERY family have seen."""
    resized = Image.fromarray(picture).resize(size[::-1], resample=Image.Resampling.BILINEAR)
    return np.asarray(resized).transpose(2, 0, 1)


def finish(planes: np.ndarray, plan: ImagePlan, fill: Sequence[int] = (0, 0, 0)) -> np.ndarray:
    """Crops, mirrors and turns a resized image [3 h' w'] to [3 h w]; the colour ``fill`` comes from outside."""
    height, width = plan.size
    if plan.angle:
        matrix = _centred(plan.after_resize())[:2]
        return np.stack([cv2.warpAffine(np.ascontiguousarray(plane), matrix, (width, height), borderValue=value)
                         for plane, value in zip(planes, fill)])
    left, top = plan.corner
    window = planes[:, max(top, 0):max(top + height, 0), max(left, 0):max(left + width, 0)]
    if window.shape[1:] != plan.size:
        whole = np.empty((3, height, width), np.uint8)
        whole[:] = np.reshape(fill, (3, 1, 1))
        row, column = max(-top, 0), max(-left, 0)
        whole[:, row:row + window.shape[1], column:column + window.shape[2]] = window
        window = whole
    return window[:, :, ::-1] if plan.flip else window


def _bytes(path: str | Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        raise FileNotFoundError(f"image {path} is missing; download its part of the data set, or pass "
                                "with_images=False for labels alone") from None


def _open_pil(path: str | Path, data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data)).convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        reason = str(error).split("<")[0].strip()
        raise ValueError(f"image {path} ({len(data)} bytes) is truncated or damaged ({reason}); "
                         "copy it again") from None


def _expect_size(path: str | Path, expected: tuple[int, int], found: tuple[int, ...]) -> None:
    if tuple(expected) != tuple(found):
        raise ValueError(f"image {path}: expected {expected[1]}x{expected[0]} as the tables say, "
                         f"got {found[1]}x{found[0]}; the intrinsics would not fit it")


def draw_range(name: str, value: Range) -> tuple[float, float]:
    """Reads an option that is a number or a range (low, high) to draw from."""
    low, high = (value, value) if isinstance(value, (int, float)) else value
    if high < low:
        raise ValueError(f"{name}: expected a number or (low, high), got {value}")
    return float(low), float(high)


def _choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"ImageLoader: expected {name} = one of {', '.join(choices)}, got {value!r}")
