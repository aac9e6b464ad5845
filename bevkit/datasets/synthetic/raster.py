"""Faces are drawn into a depth buffer: which face, and whose, is seen at every pixel, and how much of it is hidden.

Everything planar is linear in pixels once it is divided by depth: the inverse depth 1/z of a plane, and the texture
coordinates over z. So a face is three numbers per quantity, and a pixel costs a multiply and an add.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

NEAR = 0.15  # m
_SHIFT = 4  # binary digits of a pixel that polygon corners keep


@dataclass
class Faces:
    """Faces in camera axes: corners [F C 3], colours [F 3], owner [F] (actor or -1), texture [F] (facade or -1)."""

    corners: np.ndarray
    colours: np.ndarray
    owner: np.ndarray
    texture: np.ndarray
    origins: np.ndarray  # [F 3] where a facade starts, camera axes
    along: np.ndarray  # [F 3] its horizontal direction, camera axes
    upward: np.ndarray  # [3] the world's up, camera axes


@dataclass
class Seen:
    """What a camera sees: [h w] buffers, and per actor the pixels that are seen and that would be without others."""

    inverse_depth: np.ndarray  # 1/m, 0 and less in the sky
    face: np.ndarray  # face number, -1 ground or sky, -2 foliage
    texel: np.ndarray  # foliage: flat index into the foliage textures
    seen: dict[int, int]
    whole: dict[int, int]


def clip_near(corners: np.ndarray) -> np.ndarray:
    """Cuts off the part of a polygon [n 3] that lies behind the near plane."""
    kept = []
    for a, b in zip(corners, np.roll(corners, -1, 0)):
        if a[2] >= NEAR:
            kept.append(a)
        if (a[2] >= NEAR) != (b[2] >= NEAR):
            kept.append(a + (b - a) * (NEAR - a[2]) / (b[2] - a[2]))
    return np.array(kept).reshape(-1, 3)


def fixed_point(corners: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """Projects points [.. 3] to pixels in OpenCV's fixed point."""
    x = corners[..., 0] / corners[..., 2] * intrinsics[0, 0] + intrinsics[0, 2]
    y = corners[..., 1] / corners[..., 2] * intrinsics[1, 1] + intrinsics[1, 2]
    return np.round(np.stack([x, y], -1).clip(-2e5, 2e5) * 2**_SHIFT).astype(np.int32)


def fill(mask: np.ndarray, pixels: np.ndarray, value: int = 1) -> None:
    """Fills a convex polygon, given in fixed point."""
    cv2.fillConvexPoly(mask, pixels, value, cv2.LINE_8, _SHIFT)


class DepthBuffer:
    """One camera's view under construction."""

    def __init__(self, size: tuple[int, int], intrinsics: np.ndarray, ground: np.ndarray) -> None:
        """`size` is width, height; `ground` the ground plane's inverse depth: per pixel x, per pixel y, constant."""
        self.width, self.height = size
        self.intrinsics = intrinsics
        self.columns = np.arange(self.width, dtype=np.float32)
        self.rows = np.arange(self.height, dtype=np.float32)[:, None]
        self.inverse_depth = np.maximum(self._plane(ground, slice(0, self.height), slice(0, self.width)), 0)
        self.face = np.full((self.height, self.width), -1, np.int32)
        self.texel = np.zeros((self.height, self.width), np.int32)
        self.unproject = np.linalg.inv(intrinsics)

    def _plane(self, linear: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
        a, b, c = linear.astype(np.float32)
        return (b * self.rows[rows] + c) + a * self.columns[columns]

    def _windows(self, pixels: np.ndarray) -> np.ndarray:
        """Frames outlines [F C 2]: first column, first row, end column, end row; empty where nothing is in view."""
        low, high = pixels.min(1) >> _SHIFT, (pixels.max(1) >> _SHIFT) + 2
        return np.concatenate([np.maximum(low, 0), np.minimum(high, (self.width, self.height))], 1)

    def draw_faces(self, faces: Faces) -> tuple[dict[int, int], np.ndarray]:
        """Draws all faces; returns, per actor, the pixels it would fill if nothing hid it, and the planes [F 3]."""
        first, second = faces.corners[:, 1] - faces.corners[:, 0], faces.corners[:, 2] - faces.corners[:, 0]
        normals = np.cross(first, second)
        distance = (normals * faces.corners[:, 0]).sum(1)
        planes = normals @ self.unproject / np.where(np.abs(distance) < 1e-9, 1e-9, distance)[:, None]
        crosses = (faces.corners[..., 2] < NEAR).any(1)
        safe = np.where(crosses[:, None, None], np.array([0, 0, 1.0]), faces.corners)
        pixels = fixed_point(safe, self.intrinsics)  # F C 2
        windows = self._windows(pixels)
        windows[crosses] = (0, 0, self.width, self.height)
        order = np.argsort(faces.owner, kind="stable")
        order = order[(windows[order, 2:] > windows[order, :2]).all(1)]
        owners = faces.owner[order]
        frames = windows.tolist()
        silhouette = np.zeros((self.height, self.width), np.uint8)
        whole: dict[int, int] = {}
        starts = np.flatnonzero(np.diff(owners, prepend=-9))
        for start, end in zip(starts, [*starts[1:], len(order)]):
            owner, group = int(owners[start]), order[start:end]
            for number in group.tolist():
                outline, frame = pixels[number], frames[number]
                if crosses[number]:
                    clipped = clip_near(faces.corners[number])
                    if len(clipped) < 3:
                        continue
                    outline = fixed_point(clipped, self.intrinsics)
                    frame = self._windows(outline[None])[0].tolist()
                    if frame[2] <= frame[0] or frame[3] <= frame[1]:
                        continue
                self._draw(number, outline, frame, planes[number], silhouette if owner >= 0 else None)
            if owner >= 0:
                x0, y0 = windows[group, :2].min(0)
                x1, y1 = windows[group, 2:].max(0)
                whole[owner] = cv2.countNonZero(silhouette[y0:y1, x0:x1])
                silhouette[y0:y1, x0:x1] = 0
        return whole, planes

    def _draw(
        self, number: int, outline: np.ndarray, frame: list[int], plane: np.ndarray, silhouette: np.ndarray | None
    ) -> None:
        x0, y0, x1, y1 = frame
        rows, columns = slice(y0, y1), slice(x0, x1)
        mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
        fill(mask, outline - np.array((x0 << _SHIFT, y0 << _SHIFT), np.int32))
        if silhouette is not None:
            part = silhouette[rows, columns]
            np.bitwise_or(part, mask, out=part)
        depth = self._plane(plane, rows, columns)
        before = self.inverse_depth[rows, columns]
        wins = depth > before
        wins &= mask.view(bool)
        np.copyto(before, depth, where=wins)
        np.copyto(self.face[rows, columns], number, where=wins)

    def draw_sprite(self, corners: np.ndarray, alpha: np.ndarray, number: int) -> None:
        """Draws one cut-out plant. `corners` [4 3]: low left, low right, high right, high left, camera axes."""
        if corners[:, 2].min() < NEAR:
            return
        x0, y0, x1, y1 = self._windows(fixed_point(corners, self.intrinsics)[None])[0].tolist()
        if x1 <= x0 or y1 <= y0:
            return
        window = slice(y0, y1), slice(x0, x1)
        along, upward = corners[1] - corners[0], corners[3] - corners[0]
        normal = np.cross(along, upward)
        plane = normal @ self.unproject / (normal @ corners[0])
        depth = self._plane(plane, *window)
        u = self._plane(texture_axis(plane, corners[0], along / (along @ along), self.unproject), *window) / depth
        v = self._plane(texture_axis(plane, corners[0], upward / (upward @ upward), self.unproject), *window) / depth
        side = alpha.shape[1]
        column, row = (u * side).astype(np.int32), ((1 - v) * side).astype(np.int32)
        # Compared as indices, because 1 - v rounds to 1 for a tiny v.
        inside = (u >= 0) & (column < side) & (v <= 1) & (row < side) & (depth > self.inverse_depth[window])
        flat = np.where(inside, row * side + column, 0)
        wins = inside & alpha[number].reshape(-1)[flat]
        np.copyto(self.inverse_depth[window], depth, where=wins)
        np.copyto(self.face[window], np.int32(-2), where=wins)
        np.copyto(self.texel[window], flat + number * side * side, where=wins)


def texture_axis(plane: np.ndarray, origin: np.ndarray, axis: np.ndarray, unproject: np.ndarray) -> np.ndarray:
    """Finds the linear form of (point - origin) . axis / depth over a plane's pixels."""
    return axis @ unproject - (axis @ origin) * plane
