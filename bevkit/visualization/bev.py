"""Pictures of BEV maps as people read them: forward up, left to the left, the ego vehicle at its place."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bevkit.structures import BEVGrid, Boxes3D
from bevkit.visualization.paint import GROUND, INK, LINE, MUTED, Picture, blend, instance_colors, oklch, write

EGO_OUTLINE = np.array(((2.3, 0.0), (1.6, 0.9), (-2.3, 0.9), (-2.3, -0.9), (1.6, -0.9)))  # metres, a nose at the front
SUBPIXEL = 4  # bits of fraction that OpenCV's drawing keeps


@dataclass(frozen=True)
class BEVCanvas:
    """Where metres of a grid land on a picture.

    Attributes:
        grid: the grid of the maps to draw.
        size: wished length of the longer side in pixels; the real one gives every cell a whole number of pixels.
    """

    grid: BEVGrid
    size: int = 480

    @property
    def pixels_per_metre(self) -> float:
        extent = max(axis[1] - axis[0] for axis in (self.grid.x, self.grid.y))
        step = min(self.grid.x[2], self.grid.y[2])
        return max(1, round(self.size * step / extent)) / step

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the picture."""
        scale = self.pixels_per_metre
        return round((self.grid.x[1] - self.grid.x[0]) * scale), round((self.grid.y[1] - self.grid.y[0]) * scale)

    def pixels(self, points: Any) -> NDArray[np.float64]:
        """Turns metric points [.. 2+] (x, y) into pixels [.. 2] (u right, v down); pixel i covers [i, i + 1)."""
        points = np.asarray(points, dtype=np.float64)
        scale = self.pixels_per_metre
        return np.stack(((self.grid.y[1] - points[..., 1]) * scale, (self.grid.x[1] - points[..., 0]) * scale), axis=-1)

    def spread(self, values: Any) -> NDArray[Any]:
        """Enlarges a map [Y X] or [Y X 3] to the picture: forward up, left to the left, cells as blocks."""
        turned = np.asarray(values).swapaxes(0, 1)[::-1, ::-1]
        height, width = self.shape
        rows = np.arange(height) * turned.shape[0] // height
        columns = np.arange(width) * turned.shape[1] // width
        return turned[rows[:, None], columns]


def fixed(points: NDArray[np.float64]) -> NDArray[np.int32]:
    """Turns continuous pixels into OpenCV's fixed-point ones, whose whole numbers are pixel centres."""
    return ((points - 0.5).clip(-1e6, 1e6) * (1 << SUBPIXEL)).round().astype(np.int32)


def ring_step(grid: BEVGrid) -> float:
    """Returns the distance between range rings in metres: a round number, three to five rings."""
    reach = max(abs(value) for axis in (grid.x, grid.y) for value in axis[:2])
    power = 10 ** math.floor(math.log10(reach / 4))
    return max(step * power for step in (1, 2, 5, 10) if step * power <= reach / 2.9)


def ground(canvas: BEVCanvas) -> Picture:
    """Draws empty ground with range rings and their distances in metres."""
    return _ground(canvas).copy()


@lru_cache(maxsize=8)
def _ground(canvas: BEVCanvas) -> Picture:
    image = np.full((*canvas.shape, 3), GROUND, dtype=np.uint8)
    step = ring_step(canvas.grid)
    origin = canvas.pixels((0.0, 0.0))
    for axis in ((1.0, 0.0), (0.0, 1.0)):
        ends = np.stack((canvas.pixels(np.array(axis) * 1e3), canvas.pixels(np.array(axis) * -1e3)))
        cv2.polylines(image, [fixed(ends)], False, tuple(channel - 12 for channel in LINE), 1, cv2.LINE_AA, SUBPIXEL)
    farthest = math.hypot(*(max(abs(low), abs(high)) for low, high, _ in (canvas.grid.x, canvas.grid.y)))
    for number in range(1, math.floor(farthest / step) + 1):
        center, radius = fixed(origin), round(number * step * canvas.pixels_per_metre * (1 << SUBPIXEL))
        cv2.circle(image, center.tolist(), radius, LINE, 1, cv2.LINE_AA, SUBPIXEL)
        u, v = canvas.pixels((number * step, 0.0))
        if v > 14 and (step * canvas.pixels_per_metre > 30 or number % 2 == 0):
            write(image, f"{number * step:g} m", (u + 4, v + 2), 11, MUTED)
    return image


def draw_ego(image: Picture, canvas: BEVCanvas) -> Picture:
    """Draws the ego vehicle, nose forward, in place."""
    outline = fixed(canvas.pixels(EGO_OUTLINE))
    cv2.fillPoly(image, [outline], INK, cv2.LINE_AA, SUBPIXEL)
    cv2.polylines(image, [outline], True, GROUND, 1, cv2.LINE_AA, SUBPIXEL)
    return image


def draw_ids(image: Picture, canvas: BEVCanvas, ids: Any, alpha: float = 1.0, outline: bool = True) -> Picture:
    """Colours an instance map [Y X] (0 = background) in place; an outline parts touching instances."""
    spread, colors = canvas.spread(ids), canvas.spread(instance_colors(ids))
    blend(image, spread > 0, colors, alpha * (0.82 if outline else 1.0))
    if outline:
        bright = (colors.astype(np.float32) * 0.6 + 255 * 0.4).astype(np.uint8)
        blend(image, outlines(spread), bright, alpha)
    return image


def draw_outlines(image: Picture, canvas: BEVCanvas, ids: Any, color: Any = INK, alpha: float = 1.0) -> Picture:
    """Draws the edges of the instances of a map [Y X] (0 = background) in one colour, in place."""
    blend(image, outlines(canvas.spread(ids)), color, alpha)
    return image


def outlines(spread: NDArray[Any]) -> NDArray[np.bool_]:
    """Says which pixels of an enlarged instance map [h w] are the outermost of their instance: [h w]."""
    padded = np.pad(spread, 1)
    core = padded[1:-1, 1:-1]
    edge = np.zeros(core.shape, dtype=bool)
    for shifted in (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]):
        edge |= shifted != core
    result: NDArray[np.bool_] = edge & (core > 0)
    return result


def draw_heat(image: Picture, canvas: BEVCanvas, probability: Any) -> Picture:
    """Lays a probability map [Y X] (0..1) over the ground in place: dark for 0, through red to pale yellow for 1."""
    value = canvas.spread(np.asarray(probability, dtype=np.float64)).clip(0, 1)
    colors = oklch(0.30 + 0.65 * value, 0.16 * np.sin(np.pi * (0.15 + 0.75 * value)), 0.98 + 0.30 * value)
    strength = np.minimum(1, value * 2.5)[..., None]
    image[:] = (image * (1 - strength) + colors * strength).round().astype(np.uint8)
    return image


def flow_colors(vectors: Any, limit: float) -> Picture:
    """Returns colours [.. 3] of metric vectors [.. 2] (x, y): hue = direction, strength = length, full at ``limit``."""
    vectors = np.asarray(vectors, dtype=np.float64)
    strength = np.minimum(1, np.hypot(vectors[..., 0], vectors[..., 1]) / limit)
    turn = np.arctan2(vectors[..., 1], vectors[..., 0]) / (2 * np.pi)
    return oklch(0.62 + 0.14 * strength, 0.17 * strength, turn % 1)


def draw_flow(image: Picture, canvas: BEVCanvas, flow: Any, valid: Any, *, limit: float | None = None,
              ids: Any = None) -> Picture:
    """Colours the motion that a backward flow tells, in place, with an arrow an instance and a colour wheel.

    Args:
        flow: [2 Y X] in cells, where a cell came from (channel 0 = x, 1 = y); the picture shows where it goes.
        valid: [Y X] bool, cells to draw.
        limit: metres of full colour; None takes the longest vector.
        ids: [Y X] instances, one arrow each in true length; None draws no arrows.
    """
    steps = np.array((canvas.grid.x[2], canvas.grid.y[2]))
    valid = np.asarray(valid, dtype=bool)
    motion = np.where(valid[..., None], -np.moveaxis(np.asarray(flow, dtype=np.float64), 0, -1) * steps, 0)  # [Y X 2]
    if limit is None:
        limit = max(1.0, float(np.hypot(motion[..., 0], motion[..., 1]).max(initial=0)))
    blend(image, canvas.spread(valid), canvas.spread(flow_colors(motion, limit)), 0.9)
    if ids is not None:
        ids = np.asarray(ids) * valid
        for number in np.unique(ids[ids > 0]):
            rows, columns = np.nonzero(ids == number)
            start = np.array((columns.mean() + 0.5, rows.mean() + 0.5)) * steps + (canvas.grid.x[0], canvas.grid.y[0])
            shift = motion[rows, columns].mean(axis=0)
            if np.hypot(*shift) * canvas.pixels_per_metre >= 3:
                draw_arrow(image, canvas, start, start + shift)
    draw_wheel(image, limit)
    return image


def draw_arrow(image: Picture, canvas: BEVCanvas, start: Any, end: Any) -> None:
    """Draws an arrow between two metric points (x, y), in place."""
    line = canvas.pixels(np.stack((start, end)))
    along = (line[1] - line[0]) / max(1e-6, float(np.hypot(*(line[1] - line[0]))))
    across = np.array((-along[1], along[0]))
    head = np.stack((line[1] - 6 * along + 3 * across, line[1], line[1] - 6 * along - 3 * across))
    for points in (line, head):
        cv2.polylines(image, [fixed(points)], False, (255, 255, 255), 1, cv2.LINE_AA, SUBPIXEL)


def draw_wheel(image: Picture, limit: float, radius: int = 26) -> None:
    """Draws the legend of `flow_colors` into the lower right corner, in place."""
    v, u = np.mgrid[-radius:radius + 1, -radius:radius + 1] + 0.0
    disc = np.hypot(u, v) <= radius
    top, left = image.shape[0] - 2 * radius - 9, image.shape[1] - 2 * radius - 9
    if top < 0 or left < 0:
        return
    corner = image[top:top + 2 * radius + 1, left:left + 2 * radius + 1]
    blend(corner, disc, flow_colors(np.stack((-v, -u), axis=-1) / radius * limit, limit), 1.0)  # up = +x, left = +y
    write(image, f"{limit:.1f} m", (left - 6, top + radius), 11, MUTED, "rm")


def draw_boxes(image: Picture, canvas: BEVCanvas, boxes: Boxes3D, colors: Any = None, thickness: int = 1) -> Picture:
    """Outlines boxes with a line from the middle to the front, in place; ``colors`` [A 3], by track when None."""
    colors = instance_colors(boxes.track_ids.numpy()) if colors is None else np.asarray(colors)
    corners = canvas.pixels(boxes.corners[:, :4, :2].numpy()).reshape(-1, 4, 2)
    for box, color in zip(corners, colors.tolist(), strict=True):
        cv2.polylines(image, [fixed(box)], True, color, thickness, cv2.LINE_AA, SUBPIXEL)
        heading = np.stack((box.mean(axis=0), (box[0] + box[3]) / 2))
        cv2.polylines(image, [fixed(heading)], False, color, thickness, cv2.LINE_AA, SUBPIXEL)
    return image
