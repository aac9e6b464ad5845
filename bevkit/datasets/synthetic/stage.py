"""The actors and the scenery stand ready as faces, lit by the scene's sun, to be seen from any camera at any time."""

from __future__ import annotations

import numpy as np

from .bodies import mesh_of
from .mood import Mood
from .raster import NEAR, Faces
from .scenery import Scenery
from .shapes import Mesh
from .world import World

ACTOR_RANGE, WALL_RANGE, SPRITE_RANGE = 95.0, 220.0, 130.0  # m
SMALLEST = 2.0  # faces less wide than this many pixels are not drawn


class Stage:
    """One scene as faces."""

    def __init__(self, world: World, scenery: Scenery, mood: Mood) -> None:
        self.world, self.scenery, self.mood = world, scenery, mood
        self.sizes = np.array([actor.size for actor in world.actors])
        self.meshes: dict[int, Mesh] = {}
        self.wall_colours = scenery.colours * self.light(scenery.normals)
        self.wall_middle = scenery.corners.mean(1)
        self.wall_size = np.linalg.norm(np.ptp(scenery.corners, axis=1), axis=1)

    def light(self, normals: np.ndarray) -> np.ndarray:
        """Light that falls on faces with these world normals [F 3]: BGR gains."""
        facing = np.maximum(normals @ self.mood.sun, 0)[:, None]
        return self.mood.ambient * (0.78 + 0.22 * normals[:, 2:]) + self.mood.sunlight * facing

    def centres(self, poses: np.ndarray) -> np.ndarray:
        """Box centres [A 3] of actors that stand on the ground with these poses [A 3]."""
        return np.column_stack([poses[:, :2], self.sizes[:, 2] / 2])

    def faces(self, camera: np.ndarray, intrinsics: np.ndarray, width: int, poses: np.ndarray) -> Faces:
        """Collects the faces that a camera (global_from_camera [4 4]) may see, in its axes."""
        rotation, position = camera[:3, :3], camera[:3, 3]
        spread = np.hypot(1.0, max(intrinsics[0, 2], width - intrinsics[0, 2]) / intrinsics[0, 0])
        groups = [self._walls(rotation, position, spread)]
        groups += self._actors(rotation, position, spread, poses)
        corners, colours, owner, texture, origins, along, size = (np.concatenate(parts) for parts in zip(*groups))
        depth = np.maximum(corners[..., 2].min(1), NEAR)
        keep = (corners[..., 2].max(1) > NEAR) & (size * intrinsics[0, 0] > SMALLEST * depth)
        return Faces(corners[keep], colours[keep], owner[keep], texture[keep], origins[keep], along[keep], rotation[2])

    def _walls(self, rotation: np.ndarray, position: np.ndarray, spread: float) -> tuple:
        scenery = self.scenery
        away = self.wall_middle - position
        ahead = away @ rotation[:, 2]
        facing = ((scenery.corners[:, 0] - position) * scenery.normals).sum(1) < 0
        distance = np.linalg.norm(away, axis=1)
        keep = facing & (distance < WALL_RANGE) & (ahead > distance / spread - self.wall_size)
        corners = (scenery.corners[keep] - position) @ rotation
        count = int(keep.sum())
        return (
            corners,
            self.wall_colours[keep],
            np.full(count, -1),
            scenery.textures[keep],
            (scenery.origins[keep] - position) @ rotation,
            scenery.along[keep] @ rotation,
            self.wall_size[keep],
        )

    def _actors(self, rotation: np.ndarray, position: np.ndarray, spread: float, poses: np.ndarray) -> list[tuple]:
        groups = []
        centres = self.centres(poses)
        away = centres - position
        distance, ahead = np.linalg.norm(away, axis=1), away @ rotation[:, 2]
        radius = np.linalg.norm(self.sizes, axis=1) / 2
        for number in np.flatnonzero((distance < ACTOR_RANGE) & (ahead > distance / spread - 1.5 * radius)):
            mesh = self.mesh(number)
            c, s = np.cos(poses[number, 2]), np.sin(poses[number, 2])
            turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
            normals = mesh.normals @ turn.T
            corners = mesh.corners @ turn.T + centres[number]
            facing = np.flatnonzero(((corners[:, 0] - position) * normals).sum(1) < 0)
            light = self.light(normals[facing])
            light = light + (1 - light) * mesh.glow[facing, None]
            blank = np.zeros((len(facing), 3))
            groups.append(
                (
                    (corners[facing] - position) @ rotation,
                    mesh.colours[facing] * light,
                    np.full(len(facing), number),
                    np.full(len(facing), -1),
                    blank,
                    blank,
                    mesh.sizes[facing],
                )
            )
        return groups

    def mesh(self, number: int) -> Mesh:
        """The body of an actor, built when it is first seen."""
        if number not in self.meshes:
            self.meshes[number] = mesh_of(self.world.actors[number])
        return self.meshes[number]

    def plants(self, camera: np.ndarray) -> list[tuple[np.ndarray, int]]:
        """Turns the plants near a camera to face it: corners [4 3] in camera axes and foliage number, nearest first."""
        rotation, position = camera[:3, :3], camera[:3, 3]
        sprites = self.scenery.sprites
        away = sprites[:, :2] - position[:2]
        distance = np.linalg.norm(away, axis=1)
        near = np.flatnonzero((distance < SPRITE_RANGE) & (away @ rotation[:2, 2] > -2) & (distance > 1))
        found = []
        for k in near[np.argsort(distance[near], kind="stable")]:
            x, y, z, width, height, number = sprites[k]
            side = np.array([-away[k, 1], away[k, 0], 0]) / distance[k] * width / 2
            base, up = np.array([x, y, z]), np.array([0, 0, height])
            corners = np.stack([base + side, base - side, base - side + up, base + side + up])
            found.append(((corners - position) @ rotation, int(number)))
        return found
