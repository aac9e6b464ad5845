"""The ground is painted once per scene, as seen from straight above: asphalt, markings, sidewalks, grass, shadows."""

from __future__ import annotations

import cv2
import numpy as np

from .mood import Mood, noise_texture
from .streets import BIKE, EXTENT, PARK, SIDEWALK, Streets, arc_length, right_of

TEXEL = 0.125  # metres per texel of the finest ground texture
MAP_TEXEL = 0.1  # metres per pixel of nuScenes' map mask
LEVELS = 4  # each half as fine as the one before
_FINE = 4  # binary digits of a texel that drawing keeps


class Canvas:
    """A picture of the town from above that is drawn on in plan metres. Row 0 is north, as on a nuScenes map."""

    def __init__(self, streets: Streets, texel: float, channels: int, background: tuple) -> None:
        self.streets, self.texel = streets, texel
        side = round(EXTENT / texel)
        self.image = np.zeros((side, side, channels) if channels > 1 else (side, side), np.uint8)
        self.image[:] = background if channels > 1 else background[0]

    def pixels(self, world: np.ndarray) -> np.ndarray:
        """Turns world metres [n 2] into fixed-point pixels for OpenCV."""
        x, y = world[:, 0] / self.texel, (EXTENT - world[:, 1]) / self.texel
        return np.round((np.stack([x, y], 1) - 0.5) * 2**_FINE).astype(np.int32)

    def world_area(self, corners: np.ndarray, colour: tuple) -> None:
        """Fills an area given by world metres."""
        cv2.fillPoly(self.image, [self.pixels(corners)], colour, cv2.LINE_AA, _FINE)

    def area(self, corners: np.ndarray, colour: tuple) -> None:
        """Fills an area given by plan metres; its sides bend with the town."""
        closed = np.concatenate([corners, corners[:1]])
        along = arc_length(closed)
        at = np.unique(np.concatenate([along, np.arange(0, along[-1], 3.0)]))
        dense = np.stack([np.interp(at, along, closed[:, k]) for k in (0, 1)], 1)[:-1]
        self.world_area(self.streets.place(dense), colour)

    def band(self, start: np.ndarray, end: np.ndarray, low: float, high: float, colour: tuple) -> None:
        """Fills the band beside the line from start to end, from `low` to `high` metres to its right."""
        side = right_of((end - start) / np.linalg.norm(end - start))
        self.area(np.stack([start + low * side, end + low * side, end + high * side, start + high * side]), colour)

    def rectangle(self, x0: float, x1: float, y0: float, y1: float, colour: tuple) -> None:
        """Fills an upright rectangle of the plan."""
        self.area(np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)]), colour)


def _roads(canvas: Canvas, asphalt: tuple, sidewalk: tuple, kerb: tuple) -> None:
    """Lays sidewalks, kerbs and asphalt along every road."""
    streets = canvas.streets
    spans = []
    for axis in (0, 1):
        others = streets.roads[1 - axis]
        low, high = others[0].centre - others[0].half, others[-1].centre + others[-1].half
        for road in streets.roads[axis]:
            spans.append((axis, road, low, high))
    for extra, colour in ((SIDEWALK, sidewalk), (0.18, kerb), (0.0, asphalt)):
        for axis, road, low, high in spans:
            across = (road.centre - road.half - extra, road.centre + road.half + extra)
            lengthwise = (low - extra, high + extra)
            canvas.rectangle(*(lengthwise + across if axis == 0 else across + lengthwise), colour)


def map_mask(streets: Streets) -> np.ndarray:
    """Draws nuScenes' raster map: 255 where one may drive or walk, 0 elsewhere. [5120 5120] uint8."""
    canvas = Canvas(streets, MAP_TEXEL, 1, (0,))
    _roads(canvas, (255,), (255,), (255,))
    return np.where(canvas.image > 127, 255, 0).astype(np.uint8)


def paint_ground(
    streets: Streets, mood: Mood, footprints: list[tuple[np.ndarray, float]], rng: np.random.Generator
) -> list[np.ndarray]:
    """Paints the town's ground in LEVELS resolutions, BGR.

    `footprints` are outlines [n 2] in world metres, and heights, of what casts a shadow.
    """
    grass = [(60, 105, 88), (75, 112, 105), (95, 128, 140), (110, 118, 122), (48, 92, 70)][rng.integers(5)]
    canvas = Canvas(streets, TEXEL, 3, grass)
    for x0, x1, y0, y1 in streets.blocks():  # courtyards: paving, earth or lawn
        tone = [grass, (118, 124, 128), (95, 118, 135), (70, 110, 92)][rng.integers(4)]
        canvas.rectangle(x0, x1, y0, y1, tuple(int(c) for c in np.array(tone) * rng.uniform(0.85, 1.15)))
    grey = rng.uniform(62, 112)
    asphalt = tuple(int(c) for c in grey + rng.normal(0, 3, 3))
    walk = tuple(int(c) for c in rng.uniform(128, 172) + rng.normal(0, 5, 3))
    _roads(canvas, asphalt, walk, (200, 203, 205) if rng.random() < 0.5 else (105, 106, 108))
    _patches(canvas, grey, rng)
    _markings(canvas, rng)
    image = _weather(canvas.image, rng)
    _cast_shadows(canvas, image, mood, footprints)
    levels = [image]
    for _ in range(LEVELS - 1):
        levels.append(cv2.resize(levels[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    return levels


def _patches(canvas: Canvas, grey: float, rng: np.random.Generator) -> None:
    """Repairs the asphalt here and there, tints parking strips and bicycle lanes, sets manholes."""
    tint = [None, (70, 70, 135), (80, 115, 75), (120, 85, 75)][rng.integers(4)]
    for start, end, _, road in canvas.streets.stretches():
        for side in (1, -1):
            if road.parking:
                tone = int(grey * rng.uniform(0.8, 1.15))
                canvas.band(start, end, *sorted((side * (road.half - PARK), side * road.half)), (tone, tone, tone))
            if road.bike and tint:
                inner = road.lane_offset(road.lanes) - BIKE / 2
                canvas.band(start, end, *sorted((side * inner, side * (inner + BIKE))), tint)
        ahead = (end - start) / np.linalg.norm(end - start)
        for _ in range(int(rng.integers(1, 6))):
            a = float(rng.uniform(0, np.linalg.norm(end - start) - 4))
            low = float(rng.uniform(-road.half, road.half - 1.5))
            tone = int(grey * rng.uniform(0.65, 1.2))
            canvas.band(
                start + a * ahead,
                start + (a + float(rng.uniform(0.8, 14))) * ahead,
                low,
                low + float(rng.uniform(0.6, 3.4)),
                (tone, tone, tone),
            )


def _markings(canvas: Canvas, rng: np.random.Generator) -> None:
    """Paints lane lines, stop lines, zebras and arrows."""
    streets = canvas.streets
    worn = rng.uniform(0.72, 1.0)
    white = tuple(int(c * worn) for c in (222, 226, 228))
    centre = tuple(int(c * worn) for c in ((60, 175, 215) if rng.random() < 0.6 else (222, 226, 228)))
    dash, pause = float(rng.uniform(2, 4)), float(rng.uniform(3, 7))
    for start, end, _, road in streets.stretches():
        length = float(np.linalg.norm(end - start))
        ahead = (end - start) / length
        for offset in (-0.18, 0.18):
            canvas.band(start, end, offset - 0.07, offset + 0.07, centre)
        for side in (1, -1):
            for index in range(1, road.lanes):
                offset = side * (road.lane_offset(index) - 1.7)
                for a in np.arange(0, length - dash, dash + pause):
                    canvas.band(start + a * ahead, start + (a + dash) * ahead, offset - 0.07, offset + 0.07, white)
            edge = side * (road.lane_offset(road.lanes - 1) + 1.7)
            canvas.band(start, end, edge - 0.07, edge + 0.07, white)
            stop = (end, -ahead) if side == 1 else (start, ahead)  # traffic on the right of `ahead` stops at its end
            across = right_of(ahead) * side
            canvas.band(
                stop[0] + across * 0.2,
                stop[0] + across * (road.lane_offset(road.lanes - 1) + 1.6),
                *((-0.3, 0.3)),
                white,
            )
            for index in range(road.lanes):
                _arrow(canvas, stop[0] + across * road.lane_offset(index) + stop[1] * 9, -stop[1], white)
    for a, b in streets.crossings:
        length = float(np.linalg.norm(b - a))
        for k in np.arange(0.3, length - 0.4, 1.0):
            along = (b - a) / length
            canvas.band(a + k * along, a + (k + 0.5) * along, -1.25, 1.25, white)


def _arrow(canvas: Canvas, tip: np.ndarray, ahead: np.ndarray, colour: tuple) -> None:
    side = right_of(ahead)
    canvas.band(tip - 3.5 * ahead, tip - 1.0 * ahead, -0.08, 0.08, colour)
    canvas.area(np.stack([tip, tip - 1.2 * ahead + 0.4 * side, tip - 1.2 * ahead - 0.4 * side]), colour)


def _weather(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Roughens the paint: large stains and fine grain."""
    side = len(image)
    grain = noise_texture(rng, 512, 8) * rng.uniform(2.5, 6) + rng.standard_normal((512, 512)).astype(np.float32) * 4
    tiled = np.tile(np.clip(128 + grain, 0, 255).astype(np.uint8), (side // 512, side // 512))
    stains = cv2.resize(noise_texture(rng, 256, 5), (side, side), interpolation=cv2.INTER_LINEAR)
    gain = cv2.add(tiled, np.clip(stains * rng.uniform(4, 10), -60, 60).astype(np.float32), dtype=cv2.CV_8U)
    return cv2.multiply(image, cv2.merge([gain] * 3), scale=1 / 128)


def _cast_shadows(canvas: Canvas, image: np.ndarray, mood: Mood, footprints: list[tuple[np.ndarray, float]]) -> None:
    """Darkens the ground where buildings and trees stand between it and the sun."""
    shade = Canvas(canvas.streets, 4 * TEXEL, 1, (255,))
    reach = -mood.sun[:2] / max(mood.sun[2], 0.2)
    for outline, height in footprints:
        hull = cv2.convexHull(np.concatenate([outline, outline + reach * min(height, 25)]).astype(np.float32))[:, 0]
        shade.world_area(hull, (int(255 * mood.shadow),))
    soft = cv2.GaussianBlur(shade.image, (0, 0), 1.0)
    full = cv2.resize(soft, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    cv2.multiply(image, cv2.merge([full] * 3), image, scale=1 / 255)
