"""Buildings, trees and lamp posts rise along the streets. They hide actors, cast shadows and send lidar rays back."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from .mood import Mood, noise_texture
from .shapes import CORNERS
from .streets import DIRECTIONS, EXTENT, SIDEWALK, Streets, right_of

TILE = 128  # pixels of a facade or foliage texture
TILE_SIZE = np.array([12.8, 12.8])  # metres that a facade texture covers: four window bays by four storeys
MIPS = 3


@dataclass
class Scenery:
    """Everything that stands still and is not annotated, for one scene."""

    corners: list = field(default_factory=list)  # faces, each [CORNERS 3], world metres
    normals: list = field(default_factory=list)
    colours: list = field(default_factory=list)
    textures: list = field(default_factory=list)  # facade number or -1
    origins: list = field(default_factory=list)  # world point where a texture starts
    along: list = field(default_factory=list)  # horizontal unit vector along a wall
    sprites: list = field(default_factory=list)  # x, y, z low, width, height, foliage number
    boxes: list = field(default_factory=list)  # x, y, z, length, width, height, yaw, share of rays that hit
    footprints: list = field(default_factory=list)  # outline [n 2], height: what casts a shadow
    facades: np.ndarray | None = None  # [MIPS K TILE TILE 3]
    foliage: np.ndarray | None = None  # [K TILE TILE 4]

    def pack(self) -> None:
        """Turns the lists of faces and sprites into arrays."""
        for name in ("corners", "normals", "colours", "origins", "along", "sprites", "boxes"):
            setattr(self, name, np.array(getattr(self, name), float))
        self.textures = np.array(self.textures, int)


def build_scenery(streets: Streets, mood: Mood, rng: np.random.Generator) -> Scenery:
    """Builds up the blocks of a town, plants its trees and puts up its lamps."""
    scenery = Scenery()
    scenery.facades = _facades(rng)
    scenery.foliage = np.stack([_foliage(rng, kind) for kind in ("round", "round", "tall", "bush", "bush")])
    tallness, greenery = rng.uniform(7, 22), rng.uniform(0.2, 0.9)
    for x0, x1, y0, y1 in streets.blocks():
        if rng.random() < 0.14:
            _park(scenery, streets, (x0, x1, y0, y1), rng)
            continue
        corners = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
        for side in range(4):
            start, end = corners[side], corners[(side + 1) % 4]
            if rng.random() < 0.9:
                _row_of_buildings(scenery, streets, start, end, DIRECTIONS[side], tallness, rng)
            if rng.random() < greenery:
                _row_of_trees(scenery, streets, start, end, DIRECTIONS[side], rng)
    _lamps(scenery, streets, rng)
    _outskirts(scenery, streets, rng)
    scenery.pack()
    return scenery


def _row_of_buildings(
    scenery: Scenery,
    streets: Streets,
    start: np.ndarray,
    end: np.ndarray,
    ahead: np.ndarray,
    tallness: float,
    rng: np.random.Generator,
) -> None:
    """Builds along one side of a block, counter-clockwise: the inside is on the left."""
    inward, length = -right_of(ahead), float(np.linalg.norm(end - start))
    along = float(rng.uniform(1, 6))
    while True:
        front, depth = float(rng.uniform(9, 26)), float(rng.uniform(9, 15))
        if along + front > length - depth:  # the next side's houses stand there
            return
        setback = float(rng.uniform(0.6, 5.0))
        height = float(np.clip(rng.gamma(3.0, tallness / 3), 3.6, 45))
        base = start + ahead * along + inward * setback
        plan = np.stack([base, base + ahead * front, base + ahead * front + inward * depth, base + inward * depth])
        _building(scenery, streets.place(plan), height, rng)
        along += front + (0.0 if rng.random() < 0.35 else float(rng.exponential(7)))


def _building(scenery: Scenery, outline: np.ndarray, height: float, rng: np.random.Generator) -> None:
    upper, shop = int(rng.integers(0, 6)), int(rng.integers(6, 9))
    tint = rng.uniform(0.75, 1.12) * (1 + rng.normal(0, 0.04, 3))
    split = 3.6 if height > 5 and rng.random() < 0.7 else 0.0
    middle = outline.mean(0)
    for a, b in ((0, 1), (1, 2), (2, 3), (3, 0)):
        along = (outline[b] - outline[a]) / np.linalg.norm(outline[b] - outline[a])
        normal = np.array([along[1], -along[0], 0.0])
        if normal[:2] @ (outline[a] - middle) < 0:
            normal = -normal
        for low, high, texture in ((split, height, upper), (0.0, split, shop)):
            if high > low:
                wall = [(*outline[a], low), (*outline[b], low), (*outline[b], high), (*outline[a], high)]
                scenery.corners.append(wall + [wall[-1]] * (CORNERS - 4))
                scenery.normals.append(normal)
                scenery.colours.append(tint)
                scenery.textures.append(texture)
                scenery.origins.append((*outline[a], low))
                scenery.along.append((*along, 0.0))
    edge, side = outline[1] - outline[0], outline[3] - outline[0]
    scenery.boxes.append(
        (*middle, height / 2, np.linalg.norm(edge), np.linalg.norm(side), height, np.arctan2(edge[1], edge[0]), 1.0)
    )
    scenery.footprints.append((outline, height))


def _tree(scenery: Scenery, point: np.ndarray, rng: np.random.Generator) -> None:
    kind = int(rng.integers(0, 3))
    height = float(rng.uniform(4.5, 10.5))
    trunk, crown = 0.3 * height, float(rng.uniform(0.5, 0.75)) * height * (0.6 if kind == 2 else 1.0)
    _post(scenery, point, trunk + 0.8, 0.14 + 0.012 * height, (38, 52, 68))
    scenery.sprites.append((*point, trunk, crown, height - trunk, kind))
    scenery.boxes.append((*point, (trunk + height) / 2, 0.6 * crown, 0.6 * crown, 0.85 * (height - trunk), 0.0, 0.55))
    angle = np.arange(10) * 2 * np.pi / 10
    ring = 0.42 * crown * np.stack([np.cos(angle), np.sin(angle)], 1)
    scenery.footprints.append((point + ring, height * 0.7))


def _bush(scenery: Scenery, point: np.ndarray, rng: np.random.Generator) -> None:
    height, width = float(rng.uniform(0.7, 1.6)), float(rng.uniform(1.2, 2.8))
    scenery.sprites.append((*point, -0.05, width, height, 3 + int(rng.integers(0, 2))))
    scenery.boxes.append((*point, height / 2, 0.7 * width, 0.7 * width, height, 0.0, 0.8))


def _post(scenery: Scenery, point: np.ndarray, height: float, width: float, colour: tuple, base: float = 0.0) -> None:
    half = width / 2
    square = np.array([(half, half), (-half, half), (-half, -half), (half, -half)]) + point
    for a in range(4):
        b = (a + 1) % 4
        wall = [(*square[a], base), (*square[b], base), (*square[b], height), (*square[a], height)]
        normal = np.append((square[a] + square[b]) / 2 - point, 0) / half
        scenery.corners.append(wall + [wall[-1]] * (CORNERS - 4))
        scenery.normals.append(normal)
        scenery.colours.append(colour)
        scenery.textures.append(-1)
        scenery.origins.append((0, 0, 0))
        scenery.along.append((1, 0, 0))
    scenery.boxes.append((*point, (base + height) / 2, width, width, height - base, 0.0, 1.0))


def _row_of_trees(
    scenery: Scenery, streets: Streets, start: np.ndarray, end: np.ndarray, ahead: np.ndarray, rng: np.random.Generator
) -> None:
    inward, along, gap = -right_of(ahead), float(rng.uniform(3, 8)), float(rng.uniform(6, 13))
    hedge = rng.random() < 0.35
    while along < np.linalg.norm(end - start) - 3:
        point = streets.place(start + ahead * along + inward * 0.4)
        if hedge and rng.random() < 0.7:
            _bush(scenery, point, rng)
            along += 1.6
        else:
            _tree(scenery, point, rng)
            along += gap * float(rng.uniform(0.7, 1.4))


def _park(scenery: Scenery, streets: Streets, block: tuple, rng: np.random.Generator) -> None:
    x0, x1, y0, y1 = block
    for _ in range(int((x1 - x0) * (y1 - y0) / 130)):
        point = streets.place(np.array([rng.uniform(x0 + 2, x1 - 2), rng.uniform(y0 + 2, y1 - 2)]))
        (_tree if rng.random() < 0.6 else _bush)(scenery, point, rng)


def _lamps(scenery: Scenery, streets: Streets, rng: np.random.Generator) -> None:
    """Puts lamp posts along the kerbs and signal posts at the junctions with lights."""
    grey = tuple(float(c) for c in rng.uniform(60, 150) + rng.normal(0, 6, 3))
    for start, end, _, road in streets.stretches():
        ahead = (end - start) / np.linalg.norm(end - start)
        for along in np.arange(float(rng.uniform(2, 12)), np.linalg.norm(end - start), 27.0):
            for side in (1, -1):
                if rng.random() < 0.7:
                    point = streets.place(start + ahead * along + right_of(ahead) * side * (road.half + 0.45))
                    _post(scenery, point, float(rng.uniform(6, 8)), 0.16, grey)
    for (i, j), light in streets.lights.items():
        if light is None:
            continue
        for arm in range(4):
            out, across = DIRECTIONS[arm], right_of(DIRECTIONS[arm])
            edge = streets.reach(i, j, arm) + SIDEWALK + 0.5
            corner = streets.junction_centre(i, j) + out * edge - across * (streets.road_on(i, j, arm).half + 0.5)
            point = streets.place(corner)
            _post(scenery, point, 3.0, 0.14, (70, 72, 70))
            _post(scenery, point, 3.6, 0.36, (28, 32, 30), 2.6)


def _outskirts(scenery: Scenery, streets: Streets, rng: np.random.Generator) -> None:
    """Closes the view out of the town with woods and a few big houses."""
    middle = np.full(2, EXTENT / 2)
    for _ in range(240):
        side, along, out = rng.integers(4), rng.uniform(-1, 1), rng.uniform(16, 45)
        direction = DIRECTIONS[side]
        edge = (streets.roads[1], streets.roads[0], streets.roads[1], streets.roads[0])[side]
        far = abs((edge[-1] if side < 2 else edge[0]).centre - EXTENT / 2) + 12 + out
        point = middle + direction * far + right_of(direction) * along * (far + 10)
        if rng.random() < 0.12:
            size = rng.uniform(8, 16, 2)
            square = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * size / 2
            _building(scenery, streets.place(point + square), float(rng.uniform(8, 26)), rng)
        else:
            x, y = streets.place(point)
            height = float(rng.uniform(7, 14))
            scenery.sprites.append((x, y, -0.3, 1.1 * height, height, int(rng.integers(0, 2))))


def _facades(rng: np.random.Generator) -> np.ndarray:
    """Paints six house fronts and three shop fronts, each at MIPS sharpnesses."""
    tiles = np.stack([_house_front(rng) for _ in range(6)] + [_shop_front(rng) for _ in range(3)])
    mips = [tiles]
    for level in range(1, MIPS):
        small = TILE >> (2 * level)
        mips.append(
            np.stack(
                [cv2.resize(cv2.resize(t, (small, small), interpolation=cv2.INTER_AREA), (TILE, TILE)) for t in tiles]
            )
        )
    return np.stack(mips)


def _house_front(rng: np.random.Generator) -> np.ndarray:
    wall = rng.uniform(70, 205) + rng.normal(0, 14, 3)
    tile = np.full((TILE, TILE, 3), wall, np.float32) + rng.normal(0, 4, (TILE, TILE, 1))
    if rng.random() < 0.4:
        tile[::8] *= 0.9  # courses of brick or panels
    style = rng.choice(["holes", "bands", "curtain"])
    margin_x, margin_y = {"holes": (7, 8), "bands": (0, 9), "curtain": (1, 1)}[style]
    for row in range(4):
        for column in range(4):
            y0, y1, x0, x1 = (
                row * 32 + margin_y,
                row * 32 + 32 - margin_y,
                column * 32 + margin_x,
                column * 32 + 32 - margin_x,
            )
            glass = rng.uniform(35, 120) * np.array([1.1, 1.0, 0.92])
            pane = np.linspace(1.15, 0.8, y1 - y0)[:, None, None] * glass
            tile[y0:y1, x0:x1] = pane if rng.random() < 0.85 else pane * 0.4 + 110
            tile[y0:y1, (x0 + x1) // 2] = wall * 0.7
            if style == "holes":
                tile[y1 - 1 : y1 + 1, x0 - 1 : x1 + 1] = wall * 1.15
    return np.clip(tile, 0, 255).astype(np.uint8)


def _shop_front(rng: np.random.Generator) -> np.ndarray:
    """Paints a row of shop windows with signs; one storey fills the tile's lower part."""
    wall = rng.uniform(60, 170) + rng.normal(0, 12, 3)
    tile = np.full((TILE, TILE, 3), wall, np.float32)
    for column in range(4):
        x0, x1 = column * 32 + 2, column * 32 + 30
        tile[TILE - 26 : TILE - 4, x0:x1] = rng.uniform(30, 110) * np.array([1.1, 1, 0.9]) + rng.normal(
            0, 6, (22, x1 - x0, 1)
        )
        tile[TILE - 34 : TILE - 28, x0:x1] = rng.uniform(20, 230, 3)
        if rng.random() < 0.5:
            tile[TILE - 24 :, x0 + 8 : x0 + 17] = rng.uniform(30, 120, 3)
    return np.clip(tile, 0, 255).astype(np.uint8)


def _foliage(rng: np.random.Generator, kind: str) -> np.ndarray:
    """Paints one plant as a cut-out, BGRA: clumps of leaves, lighter on top."""
    mask, light = np.zeros((TILE, TILE), np.float32), np.zeros((TILE, TILE), np.float32)
    for _ in range({"round": 42, "tall": 42, "bush": 34}[kind]):
        angle, radius = rng.uniform(0, 2 * np.pi), np.sqrt(rng.random())
        wide, high = (44, 42) if kind != "tall" else (26, 46)
        x, y = 64 + wide * radius * np.cos(angle), 64 + high * radius * np.sin(angle)
        if kind == "tall":
            x = 64 + (x - 64) * np.clip(y / 90, 0.25, 1.2)
        if kind == "bush":
            y = 128 - abs(128 - y - 20)
        size = int(rng.uniform(9, 19))
        cv2.circle(mask, (int(x), int(y)), size, 1.0, -1)
        cv2.circle(light, (int(x), int(y)), size, float(1.18 - 0.5 * y / TILE + rng.normal(0, 0.08)), -1)
    grain = noise_texture(rng, TILE, 7)
    alpha = (mask > 0) & (cv2.GaussianBlur(mask, (0, 0), 4) + 0.16 * grain > 0.62)
    hue = np.array([rng.uniform(28, 60), rng.uniform(85, 130), rng.uniform(55, 105)])
    colour = hue * (light * (1 + 0.22 * noise_texture(rng, TILE, 6)))[..., None]
    return np.dstack([np.clip(colour, 0, 255), np.where(alpha, 255, 0)]).astype(np.uint8)
