"""Actors get bodies: convex faces in metres around the box centre, with colours, for every kind of actor.

A `Mesh` is a stack of faces in the actor's own axes (x forward, y left, z up, origin at the box centre). Every face has
CORNERS corners; faces with fewer repeat their last one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CORNERS = 8
_PADDED = {n: np.minimum(np.arange(CORNERS), n - 1) for n in range(3, CORNERS + 1)}  # repeats the last corner
GLASS, TYRE, RIM, STEEL = (82, 70, 62), (28, 27, 26), (150, 150, 152), (110, 108, 104)  # BGR
WHITE_LIGHT, RED_LIGHT, AMBER = (235, 245, 250), (40, 30, 190), (30, 150, 240)
SKINS = [(150, 180, 220), (110, 150, 200), (70, 100, 150), (50, 70, 105), (130, 165, 210)]


@dataclass(frozen=True)
class Mesh:
    """Faces of one thing: corners [F CORNERS 3], outward normals [F 3], BGR colours [F 3], size [F], glow [F]."""

    corners: np.ndarray
    normals: np.ndarray
    colours: np.ndarray
    sizes: np.ndarray  # widest extent of each face, m: small faces are not drawn far away
    glow: np.ndarray  # 1 where a face shines by itself


class Builder:
    """Collects faces part by part; each part is convex, so that its centre tells inside from outside."""

    def __init__(self) -> None:
        self.faces: list[np.ndarray] = []
        self.inside: list[np.ndarray] = []
        self.colours: list[tuple] = []
        self.glow: list[float] = []

    def face(self, corners: np.ndarray, inside: np.ndarray, colour: tuple, glow: float = 0.0) -> None:
        """Adds one flat convex face that looks away from the point `inside`."""
        self.faces.append(corners[_PADDED[len(corners)]])
        self.inside.append(inside)
        self.colours.append(colour)
        self.glow.append(glow)

    def prism(self, profile: np.ndarray, y0: float, y1: float, colour: tuple) -> None:
        """Extrudes a convex side view (x, z) across the actor, from y0 to y1."""
        ends = []
        for y in (y0, y1):
            end = np.zeros((len(profile), 3))
            end[:, [0, 2]] = profile
            end[:, 1] = y
            ends.append(end)
        inside = np.concatenate(ends).mean(0)
        for end in ends:
            self.face(end, inside, colour)
        for a in range(len(profile)):
            b = (a + 1) % len(profile)
            self.face(np.stack([ends[0][a], ends[0][b], ends[1][b], ends[1][a]]), inside, colour)

    def box(
        self, x: tuple, y: tuple, z: tuple, colour: tuple, shrink: tuple = (0.0, 0.0, 0.0, 0.0)
    ) -> list[np.ndarray]:
        """Adds a box whose top `shrink` draws in at the front, rear, left, right. Returns these four sides."""
        (x0, x1), (y0, y1), (z0, z1) = sorted(x), sorted(y), z
        f, r, le, ri = shrink
        # corners: front left, front right, rear right, rear left
        low = np.array([(x1, y1, z0), (x1, y0, z0), (x0, y0, z0), (x0, y1, z0)])
        high = np.array([(x1 - f, y1 - le, z1), (x1 - f, y0 + ri, z1), (x0 + r, y0 + ri, z1), (x0 + r, y1 - le, z1)])
        inside = (low.mean(0) + high.mean(0)) / 2
        sides = []
        for a, b in ((0, 1), (2, 3), (3, 0), (1, 2)):
            sides.append(np.stack([low[a], low[b], high[b], high[a]]))
            self.face(sides[-1], inside, colour)
        self.face(high, inside, colour)
        return sides

    def panel(self, side: np.ndarray, u: tuple, v: tuple, colour: tuple, glow: float = 0.0, out: float = 0.012) -> None:
        """Sticks a flat panel (window, lamp, door) on a side: u from edge to edge, v from bottom to top, 0 to 1."""
        a, b, c, d = side
        normal = np.cross(b - a, d - a)
        normal = normal / (np.linalg.norm(normal) + 1e-12)

        def point(s: float, t: float) -> np.ndarray:
            return (1 - t) * ((1 - s) * a + s * b) + t * ((1 - s) * d + s * c)

        corners = np.stack([point(u[0], v[0]), point(u[1], v[0]), point(u[1], v[1]), point(u[0], v[1])])
        centre = side.mean(0)
        sign = 1.0 if normal @ centre > 0 or abs(normal @ centre) < 1e-9 else -1.0
        self.face(corners + sign * out * normal, corners.mean(0) - sign * normal, colour, glow)

    def wheel(self, x: float, y: float, z: float, radius: float, out: float, rim: tuple = RIM) -> None:
        """Adds a wheel seen from the side `out` (+1 left, -1 right): tyre and rim."""
        angle = np.arange(CORNERS) * 2 * np.pi / CORNERS + 0.2
        for part, (scale, colour) in enumerate(((1.0, TYRE), (0.55, rim))):
            at = np.stack(
                [
                    x + scale * radius * np.cos(angle),
                    np.full(CORNERS, y + out * 0.01 * part),
                    z + scale * radius * np.sin(angle),
                ],
                1,
            )
            self.face(at, np.array([x, y - out, z]), colour)

    def plate(self, corners: list, colour: tuple) -> None:
        """Adds a thin flat piece that is seen from both sides."""
        flat = np.asarray(corners, float)
        normal = np.cross(flat[1] - flat[0], flat[2] - flat[0])
        normal = normal / (np.linalg.norm(normal) + 1e-12)
        for sign in (1, -1):
            self.face(flat + 0.004 * sign * normal, flat.mean(0) - sign * normal, colour)

    def build(self) -> Mesh:
        """Packs the faces."""
        corners = np.stack(self.faces)  # F C 3
        normals = np.cross(corners, np.roll(corners, -1, 1)).sum(1)
        normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12
        outwards = (normals * (corners.mean(1) - np.stack(self.inside))).sum(1)
        normals[outwards < 0] *= -1
        sizes = np.ptp(corners, axis=1).max(1)
        return Mesh(corners, normals, np.array(self.colours, float), sizes, np.array(self.glow))


def paint(rng: np.random.Generator) -> tuple[float, float, float]:
    """Picks a car's paint, BGR: mostly grey, black or white, sometimes a colour."""
    if rng.random() < 0.55:
        grey = float(rng.choice([25, 45, 90, 140, 185, 225, 240]))
        return tuple(float(c) for c in np.clip(grey + rng.normal(0, 5, 3), 8, 250))
    hue, value = rng.random(), rng.uniform(0.3, 0.95)
    saturation = rng.uniform(0.4, 0.95)
    rgb = np.clip(np.abs((hue * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    return tuple(float(c) for c in 255 * value * (1 - saturation * (1 - rgb)))
