"""The bodies of vehicles: how a car, a truck, a bus, a trailer, a digger is put together from faces.

Every maker draws into a box of length l, width w, height h (m) around the origin: x forward, y left, z up.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .actors import Actor
from .figures import barrier, bicycle, cone, motorcycle, person, worker
from .shapes import AMBER, GLASS, RED_LIGHT, STEEL, TYRE, WHITE_LIGHT, Builder, Mesh, paint


def car(b: Builder, l: float, w: float, h: float, rng: np.random.Generator, parked: bool) -> None:
    """A sedan, hatchback, estate, van or pick-up: body, cabin with windows, wheels, lamps."""
    colour, floor, radius = paint(rng), -h / 2 + 0.19, 0.33
    style = rng.choice(["sedan", "hatch", "estate", "van", "pickup"], p=[0.3, 0.25, 0.25, 0.12, 0.08])
    belt = -h / 2 + h * {"sedan": 0.56, "hatch": 0.56, "estate": 0.56, "van": 0.5, "pickup": 0.5}[style]
    nose = belt - {"van": 0.0}.get(style, 0.12)
    profile = np.array(
        [
            (-l / 2 + 0.05, floor),
            (l / 2 - 0.06, floor),
            (l / 2, floor + 0.25),
            (l / 2 - 0.04, nose - 0.03),
            (l / 2 - 0.25 * l, belt),
            (-l / 2 + 0.12, belt),
            (-l / 2, floor + 0.35),
        ]
    )
    b.prism(profile, -w / 2 + 0.04, w / 2 - 0.04, colour)
    start = {"sedan": -0.30, "hatch": -0.46, "estate": -0.48, "van": -0.49, "pickup": -0.1}[style] * l
    end = {"van": 0.38}.get(style, 0.25) * l
    rake = (0.55 if style == "van" else 0.8, {"sedan": 0.45, "hatch": 0.35}.get(style, 0.12), 0.17, 0.17)
    front, rear, left, right = b.box((start, end), (-w / 2 + 0.07, w / 2 - 0.07), (belt, h / 2), colour, rake)
    b.panel(front, (0.08, 0.92), (0.1, 0.9), GLASS)
    b.panel(rear, (0.1, 0.9), (0.2, 0.85), GLASS)
    for side in (left, right):
        for u in ((0.08, 0.33), (0.37, 0.62), (0.66, 0.9)) if style != "pickup" else ((0.1, 0.48), (0.53, 0.9)):
            b.panel(side, u, (0.12, 0.85), GLASS)
    _lamps(b, l, w, floor + 0.38, nose - 0.14, 0.42, 0.16)
    _wheels(b, (-0.31 * l, 0.32 * l), w, h, radius)
    b.plate(
        [
            (l / 2 + 0.01, -0.26, floor + 0.1),
            (l / 2 + 0.01, 0.26, floor + 0.1),
            (l / 2 + 0.01, 0.26, floor + 0.22),
            (l / 2 + 0.01, -0.26, floor + 0.22),
        ],
        (205, 210, 210),
    )


def truck(b: Builder, l: float, w: float, h: float, rng: np.random.Generator, parked: bool) -> None:
    """A lorry: cab in front, box, tank or open bed behind."""
    cab, load = paint(rng), paint(rng)
    floor, deck, split = -h / 2 + 0.4, -h / 2 + 0.95, l / 2 - 0.27 * l
    front, _, left, right = b.box(
        (split, l / 2), (-w / 2 + 0.05, w / 2 - 0.05), (floor, h / 2 - 0.15 * h), cab, (0.25, 0, 0.06, 0.06)
    )
    b.panel(front, (0.06, 0.94), (0.45, 0.88), GLASS)
    for side in (left, right):
        b.panel(side, (0.3, 0.9) if side is right else (0.1, 0.7), (0.5, 0.88), GLASS)
    b.box((-l / 2, split - 0.1), (-w / 2 + 0.25, w / 2 - 0.25), (floor + 0.1, deck), STEEL)
    top = h / 2 if rng.random() < 0.75 else deck + 0.3 * h
    _, rear, left, right = b.box((-l / 2, split - 0.18), (-w / 2, w / 2), (deck, top), load)
    stripe = paint(rng)
    for side in (left, right):
        if rng.random() < 0.6:
            b.panel(side, (0.12, 0.88), (0.35, 0.65), stripe)
    b.panel(rear, (0.03, 0.49), (0.06, 0.94), tuple(0.85 * c for c in load))
    b.panel(rear, (0.51, 0.97), (0.06, 0.94), tuple(0.9 * c for c in load))
    _lamps(b, l, w, floor + 0.25, floor + 0.3, 0.4, 0.2)
    _wheels(b, (-0.36 * l, -0.2 * l, 0.36 * l), w, h, 0.48)


def bus(b: Builder, l: float, w: float, h: float, rng: np.random.Generator, parked: bool) -> None:
    """A city bus: a long box with a band of windows, doors and a sign."""
    colour, lower = paint(rng), paint(rng)
    floor = -h / 2 + 0.3
    belt = -h / 2 + 0.38 * h
    b.box((-l / 2, l / 2), (-w / 2, w / 2), (floor, belt), lower)
    front, rear, left, right = b.box((-l / 2, l / 2), (-w / 2, w / 2), (belt, h / 2), colour, (0.08, 0.05, 0.05, 0.05))
    b.panel(front, (0.04, 0.96), (0.02, 0.78), GLASS)
    b.panel(front, (0.2, 0.8), (0.82, 0.96), AMBER, 0.8)
    b.panel(rear, (0.12, 0.88), (0.2, 0.75), GLASS)
    for side in (left, right):
        for k in range(7):
            b.panel(side, (0.03 + 0.137 * k, 0.03 + 0.137 * k + 0.122), (0.1, 0.72), GLASS)
    for x in (0.36 * l, -0.06 * l):
        y = -w / 2 - 0.015
        b.plate(
            [
                (x - 0.6, y, floor + 0.1),
                (x + 0.6, y, floor + 0.1),
                (x + 0.6, y, h / 2 - 0.6),
                (x - 0.6, y, h / 2 - 0.6),
            ],
            (70, 62, 58),
        )
    _lamps(b, l, w, floor + 0.3, floor + 0.35, 0.35, 0.2)
    _wheels(b, (-0.26 * l, 0.3 * l), w, h, 0.5)


def trailer(b: Builder, l: float, w: float, h: float, rng: np.random.Generator, parked: bool) -> None:
    """A trailer: a box or a container on a low frame, wheels at the rear, a drawbar in front."""
    colour, deck = paint(rng), -h / 2 + 1.0
    b.box((-l / 2, l / 2 - 0.3), (-w / 2 + 0.3, w / 2 - 0.3), (deck - 0.3, deck), STEEL)
    top = h / 2
    _, rear, left, right = b.box((-l / 2, l / 2), (-w / 2, w / 2), (deck, top), colour)
    if rng.random() < 0.5:  # a container's ribs
        shade = tuple(0.8 * c for c in colour)
        for side in (left, right):
            for k in range(9):
                b.panel(side, (0.05 + 0.1 * k, 0.08 + 0.1 * k), (0.04, 0.96), shade)
    else:
        for side in (left, right):
            b.panel(side, (0.25, 0.75), (0.3, 0.7), paint(rng))
    b.panel(rear, (0.02, 0.49), (0.04, 0.96), tuple(0.85 * c for c in colour))
    b.panel(rear, (0.51, 0.98), (0.04, 0.96), tuple(0.9 * c for c in colour))
    for y in (-w / 2 + 0.15, w / 2 - 0.4):
        b.plate(
            [
                (-l / 2 - 0.01, y, deck - 0.25),
                (-l / 2 - 0.01, y + 0.25, deck - 0.25),
                (-l / 2 - 0.01, y + 0.25, deck - 0.1),
                (-l / 2 - 0.01, y, deck - 0.1),
            ],
            RED_LIGHT,
        )
    _wheels(b, (-0.36 * l, -0.25 * l, -0.14 * l), w, h, 0.47)
    b.box((0.36 * l, 0.38 * l), (-w / 2 + 0.5, w / 2 - 0.5), (-h / 2, deck - 0.3), STEEL)


def construction(b: Builder, l: float, w: float, h: float, rng: np.random.Generator, parked: bool) -> None:
    """A digger on tracks if it stands, a wheel loader if it drives."""
    yellow = (20 + float(rng.uniform(0, 30)), 150 + float(rng.uniform(0, 45)), 225 + float(rng.uniform(0, 25)))
    (_digger if parked else _loader)(b, l, w, h, yellow)


def _digger(b: Builder, l: float, w: float, h: float, yellow: tuple) -> None:
    """Tracks, a turntable with engine and cab, an arm in two parts, a bucket."""
    low = -h / 2
    track = [(-0.3, 0), (0.2, 0), (0.28, 0.35), (0.2, 0.75), (-0.3, 0.75), (-0.38, 0.35)]
    for y in (-w / 2, w / 2 - 0.55):
        b.prism(_outline(track, l, low), y, y + 0.55, TYRE)
    b.box((-0.45 * l, 0.12 * l), (-w / 2 + 0.1, w / 2 - 0.1), (low + 0.8, low + 1.75), yellow, (0, 0.15, 0, 0))
    cab = (-0.12 * l, 0.13 * l), (0.05, w / 2 - 0.1), (low + 1.75, h / 2 - 0.05)
    front, _, left, right = b.box(*cab, yellow, (0.25, 0, 0.05, 0.05))
    for side in (front, left, right):
        b.panel(side, (0.1, 0.9), (0.12, 0.9), GLASS)
    shoulder, elbow, tip = (0.1 * l, low + 1.5), (0.33 * l, h / 2 - 0.05), (0.46 * l, low + 0.6)
    for (x0, z0), (x1, z1) in ((shoulder, elbow), (elbow, tip)):
        b.prism(np.array([(x0, z0), (x0 + 0.3, z0), (x1 + 0.12, z1), (x1 - 0.15, z1 - 0.1)]), -0.6, -0.25, yellow)
    b.prism(_outline([(0.36, 0.05), (0.5, 0.2), (0.5, 0.7), (0.4, 0.75)], l, low), -0.9, 0.05, STEEL)


def _loader(b: Builder, l: float, w: float, h: float, yellow: tuple) -> None:
    """Four big wheels, engine, cab, lifting arms and a shovel."""
    low = -h / 2
    b.box((-0.5 * l, 0.2 * l), (-w / 2 + 0.35, w / 2 - 0.35), (low + 0.6, low + 1.6), yellow, (0.1, 0.3, 0, 0))
    cab = (-0.15 * l, 0.14 * l), (-0.65, 0.65), (low + 1.6, h / 2)
    for side in b.box(*cab, yellow, (0.1, 0.1, 0.05, 0.05)):
        b.panel(side, (0.1, 0.9), (0.1, 0.85), GLASS)
    b.prism(_outline([(0.1, 1.2), (0.12, 1.5), (0.42, 0.7), (0.4, 0.45)], l, low), -0.5, 0.5, yellow)
    b.prism(_outline([(0.36, 0.15), (0.5, 0.1), (0.44, 1.1), (0.36, 0.9)], l, low), -w / 2, w / 2, STEEL)
    _wheels(b, (-0.3 * l, 0.22 * l), w, h, 0.72, yellow)


def _outline(points: list[tuple], length: float, low: float) -> np.ndarray:
    """A side view: x in shares of the length, z in metres above the ground."""
    return np.array([(x * length, low + z) for x, z in points])


def _lamps(b: Builder, l: float, w: float, rear: float, front: float, width: float, height: float) -> None:
    """Headlamps and tail lamps, low at the corners of a vehicle."""
    for side in (1, -1):
        outer, inner = side * (w / 2 - 0.08), side * (w / 2 - 0.08 - width)
        for x, z, colour in ((l / 2 + 0.012, front, WHITE_LIGHT), (-l / 2 - 0.012, rear, RED_LIGHT)):
            corners = np.array([(x, outer, z), (x, inner, z), (x, inner, z + height), (x, outer, z + height)])
            b.face(corners, corners.mean(0) - (np.sign(x), 0, 0), colour, 0.45)


def _wheels(b: Builder, axles: tuple, w: float, h: float, radius: float, rim: tuple = (150, 150, 152)) -> None:
    for x in axles:
        for side in (1, -1):
            b.wheel(x, side * (w / 2 - 0.005), -h / 2 + radius, radius, side, rim)
            y = (side * (w / 2 - 0.01), side * (w / 2 - 0.25))
            b.box((x - 0.9 * radius, x + 0.9 * radius), y, (-h / 2, -h / 2 + radius * 0.7), TYRE)


MAKERS: dict[str, Callable] = {
    "car": car,
    "truck": truck,
    "bus": bus,
    "trailer": trailer,
    "construction": construction,
    "motorcycle": motorcycle,
    "bicycle": bicycle,
    "adult": person,
    "child": person,
    "worker": worker,
    "barrier": barrier,
    "cone": cone,
}


def mesh_of(actor: Actor) -> Mesh:
    """Builds the body of an actor inside its annotated box."""
    builder = Builder()
    MAKERS[actor.kind](builder, *actor.size, np.random.default_rng(actor.looks), actor.parked)
    return builder.build()
