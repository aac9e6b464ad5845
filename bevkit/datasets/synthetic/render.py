"""A camera takes a picture of the scene: depth buffer, then colours of ground, walls, plants, sky; haze and lens."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .ground import LEVELS, TEXEL
from .mood import Mood, noise_texture
from .raster import DepthBuffer, Faces, clip_near, fill, fixed_point, texture_axis
from .scenery import TILE, TILE_SIZE
from .stage import Stage
from .streets import EXTENT

SHADOW_RANGE = 60.0  # m


@dataclass
class Picture:
    """One photograph: image [h w 3] BGR uint8, and per actor its seen and its whole pixels (of the finer drawing)."""

    image: np.ndarray
    owner: np.ndarray  # [h w] actor number at each pixel, -1 elsewhere
    seen: dict[int, int]
    whole: dict[int, int]


class Camera:
    """Takes pictures of one scene with one lens; draws finer than it writes, so that edges come out smooth."""

    def __init__(
        self,
        stage: Stage,
        ground: list[np.ndarray],
        intrinsics: np.ndarray,
        size: tuple[int, int],
        rng: np.random.Generator,
    ) -> None:
        self.stage, self.ground, self.size, self.mood = stage, ground, size, stage.mood
        self.factor = 2 if size[0] <= 480 else 1
        self.fine = (size[0] * self.factor, size[1] * self.factor)
        self.intrinsics = intrinsics * np.array([[self.factor], [self.factor], [1]])
        self.intrinsics[:2, 2] += (self.factor - 1) / 2  # pixel centres lie on whole numbers in both grids
        self.film = Film(stage.mood, size, rng)
        self.sky = Sky(stage.mood, rng)
        self.foliage = stage.scenery.foliage[..., :3].reshape(-1, 3).astype(np.float32)
        self.foliage *= stage.light(np.array([[0.0, 0.0, 0.8]]))[0].astype(np.float32)
        self.leaves = stage.scenery.foliage[..., 3] > 0

    def shoot(self, camera: np.ndarray, poses: np.ndarray, rng: np.random.Generator) -> Picture:
        """Takes a picture from global_from_camera [4 4] of actors at these poses [A 3]."""
        rays = camera[:3, :3] @ np.linalg.inv(self.intrinsics)  # world direction of pixel (x, y, 1), unit depth
        buffer = DepthBuffer(self.fine, self.intrinsics, -rays[2] / camera[2, 3])
        faces = self.stage.faces(camera, self.intrinsics, self.fine[0], poses)
        whole, planes = buffer.draw_faces(faces)
        for corners, number in self.stage.plants(camera):
            buffer.draw_sprite(corners, self.leaves, number)
        image = self._colours(buffer, faces, planes, camera, rays, poses)
        owner = np.append(faces.owner, -1)[np.maximum(buffer.face, -1)]  # -1 (no face, or a plant) reads the last
        counts = np.bincount(owner.ravel() + 1)[1:]
        if self.factor > 1:
            image = cv2.resize(image, self.size, interpolation=cv2.INTER_AREA)
        return Picture(
            self.film.develop(image, rng),
            owner[:: self.factor, :: self.factor],
            {int(k): int(counts[k]) for k in np.flatnonzero(counts)},
            whole,
        )

    def _colours(
        self,
        buffer: DepthBuffer,
        faces: Faces,
        planes: np.ndarray,
        camera: np.ndarray,
        rays: np.ndarray,
        poses: np.ndarray,
    ) -> np.ndarray:
        """Gives every pixel its colour: [h w 3] float32. Pixels go by their flat numbers from here on."""
        face, inverse_depth = buffer.face.reshape(-1), buffer.inverse_depth.reshape(-1)
        palette = np.concatenate([faces.colours, np.zeros((2, 3))]).astype(np.float32)
        image = np.take(palette, face, axis=0, mode="wrap")  # -1 and -2 find the two blanks at the end
        plants = np.flatnonzero(face == -2)
        image[plants] = self.foliage[buffer.texel.reshape(-1)[plants]]
        walls = np.flatnonzero(np.take(np.append(faces.texture >= 0, (False, False)), face, mode="wrap"))
        if len(walls):
            image[walls] = self._walls(walls, buffer, faces, planes)
        sky = inverse_depth <= 1 / 600
        floor = np.flatnonzero((face == -1) & ~sky)
        if len(floor):
            image[floor] = self._floor(floor, buffer, camera, rays, poses)
        haze = np.exp(np.float32(-1 / self.mood.haze) / np.maximum(inverse_depth, 1e-3))[:, None]
        air = self.mood.horizon.astype(np.float32)
        image -= air
        image *= haze
        image += air
        above = np.flatnonzero(sky)
        if len(above):
            y, x = np.divmod(above, self.fine[0])
            image[above] = self.sky.look(np.stack([r[0] * x + r[1] * y + r[2] for r in rays.astype(np.float32)], 1))
        return image.reshape(self.fine[1], self.fine[0], 3)

    def _walls(self, pixels: np.ndarray, buffer: DepthBuffer, faces: Faces, planes: np.ndarray) -> np.ndarray:
        number = buffer.face.reshape(-1)[pixels]
        rows, columns = np.divmod(pixels.astype(np.int32), np.int32(self.fine[0]))
        forms = np.zeros((len(planes), 2, 3), np.float32)
        for face in np.flatnonzero(np.bincount(number)):
            for k, axis in enumerate((faces.along[face], faces.upward)):
                forms[face, k] = texture_axis(planes[face], faces.origins[face], axis, buffer.unproject)
        depth = 1 / buffer.inverse_depth.reshape(-1)[pixels]
        u, v = ((a[number] * columns + b[number] * rows + c[number]) * depth for a, b, c in forms.transpose(1, 2, 0))
        column = (u * (TILE / TILE_SIZE[0])).astype(np.int32) % TILE
        row = (TILE - 1) - (v * (TILE / TILE_SIZE[1])).astype(np.int32) % TILE
        texels = depth * np.float32(TILE / TILE_SIZE[0] / self.intrinsics[0, 0])
        level = (texels > 2).astype(np.int32) + (texels > 8)  # each level is four times coarser
        kind = faces.texture[number]
        return self.stage.scenery.facades[level, kind, row, column] * faces.colours.astype(np.float32)[number]

    def _floor(
        self, pixels: np.ndarray, buffer: DepthBuffer, camera: np.ndarray, rays: np.ndarray, poses: np.ndarray
    ) -> np.ndarray:
        rows, columns = np.divmod(pixels.astype(np.int32), np.int32(self.fine[0]))
        depth = 1 / buffer.inverse_depth.reshape(-1)[pixels]
        x, y = (
            np.float32(camera[k, 3]) + depth * (a * columns + b * rows + c)
            for k, (a, b, c) in enumerate(rays[:2].astype(np.float32))
        )
        # a texel's length on the screen is the geometric mean of its width and of its foreshortened depth
        footprint = depth * np.sqrt(depth / np.float32(camera[2, 3])) / np.float32(self.intrinsics[0, 0] * TEXEL)
        level = sum((footprint > 1.41 * 2**k).astype(np.int8) for k in range(LEVELS - 1))
        colour = np.empty((len(pixels), 3), np.float32)
        for k in range(LEVELS):
            here = np.flatnonzero(level == k)
            if len(here):
                texel = TEXEL * 2**k
                colour[here] = _sample(self.ground[k], x[here] / texel - 0.5, (EXTENT - y[here]) / texel - 0.5)
        flat = self.stage.light(np.array([[0.0, 0.0, 1.0]]))[0]
        shade = self._shadows(camera, poses).reshape(-1)[pixels, None]
        return colour * (flat.astype(np.float32) * (shade * np.float32(1 / 255)))

    def _shadows(self, camera: np.ndarray, poses: np.ndarray) -> np.ndarray:
        """Draws the shadows that actors throw on the ground: [h w] uint8, 255 in the light."""
        image = np.full(self.fine[::-1], 255, np.uint8)
        away = poses[:, :2] - camera[:2, 3]
        distance = np.linalg.norm(away, axis=1)
        ahead = away @ camera[:2, 2]
        reach = -self.mood.sun[:2] / max(self.mood.sun[2], 0.25)
        contact = []
        for k in np.flatnonzero((distance < SHADOW_RANGE) & (ahead > -8)):
            length, width, height = self.stage.sizes[k]
            c, s = np.cos(poses[k, 2]), np.sin(poses[k, 2])
            signs = np.array([(1, 1), (1, -1), (-1, -1), (-1, 1)]) / 2
            base = poses[k, :2] + (signs * (0.97 * length, 0.94 * width)) @ np.array([[c, s], [-s, c]])
            top = poses[k, :2] + (signs * (0.75 * length, 0.8 * width)) @ np.array([[c, s], [-s, c]]) + reach * height
            hull = cv2.convexHull(np.concatenate([base, top]).astype(np.float32))[:, 0]
            self._darken(image, camera, hull, int(255 * self.mood.shadow))
            contact.append(base)
        for base in contact:
            self._darken(image, camera, base, int(255 * self.mood.shadow * 0.62))
        return cv2.GaussianBlur(image, (3, 3), 0) if self.factor == 1 else cv2.blur(image, (5, 5))

    def _darken(self, image: np.ndarray, camera: np.ndarray, outline: np.ndarray, value: int) -> None:
        points = np.column_stack([outline, np.zeros(len(outline))]) - camera[:3, 3]
        points = clip_near(points @ camera[:3, :3])
        if len(points) > 2:
            fill(image, fixed_point(points, self.intrinsics), value)


def _sample(texture: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Reads a texture [H W 3] between its texels at points [n]; OpenCV wants them as a picture of limited width."""
    count, width = len(x), 1024
    rows = -(-count // width)
    maps = [np.resize(v.astype(np.float32), rows * width).reshape(rows, width) for v in (x, y)]
    return cv2.remap(texture, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101).reshape(-1, 3)[:count]


class Sky:
    """The sky over one scene: a gradient, drifting clouds, the glow of the sun."""

    def __init__(self, mood: Mood, rng: np.random.Generator) -> None:
        self.mood = mood
        field = noise_texture(rng, 512, 6)
        edge = np.quantile(field, 1 - mood.cover)
        self.clouds = np.clip((field - edge) * 0.9, 0, 1).astype(np.float32)

    def look(self, directions: np.ndarray) -> np.ndarray:
        """Colours of the sky in world directions [n 3]: BGR, 0 to 255."""
        d = directions.astype(np.float32)
        d /= np.sqrt((d * d).sum(1, keepdims=True))
        rise = np.clip(d[:, 2] * 1.8, 0, 1)[:, None] ** 0.6
        colour = (self.mood.horizon + (self.mood.zenith - self.mood.horizon) * rise).astype(np.float32)
        flat = 60 / np.maximum(d[:, 2], 0.04)
        at = ((d[:, :2] * flat[:, None]) % 512).astype(np.int32) % 512
        cover = (self.clouds[at[:, 1], at[:, 0]] * np.clip(d[:, 2] * 6, 0, 1))[:, None]
        colour += (self.mood.cloud.astype(np.float32) - colour) * cover
        glow = np.maximum(d @ self.mood.sun.astype(np.float32), 0)[:, None]
        return colour + (60 * glow**24 + 160 * glow**300) * self.mood.sunlight.astype(np.float32)


class Film:
    """The lens and the sensor behind it: blur, vignette, exposure, colour, noise."""

    def __init__(self, mood: Mood, size: tuple[int, int], rng: np.random.Generator) -> None:
        self.mood, self.size = mood, size
        x = np.linspace(-1, 1, size[0])[None]
        y = np.linspace(-1, 1, size[1])[:, None] * size[1] / size[0]
        fall = 1 - mood.vignette * np.clip((x * x + y * y) / 1.3, 0, 1)
        gain = mood.exposure * float(rng.normal(1, 0.03)) * mood.balance
        self.gain = (fall[..., None] * gain).astype(np.float32)
        self.blur = mood.blur * float(rng.uniform(0.85, 1.2))
        self.tone = np.round(255 * np.linspace(0, 1, 256) ** mood.gamma).astype(np.uint8)
        self.grain = [rng.standard_normal((size[1], size[0], 3)).astype(np.float32) * mood.noise for _ in range(3)]

    def develop(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Turns light [h w 3] into the sensor's picture [h w 3] uint8."""
        image = cv2.GaussianBlur(image, (0, 0), self.blur) * self.gain
        grey = image @ np.array([0.114, 0.587, 0.299], np.float32)
        image = grey[..., None] + (image - grey[..., None]) * np.float32(self.mood.saturation)
        image = 118 + (image - 118) * np.float32(self.mood.contrast)
        over = np.maximum(image - 205, 0)
        image = image - over + 50 * (1 - np.exp(-over / 50))  # highlights roll off and do not clip
        shift = int(rng.integers(self.size[0])), int(rng.integers(self.size[1]))
        grain = self.grain[int(rng.integers(len(self.grain)))]
        image += np.roll(grain, shift, (1, 0))
        return cv2.LUT(np.clip(image, 0, 255).astype(np.uint8), self.tone)
