"""The bodies of people, two-wheelers and small things, put together from faces.

Every maker draws into a box of length l, width w, height h (m) around the origin: x forward, y left, z up.
"""

from __future__ import annotations

import numpy as np

from .shapes import SKINS, STEEL, TYRE, WHITE_LIGHT, Builder, paint


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
    b.plate(
        [
            (0.35 * l, -0.1, ground + 0.75),
            (0.35 * l, 0.1, ground + 0.75),
            (0.35 * l, 0.1, ground + 0.93),
            (0.35 * l, -0.1, ground + 0.93),
        ],
        WHITE_LIGHT,
    )
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
    joints = {
        "rear": (-0.31 * l, 0.33),
        "crank": (-0.02 * l, 0.3),
        "seat": (-0.12 * l, 0.85),
        "head": (0.22 * l, 0.85),
        "front": (0.31 * l, 0.33),
    }
    for a, c in (
        ("rear", "crank"),
        ("rear", "seat"),
        ("crank", "seat"),
        ("seat", "head"),
        ("crank", "head"),
        ("head", "front"),
    ):
        (x0, z0), (x1, z1) = joints[a], joints[c]
        b.plate(
            [
                (x0, 0, ground + z0 - 0.03),
                (x1, 0, ground + z1 - 0.03),
                (x1, 0, ground + z1 + 0.03),
                (x0, 0, ground + z0 + 0.03),
            ],
            colour,
        )
    b.box((-0.2 * l, -0.06 * l), (-0.07, 0.07), (ground + 0.87, ground + 0.94), TYRE)
    b.box((0.2 * l, 0.25 * l), (-w / 2 + 0.02, w / 2 - 0.02), (ground + 0.95, ground + 1.0), STEEL)
    if not parked:
        _rider(b, -0.1 * l, ground + 0.88, h / 2, rng, helmet=paint(rng) if rng.random() < 0.6 else None)


def person(
    b: Builder, l: float, w: float, h: float, rng: np.random.Generator, parked: bool, vest: tuple | None = None
) -> None:
    """A person: legs apart in mid-step, body, arms, head with hair."""
    ground, shirt, trousers = -h / 2, vest or paint(rng), tuple(0.5 * c for c in paint(rng))
    skin, hair = (
        SKINS[rng.integers(len(SKINS))],
        [(20, 20, 25), (30, 45, 70), (60, 110, 150), (110, 110, 112)][rng.integers(4)],
    )
    stride, hip, neck = 0.3 * l * (0.3 if parked else 1.0), ground + 0.48 * h, ground + 0.83 * h
    for side, step in ((1, stride), (-1, -stride)):
        y0, y1 = (0.02 * side, 0.24 * side * w * 1.2)
        b.prism(
            np.array([(step - 0.08, ground + 0.04), (step + 0.12, ground + 0.04), (0.09, hip), (-0.09, hip)]),
            y0,
            y1,
            trousers,
        )
        b.box((step - 0.09, step + 0.17), (y0, y1), (ground, ground + 0.08), (30, 30, 32))
        b.prism(
            np.array(
                [(-step - 0.05, hip - 0.02), (-step + 0.06, hip - 0.02), (0.06, neck - 0.05), (-0.06, neck - 0.05)]
            ),
            side * (w / 2 - 0.13),
            side * (w / 2 - 0.02),
            shirt,
        )
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
        b.prism(
            np.array(
                [
                    (-l / 2, -h / 2),
                    (l / 2, -h / 2),
                    (l / 2, -h / 2 + 0.25 * h),
                    (0.18 * l, h / 2),
                    (-0.18 * l, h / 2),
                    (-l / 2, -h / 2 + 0.25 * h),
                ]
            ),
            -w / 2,
            w / 2,
            colour,
        )
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
    bands = [
        (0.05, 0.4, (25, 95, 240)),
        (0.4, 0.56, (235, 238, 240)),
        (0.56, 0.72, (25, 95, 240)),
        (0.72, 0.84, (235, 238, 240)),
        (0.84, 1.0, (25, 95, 240)),
    ]
    for low, high, colour in bands:
        r0, r1 = 0.42 * l * (1 - 0.85 * low), 0.42 * l * (1 - 0.85 * high)
        b.box((-r0, r0), (-r0, r0), (-h / 2 + low * h, -h / 2 + high * h), colour, (r0 - r1,) * 4)


def _rider(b: Builder, x: float, seat: float, top: float, rng: np.random.Generator, helmet: tuple | None) -> None:
    jacket, trousers, skin = paint(rng), tuple(0.5 * c for c in paint(rng)), SKINS[rng.integers(len(SKINS))]
    neck = top - 0.26
    for side in (1, -1):
        b.prism(
            np.array(
                [(x - 0.08, seat - 0.02), (x + 0.08, seat + 0.12), (x + 0.42, seat - 0.08), (x + 0.36, seat - 0.22)]
            ),
            0.06 * side,
            0.2 * side,
            trousers,
        )
        b.prism(
            np.array([(x + 0.36, seat - 0.2), (x + 0.46, seat - 0.1), (x + 0.3, seat - 0.55), (x + 0.2, seat - 0.55)]),
            0.07 * side,
            0.19 * side,
            trousers,
        )
        b.prism(
            np.array([(x + 0.1, neck - 0.15), (x + 0.16, neck - 0.04), (x + 0.52, seat + 0.2), (x + 0.48, seat + 0.1)]),
            0.16 * side,
            0.26 * side,
            jacket,
        )
    b.prism(
        np.array([(x - 0.12, seat - 0.05), (x + 0.12, seat - 0.05), (x + 0.26, neck), (x + 0.02, neck)]),
        -0.19,
        0.19,
        jacket,
    )
    b.box((x + 0.06, x + 0.27), (-0.1, 0.1), (neck, top), helmet or skin, (0.03, 0.03, 0.03, 0.03))
    if helmet is None:
        b.box((x + 0.04, x + 0.25), (-0.105, 0.105), (top - 0.1, top), (25, 30, 40), (0.04, 0.02, 0.03, 0.03))
