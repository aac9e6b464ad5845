"""Who and what is on the street: the kinds of actors, their sizes, and those that stand still.

Sizes are length, width, height in metres, as nuScenes annotates them on average.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .streets import DIRECTIONS, PARK, Streets, right_of


@dataclass(frozen=True)
class Kind:
    """One kind of actor: its nuScenes category, mean size (m), spread of the size, cruising speed (m/s)."""

    category: str
    size: tuple[float, float, float]
    spread: float = 0.06
    speed: tuple[float, float] = (0.0, 0.0)


KINDS = {
    "car": Kind("vehicle.car", (4.6, 1.9, 1.65), 0.06, (8.5, 13.5)),
    "truck": Kind("vehicle.truck", (7.2, 2.4, 3.0), 0.07, (7.5, 11.0)),
    "bus": Kind("vehicle.bus.rigid", (11.2, 2.7, 3.4), 0.04, (7.0, 10.0)),
    "trailer": Kind("vehicle.trailer", (9.5, 2.5, 3.6), 0.07),
    "construction": Kind("vehicle.construction", (6.0, 2.5, 3.0), 0.05, (5.0, 7.5)),
    "motorcycle": Kind("vehicle.motorcycle", (2.1, 0.8, 1.55), 0.05, (8.0, 13.0)),
    "bicycle": Kind("vehicle.bicycle", (1.75, 0.62, 1.65), 0.05, (3.5, 6.0)),
    "adult": Kind("human.pedestrian.adult", (0.68, 0.66, 1.75), 0.05, (0.9, 1.7)),
    "child": Kind("human.pedestrian.child", (0.5, 0.5, 1.3), 0.08, (0.8, 1.5)),
    "worker": Kind("human.pedestrian.construction_worker", (0.7, 0.7, 1.78), 0.04, (0.5, 1.0)),
    "barrier": Kind("movable_object.barrier", (0.5, 2.4, 1.0), 0.04),
    "cone": Kind("movable_object.trafficcone", (0.42, 0.42, 0.95), 0.12),
}
VEHICLES = ("car", "truck", "bus", "trailer", "construction", "motorcycle", "bicycle")


@dataclass(frozen=True)
class Actor:
    """One annotated thing: its kind, true size (length, width, height in m) and looks."""

    kind: str
    size: tuple[float, float, float]
    looks: int  # seeds shape variant and colours
    parked: bool = False  # stands for the whole scene, without a rider


def make_actor(kind: str, rng: np.random.Generator, parked: bool = False) -> Actor:
    """Brings one actor of a kind to life, with its own size and looks."""
    spec = KINDS[kind]
    common, *own = rng.standard_normal(4).clip(-2, 2) * spec.spread
    size = np.asarray(spec.size) * (1 + common) * (1 + 0.4 * np.array(own))
    if kind in ("motorcycle", "bicycle") and parked:
        size[2] *= 0.68  # nobody sits on it
    return Actor(kind, tuple(round(float(s), 3) for s in size), int(rng.integers(2**31)), parked)


@dataclass(frozen=True)
class Standing:
    """An actor that keeps its place: world x, y (m) and yaw (radians)."""

    actor: Actor
    pose: tuple[float, float, float]


def standing_actors(streets: Streets, rng: np.random.Generator) -> list[Standing]:
    """Parks vehicles along the kerbs, sets up road works and leaves bicycles on the sidewalks."""
    found: list[Standing] = []
    for start, end, arm, road in streets.stretches():
        length = float(np.linalg.norm(end - start))
        for side in (1, -1):  # right of `arm`, then left of it, where traffic runs the other way
            ahead = DIRECTIONS[arm] * side
            origin = (start if side == 1 else end) + right_of(ahead) * (road.half - PARK / 2)
            strip = _Strip(streets, origin, ahead, length)
            works = False
            if road.parking:
                works = rng.random() < 0.25 and length > 34
                found += _road_works(strip, rng) if works else []
                found += _parked_row(strip, rng, 31.0 if works else 2.0)
            if not works:
                found += _left_bicycles(strip, rng, PARK / 2 + 0.6)
    return found


@dataclass(frozen=True)
class _Strip:
    """A straight strip of the plan along a kerb: where things stand in a row."""

    streets: Streets
    origin: np.ndarray
    ahead: np.ndarray
    length: float

    def put(self, actor: Actor, along: float, side: float = 0.0, turned: float = 0.0) -> Standing:
        """Stands an actor `along` metres down the strip, `side` metres to its right."""
        point = self.origin + self.ahead * along + right_of(self.ahead) * side
        yaw = self.streets.place.heading(point, self.ahead) + turned
        return Standing(actor, (*map(float, self.streets.place(point)), yaw))


def _parked_row(strip: _Strip, rng: np.random.Generator, first: float) -> list[Standing]:
    found, along = [], first + float(rng.exponential(4.0))
    crowd = rng.uniform(40.0, 120.0)
    while True:
        kind = str(rng.choice(["car", "truck", "trailer", "motorcycle", "bus"], p=[0.84, 0.07, 0.04, 0.03, 0.02]))
        actor = make_actor(kind, rng, parked=True)
        if along + actor.size[0] + 1.0 > strip.length:
            return found
        turned = (np.pi if rng.random() < 0.12 else 0.0) + 0.02 * rng.standard_normal()
        found.append(strip.put(actor, along + actor.size[0] / 2, float(rng.uniform(-0.1, 0.15)), turned))
        along += actor.size[0] + 0.8 + float(rng.exponential(crowd))


def _road_works(strip: _Strip, rng: np.random.Generator) -> list[Standing]:
    """Closes 26 m of the strip: a row of cones, barriers along the traffic, a digger and workers behind them."""
    found = [strip.put(make_actor("cone", rng), 1.0 + 1.3 * k, PARK / 2 - 0.2 - 0.45 * k) for k in range(5)]
    found += [
        strip.put(make_actor("barrier", rng), 9.0 + 2.7 * k, -PARK / 2 + 0.3, np.pi / 2 + 0.03 * float(e))
        for k, e in enumerate(rng.standard_normal(6))
    ]
    found += [strip.put(make_actor("cone", rng), 26.0 + 0.9 * k, -PARK / 2 + 0.4 + 0.7 * k) for k in range(3)]
    digger = make_actor("construction", rng, parked=True)
    found.append(strip.put(digger, 16.0, 0.35 + digger.size[1] / 2 - PARK / 2 + 0.7, 0.05 * float(rng.normal())))
    for _ in range(int(rng.integers(1, 4))):
        found.append(
            strip.put(
                make_actor("worker", rng, parked=True),
                float(rng.uniform(20.5, 25)),
                float(rng.uniform(-0.2, 2.5)),
                float(rng.uniform(0, 6.28)),
            )
        )
    return found


def _left_bicycles(strip: _Strip, rng: np.random.Generator, side: float) -> list[Standing]:
    """Leaves a few bicycles and motorcycles standing at the sidewalk's edge."""
    if rng.random() > 0.06:
        return []
    along = float(rng.uniform(3, max(4.0, strip.length - 6)))
    kind = "bicycle" if rng.random() < 0.7 else "motorcycle"
    turned = np.pi / 2 + 0.15 * float(rng.normal())
    return [
        strip.put(make_actor(kind, rng, parked=True), along + 1.1 * k, side + 0.5, turned)
        for k in range(int(rng.integers(1, 4)))
    ]
