"""The bodies of the ten classes: how a car, a truck, a bus, a digger, a person .. is put together from faces.

Every maker draws into a box of length l, width w, height h (m) around the origin: x forward, y left, z up.
"""

# ruff: noqa: E741  (l, w, h reads better here than any longer word)

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .actors import Actor
from .shapes import AMBER, GLASS, RED_LIGHT, SKINS, STEEL, TYRE, WHITE_LIGHT, Builder, Mesh, paint


def car(b: Builder, l: float, w: float, h: float, rng: np.random.Generator, parked: bool) -> None:
    """A sedan, hatchback, estate, van or pick-up: body, cabin with windows, wheels, lamps."""
    colour, floor, radius = paint(rng), -h / 2 + 0.19, 0.33
    style = rng.choice(["sedan", "hatch", "estate", "van", "pickup"], p=[0.3, 0.25, 0.25, 0.12, 0.08])
    belt = -h / 2 + h * {"sedan": 0.56, "hatch": 0.56, "estate": 0.56, "van": 0.5, "pickup": 0.5}[style]
    nose = belt - {"van": 0.0}.get(style, 0.12)
    profile = np.array([(-l / 2 + 0.05, floor), (l / 2 - 0.06, floor), (l / 2, floor + 0.25), (l / 2 - 0.04, nose - 0.03),
                        (l / 2 - 0.25 * l, belt), (-l / 2 + 0.12, belt), (-l / 2, floor + 0.35)])
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
    b.plate([(l / 2 + 0.01, -0.26, floor + 0.1), (l / 2 + 0.01, 0.26, floor + 0.1),
             (l / 2 + 0.01, 0.26, floor + 0.22), (l / 2 + 0.01, -0.26, floor + 0.22)], (205, 210, 210))


def truck(b: Builder, l: float, w: float, h: float, rng: np.random.Generator, parked: bool) -> None:
    """A lorry: cab in front, box, tank or open bed behind."""
    cab, load = paint(rng), paint(rng)
    floor, deck, split = -h / 2 + 0.4, -h / 2 + 0.95, l / 2 - 0.27 * l
    front, _, left, right = b.box((split, l / 2), (-w / 2 + 0.05, w / 2 - 0.05), (floor, h / 2 - 0.15 * h), cab,
                                  (0.25, 0, 0.06, 0.06))
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
        b.plate([(x - 0.6, y, floor + 0.1), (x + 0.6, y, floor + 0.1), (x + 0.6, y, h / 2 - 0.6), (x - 0.6, y, h / 2 - 0.6)],
                (70, 62, 58))
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
        b.plate([(-l / 2 - 0.01, y, deck - 0.25), (-l / 2 - 0.01, y + 0.25, deck - 0.25), (-l / 2 - 0.01, y + 0.25, deck - 0.1),
                 (-l / 2 - 0.01, y, deck - 0.1)], RED_LIGHT)
    _wheels(b, (-0.36 * l, -0.25 * l, -0.14 * l), w, h, 0.47)
    b.box((0.36 * l, 0.38 * l), (-w / 2 + 0.5, w / 2 - 0.5), (-h / 2, deck - 0.3), STEEL)


def construction(b: Builder, l: float, w: float, h: float, rng: np.random.Generator, parked: bool) -> None:
    """A digger on tracks if it stands, a wheel loader if it drives."""
    yellow = (20 + float(rng.uniform(0, 30)), 150 + float(rng.uniform(0, 45)), 225 + float(rng.uniform(0, 25)))
    if parked:
        for y in (-w / 2, w / 2 - 0.55):
            b.prism(np.array([(-0.3 * l, -h / 2), (0.2 * l, -h / 2), (0.28 * l, -h / 2 + 0.35), (0.2 * l, -h / 2 + 0.75),
                              (-0.3 * l, -h / 2 + 0.75), (-0.38 * l, -h / 2 + 0.35)]), y, y + 0.55, TYRE)
        b.box((-0.45 * l, 0.12 * l), (-w / 2 + 0.1, w / 2 - 0.1), (-h / 2 + 0.8, -h / 2 + 1.75), yellow, (0, 0.15, 0, 0))
        front, _, left, right = b.box((-0.12 * l, 0.13 * l), (0.05, w / 2 - 0.1), (-h / 2 + 1.75, h / 2 - 0.05), yellow,
                                      (0.25, 0, 0.05, 0.05))
        for side in (front, left, right):
            b.panel(side, (0.1, 0.9), (0.12, 0.9), GLASS)
        shoulder, elbow, tip = (0.1 * l, -h / 2 + 1.5), (0.33 * l, h / 2 - 0.05), (0.46 * l, -h / 2 + 0.6)
        for (x0, z0), (x1, z1) in ((shoulder, elbow), (elbow, tip)):
            b.prism(np.array([(x0, z0), (x0 + 0.3, z0), (x1 + 0.12, z1), (x1 - 0.15, z1 - 0.1)]), -0.6, -0.25, yellow)
        b.prism(np.array([(0.36 * l, -h / 2 + 0.05), (0.5 * l, -h / 2 + 0.2), (0.5 * l, -h / 2 + 0.7), (0.4 * l, -h / 2 + 0.75)]),
                -0.9, 0.05, STEEL)
        return
    b.box((-0.5 * l, 0.2 * l), (-w / 2 + 0.35, w / 2 - 0.35), (-h / 2 + 0.6, -h / 2 + 1.6), yellow, (0.1, 0.3, 0, 0))
    front, rear, left, right = b.box((-0.15 * l, 0.14 * l), (-0.65, 0.65), (-h / 2 + 1.6, h / 2), yellow, (0.1, 0.1, 0.05, 0.05))
    for side in (front, rear, left, right):
        b.panel(side, (0.1, 0.9), (0.1, 0.85), GLASS)
    b.prism(np.array([(0.1 * l, -h / 2 + 1.2), (0.12 * l, -h / 2 + 1.5), (0.42 * l, -h / 2 + 0.7), (0.4 * l, -h / 2 + 0.45)]),
            -0.5, 0.5, yellow)
    b.prism(np.array([(0.36 * l, -h / 2 + 0.15), (0.5 * l, -h / 2 + 0.1), (0.44 * l, -h / 2 + 1.1), (0.36 * l, -h / 2 + 0.9)]),
            -w / 2, w / 2, STEEL)
    _wheels(b, (-0.3 * l, 0.22 * l), w, h, 0.72, yellow)


def motorcycle(b: Builder, l: float, w: float, h: float, rng: np.random.Generator, parked: bool) -> None:
    """A motorcycle, with a rider unless it is parked."""
    ground, colour = -h / 2, paint(rng)
    for x in (-0.33 * l, 0.34 * l):
        for side in (1, -1):
            b.wheel(x, side * 0.07, ground + 0.31, 0.31, side)
    b.box((-0.3 * l, 0.26 * l), (-0.16, 0.16), (ground + 0.3, ground + 0.72), tuple(0.5 * c for c in colour))
    b.box((0.0, 0.26 * l), (-0.19, 0.19), (ground + 0.68, ground + 0.92), colour, (0.1, 0.1, 0.03, 0.03))
    b.box((-0.4 * l, 0.02 * l), (-0.14, 0.14), (ground + 0.7, ground + 0.82), (35, 32, 30))
    b.box((0.27 * l, 0.32 * l), (-w / 2, w / 2), (ground + 0.95, ground + 1.02), STEEL)
    b.plate([(0.35 * l, -0.1, ground + 0.75), (0.35 * l, 0.1, ground + 0.75), (0.35 * l, 0.1, ground + 0.93),
             (0.35 * l, -0.1, ground + 0.93)], WHITE_LIGHT)
    if not parked:
        _rider(b, -0.12 * l, ground + 0.8, h / 2, rng, helmet=paint(rng))


def bicycle(b: Builder, l: float, w: float, h: float, rng: np.random.Generator, parked: bool) -> None:
    """A bicycle, with a rider unless it is parked."""
    ground, colour = -h / 2, paint(rng)
    for x in (-0.31 * l, 0.31 * l):
        angle = np.arange(8) * np.pi / 4
        ring = np.stack([x + 0.33 * np.cos(angle), 0 * angle, ground + 0.33 + 0.33 * np.sin(angle)], 1)
        for k in range(8):  # a rim one sees through
            n = (k + 1) % 8
            hub = np.array([x, 0, ground + 0.33])
            b.plate([ring[k], ring[n], hub + 0.8 * (ring[n] - hub), hub + 0.8 * (ring[k] - hub)], TYRE)
    joints = {"rear": (-0.31 * l, 0.33), "crank": (-0.02 * l, 0.3), "seat": (-0.12 * l, 0.85), "head": (0.22 * l, 0.85),
              "front": (0.31 * l, 0.33)}
    for a, c in (("rear", "crank"), ("rear", "seat"), ("crank", "seat"), ("seat", "head"), ("crank", "head"), ("head", "front")):
        (x0, z0), (x1, z1) = joints[a], joints[c]
        b.plate([(x0, 0, ground + z0 - 0.03), (x1, 0, ground + z1 - 0.03), (x1, 0, ground + z1 + 0.03),
                 (x0, 0, ground + z0 + 0.03)], colour)
    b.box((-0.2 * l, -0.06 * l), (-0.07, 0.07), (ground + 0.87, ground + 0.94), TYRE)
    b.box((0.2 * l, 0.25 * l), (-w / 2 + 0.02, w / 2 - 0.02), (ground + 0.95, ground + 1.0), STEEL)
    if not parked:
        _rider(b, -0.1 * l, ground + 0.88, h / 2, rng, helmet=paint(rng) if rng.random() < 0.6 else None)


def person(b: Builder, l: float, w: float, h: float, rng: np.random.Generator, parked: bool, vest: tuple | None = None) -> None:
    """A person: legs apart in mid-step, body, arms, head with hair."""
    ground, shirt, trousers = -h / 2, vest or paint(rng), tuple(0.5 * c for c in paint(rng))
    skin, hair = SKINS[rng.integers(len(SKINS))], [(20, 20, 25), (30, 45, 70), (60, 110, 150), (110, 110, 112)][rng.integers(4)]
    stride, hip, neck = 0.3 * l * (0.3 if parked else 1.0), ground + 0.48 * h, ground + 0.83 * h
    for side, step in ((1, stride), (-1, -stride)):
        y0, y1 = (0.02 * side, 0.24 * side * w * 1.2)
        b.prism(np.array([(step - 0.08, ground + 0.04), (step + 0.12, ground + 0.04), (0.09, hip), (-0.09, hip)]), y0, y1, trousers)
        b.box((step - 0.09, step + 0.17), (y0, y1), (ground, ground + 0.08), (30, 30, 32))
        b.prism(np.array([(-step - 0.05, hip - 0.02), (-step + 0.06, hip - 0.02), (0.06, neck - 0.05), (-0.06, neck - 0.05)]),
                side * (w / 2 - 0.13), side * (w / 2 - 0.02), shirt)
    b.box((-0.13, 0.13), (-w / 2 + 0.12, w / 2 - 0.12), (hip - 0.05, neck), shirt, (0.02, 0.02, 0.05, 0.05))
    if vest:
        b.box((-0.135, 0.135), (-w / 2 + 0.115, w / 2 - 0.115), (hip + 0.2, hip + 0.27), (225, 230, 230))
    b.box((-0.1, 0.11), (-0.09, 0.09), (neck, h / 2 - 0.06), skin)
    b.box((-0.12, 0.09), (-0.1, 0.1), (h / 2 - 0.1, h / 2), (40, 200, 235) if vest else hair, (0.04, 0.03, 0.03, 0.03))
    if not vest and rng.random() < 0.3:
        b.box((-0.27, -0.13), (-0.14, 0.14), (hip + 0.12, neck - 0.04), paint(rng))


def worker(b: Builder, l: float, w: float, h: float, rng: np.random.Generator, parked: bool) -> None:
    """A construction worker in a bright vest and helmet."""
    person(b, l, w, h, rng, parked, vest=[(30, 230, 200), (20, 120, 250)][rng.integers(2)])


def barrier(b: Builder, l: float, w: float, h: float, rng: np.random.Generator, parked: bool) -> None:
    """A road barrier: a concrete or plastic wall, or striped boards on feet. Its long side is its width."""
    if rng.random() < 0.5:
        colour = [(50, 60, 215), (225, 228, 230), (165, 168, 170), (30, 120, 240)][rng.integers(4)]
        b.prism(np.array([(-l / 2, -h / 2), (l / 2, -h / 2), (l / 2, -h / 2 + 0.25 * h), (0.18 * l, h / 2), (-0.18 * l, h / 2),
                          (-l / 2, -h / 2 + 0.25 * h)]), -w / 2, w / 2, colour)
        return
    for y in (-0.35 * w, 0.35 * w):
        b.box((-l / 2, l / 2), (y - 0.05, y + 0.05), (-h / 2, -h / 2 + 0.1), STEEL)
        b.box((-0.04, 0.04), (y - 0.05, y + 0.05), (-h / 2, h / 2 - 0.1), STEEL)
    for z0, z1 in ((h / 2 - 0.28, h / 2), (h / 2 - 0.68, h / 2 - 0.4)):
        for k in range(8):
            y = -w / 2 + k * w / 8
            b.box((-0.05, 0.05), (y, y + w / 8), (z0, z1), (40, 50, 215) if k % 2 else (230, 232, 235))


def cone(b: Builder, l: float, w: float, h: float, rng: np.random.Generator, parked: bool) -> None:
    """A traffic cone with two white bands."""
    b.box((-l / 2, l / 2), (-w / 2, w / 2), (-h / 2, -h / 2 + 0.05), (35, 40, 60))
    bands = [(0.05, 0.4, (25, 95, 240)), (0.4, 0.56, (235, 238, 240)), (0.56, 0.72, (25, 95, 240)), (0.72, 0.84, (235, 238, 240)),
             (0.84, 1.0, (25, 95, 240))]
    for low, high, colour in bands:
        r0, r1 = 0.42 * l * (1 - 0.85 * low), 0.42 * l * (1 - 0.85 * high)
        b.box((-r0, r0), (-r0, r0), (-h / 2 + low * h, -h / 2 + high * h), colour, (r0 - r1,) * 4)


def _rider(b: Builder, x: float, seat: float, top: float, rng: np.random.Generator, helmet: tuple | None) -> None:
    jacket, trousers, skin = paint(rng), tuple(0.5 * c for c in paint(rng)), SKINS[rng.integers(len(SKINS))]
    neck = top - 0.26
    for side in (1, -1):
        b.prism(np.array([(x - 0.08, seat - 0.02), (x + 0.08, seat + 0.12), (x + 0.42, seat - 0.08), (x + 0.36, seat - 0.22)]),
                0.06 * side, 0.2 * side, trousers)
        b.prism(np.array([(x + 0.36, seat - 0.2), (x + 0.46, seat - 0.1), (x + 0.3, seat - 0.55), (x + 0.2, seat - 0.55)]),
                0.07 * side, 0.19 * side, trousers)
        b.prism(np.array([(x + 0.1, neck - 0.15), (x + 0.16, neck - 0.04), (x + 0.52, seat + 0.2), (x + 0.48, seat + 0.1)]),
                0.16 * side, 0.26 * side, jacket)
    b.prism(np.array([(x - 0.12, seat - 0.05), (x + 0.12, seat - 0.05), (x + 0.26, neck), (x + 0.02, neck)]), -0.19, 0.19, jacket)
    b.box((x + 0.06, x + 0.27), (-0.1, 0.1), (neck, top), helmet or skin, (0.03, 0.03, 0.03, 0.03))
    if helmet is None:
        b.box((x + 0.04, x + 0.25), (-0.105, 0.105), (top - 0.1, top), (25, 30, 40), (0.04, 0.02, 0.03, 0.03))


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
    "car": car, "truck": truck, "bus": bus, "trailer": trailer, "construction": construction, "motorcycle": motorcycle,
    "bicycle": bicycle, "adult": person, "child": person, "worker": worker, "barrier": barrier, "cone": cone,
}


def mesh_of(actor: Actor) -> Mesh:
    """Builds the body of an actor inside its annotated box."""
    builder = Builder()
    MAKERS[actor.kind](builder, *actor.size, np.random.default_rng(actor.looks), actor.parked)
    return builder.build()
