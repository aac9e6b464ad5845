"""The traffic runs: vehicles follow lanes, leaders, lights and each other's right of way; pedestrians walk and cross.

Vehicles keep their distance by the intelligent driver model (Treiber, Hennecke, Helbing 2000). A junction is entered
only with a reservation, given when no turn that conflicts is taken and nobody walks on the zebras: that, and not luck,
keeps vehicles from driving through one another. Metres, seconds, radians.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import accumulate
from math import inf

import numpy as np

from .actors import KINDS, Actor, make_actor
from .streets import EXTENT, Streets, Walk, arc_length

STEP = 0.1
HITCH = 0.8  # m between a truck and its trailer
WARM_UP = 8.0  # the traffic runs this long before anybody looks
GREEN, CYCLE = 8.0, 20.0  # a light's green time for each axis, and the time after which it repeats
GAP, BIKE_GAP = 85.0, 350.0  # mean free way between vehicles and between bicycles at the start, m
PATIENCE = 3.0  # who waits this much longer goes first
BRAKE = 1.8  # m/s2 before curves
SIDE_PULL = 2.4  # sideways acceleration in turns, m/s2


@dataclass(eq=False)
class Vehicle:
    """One driver: the bodies it moves (a truck may pull a trailer), its route, and where it is on it."""

    bodies: list[Actor]
    lanes: list[int]
    starts: list[float]  # route metres at which each lane begins, and the end of the last
    along: np.ndarray  # route metres of each route point
    points: np.ndarray  # [n 2]
    limit: list[float]  # highest speed at every whole metre of the route
    front: float  # route metres of the front bumper
    speed: float
    granted: dict[int, float] = field(default_factory=dict)  # turns reserved, and their starts in route metres
    history: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.length = sum(body.size[0] for body in self.bodies) + HITCH * (len(self.bodies) - 1)

    def lane_at(self, along: float) -> int:
        """Which lane of the route a point of the route is on."""
        return min(max(bisect_right(self.starts, along) - 1, 0), len(self.lanes) - 1)

    def poses(self) -> list[np.ndarray]:
        """Where each body was at every step: [T 3] x, y, yaw. Axles follow the route, so bodies cut corners."""
        found, front = [], np.asarray(self.history)
        for body in self.bodies:
            length = body.size[0]
            nose, tail = (self._at(front - length / 2 + sign * 0.3 * length) for sign in (1, -1))
            heading = np.unwrap(np.arctan2(*(nose - tail).T[::-1]))
            found.append(np.column_stack([(nose + tail) / 2, heading]))
            front = front - length - HITCH
        return found

    def _at(self, along: np.ndarray) -> np.ndarray:
        return np.stack([np.interp(along, self.along, self.points[:, k]) for k in (0, 1)], 1)


@dataclass
class Walker:
    """One pedestrian on a chain of sidewalks and zebras, keeping to its own side of them."""

    actor: Actor
    along: np.ndarray
    points: np.ndarray
    spans: list[tuple[float, float, int]]  # route metres from, to, and the zebra's number or -1
    at: float
    pace: float
    span: int = 0
    history: list[float] = field(default_factory=list)

    def poses(self) -> np.ndarray:
        """Where it was at every step: [T 3] x, y, yaw."""
        at = np.asarray(self.history)
        here, ahead, behind = (
            np.stack([np.interp(at + d, self.along, self.points[:, k]) for k in (0, 1)], 1) for d in (0, 0.4, -0.4)
        )
        return np.column_stack([here, np.unwrap(np.arctan2(*(ahead - behind).T[::-1]))])


class Traffic:
    """Everybody who moves in one town. Vehicle 0 carries the cameras."""

    def __init__(self, streets: Streets, rng: np.random.Generator, duration: float) -> None:
        self.streets, self.rng, self.seconds = streets, rng, duration + WARM_UP
        self.time = -WARM_UP
        self.taken: dict[int, list[tuple[Vehicle, float]]] = {}  # turn -> who is on it or about to be, and its start
        self.blocked: dict[int, int] = {}  # zebra -> reserved turns over it
        self.waiting: dict[int, float] = {}  # turn -> since when somebody has been waiting for it
        self.walked: dict[int, int] = {}  # zebra -> pedestrians on it
        self.vehicles = [self._ego()]
        self._fill_lanes()
        self.walkers = self._fill_sidewalks()

    def run(self, duration: float) -> None:
        """Warms the traffic up and records it for `duration` seconds, every STEP, from time 0 on."""
        for step in range(round((WARM_UP + duration) / STEP) + 1):
            self.time = step * STEP - WARM_UP
            if self.time >= -1e-6:
                for vehicle in self.vehicles:
                    vehicle.history.append(vehicle.front)
                for walker in self.walkers:
                    walker.history.append(walker.at)
            self._drive()
            self._walk()

    # ------------------------------------------------------------------ who starts where

    def _vehicle(self, bodies: list[Actor], lane: int, front: float, cruise: float, turns: bool = True) -> Vehicle:
        lanes = self._route(lane, turns, front + self.seconds * cruise + 60)
        parts = [self.streets.lanes[n].points for n in lanes]
        points = np.concatenate([parts[0]] + [p[1:] for p in parts[1:]])
        along = arc_length(points)
        starts = list(accumulate((self.streets.lanes[n].length for n in lanes), initial=0.0))
        limit = _speed_limits(points, along, cruise)
        speed = limit[int(front)] * 0.8
        return Vehicle(bodies, lanes, starts, along, points, limit, front, speed)

    def _route(self, lane: int, turns: bool, reach: float) -> list[int]:
        """Picks the way on at every junction. Long vehicles (turns=False) go straight where they can."""
        route, length = [lane], self.streets.lanes[lane].length
        while length < reach:
            ways = self.streets.lanes[route[-1]].next
            if len(ways) > 1:
                weight = {"straight": 0.5 if turns else 50.0, "left": 0.25, "right": 0.25}
                p = np.array([weight[self.streets.lanes[n].turn] for n in ways])
                way = int(self.rng.choice(ways, p=p / p.sum()))
            else:
                way = ways[0]
            route += [way, self.streets.lanes[way].next[0]]
            length += self.streets.lanes[way].length + self.streets.lanes[route[-1]].length
        return route

    def _ego(self) -> Vehicle:
        """Starts the recording car on a route that turns and stays in the middle of the town."""
        car = Actor("car", (4.08, 1.73, 1.56), 0)
        best, best_score = None, -np.inf
        stretches = [n for n, lane in enumerate(self.streets.lanes) if not lane.turn and not lane.bike]
        for _ in range(60):
            lane = int(self.rng.choice(stretches))
            vehicle = self._vehicle([car], lane, float(self.rng.uniform(8, 20)), float(self.rng.uniform(9.5, 13)))
            seen = vehicle.points[vehicle.along < 6 * self.seconds]
            turns = sum(self.streets.lanes[n].turn in ("left", "right") for n in vehicle.lanes[:6])
            score = min(turns, 2) * 25 - max(0.0, np.linalg.norm(seen - EXTENT / 2, axis=1).max() - 120)
            if score > best_score:
                best, best_score = vehicle, score
        assert best is not None
        return best

    def _fill_lanes(self) -> None:
        """Puts vehicles on every stretch, more of them where the recording car will pass."""
        rng, ego = self.rng, self.vehicles[0]
        seen = ego.points[ego.along < 6 * self.seconds]
        for number, lane in enumerate(self.streets.lanes):
            if lane.turn:
                continue
            away = np.linalg.norm(lane.points[len(lane.points) // 2] - seen, axis=1).min()
            gap = (BIKE_GAP if lane.bike else GAP) * (0.5 if away < 30 else 1.0 if away < 80 else 2.5)
            along = float(rng.uniform(3, 12))
            while True:
                bodies, cruise = _make_bodies(lane.bike, rng)
                length = sum(body.size[0] for body in bodies) + 0.8
                front = along + length
                if front > lane.length - 1:
                    break
                if not (number == ego.lanes[0] and front > ego.front - 9 and along < ego.front + 5):
                    kind = bodies[0].kind
                    turns = kind in ("car", "motorcycle", "bicycle") and len(bodies) == 1
                    self.vehicles.append(self._vehicle(bodies, number, front, cruise, turns))
                along = front + 3 + float(rng.exponential(gap))

    def _fill_sidewalks(self) -> list[Walker]:
        rng, streets, walkers = self.rng, self.streets, []
        leaving: dict[int, list[tuple[Walk, int]]] = {}
        for walk in streets.walks:
            for a, b in (walk.ends, walk.ends[::-1]):
                leaving.setdefault(a, []).append((walk, b))
        for walk in streets.walks:
            if walk.crossing >= 0:
                continue
            central = np.linalg.norm(walk.points.mean(0) - EXTENT / 2) < 130
            for _ in range(int(rng.poisson(2.2 if central else 0.7))):
                actor = make_actor("child" if rng.random() < 0.1 else "adult", rng)
                pace = 0.0 if rng.random() < 0.12 else float(rng.uniform(*KINDS[actor.kind].speed))
                walkers.append(self._walker(actor, pace, walk, leaving))
        return walkers

    def _walker(self, actor: Actor, pace: float, walk: Walk, leaving: dict) -> Walker:
        rng, target = self.rng, walk.ends[1]
        parts, spans, length = [walk.points], [(0.0, arc_length(walk.points)[-1], walk.crossing)], 0.0
        last = walk
        while length < 1.3 * pace * self.seconds + 3:
            ways = [(w, b) for w, b in leaving[target] if w is not last]
            weight = np.array([0.12 if w.crossing >= 0 else 1.0 for w, _ in ways])
            pick, end = ways[int(rng.choice(len(ways), p=weight / weight.sum()))]
            parts.append((pick.points if pick.ends[1] == end else pick.points[::-1])[1:])
            length = spans[-1][1] + arc_length(pick.points)[-1]
            spans.append((spans[-1][1], length, pick.crossing))
            last, target = pick, end
        points = np.concatenate(parts)
        along = arc_length(points)
        points = _beside(points, float(rng.uniform(-0.9, 0.9)))
        return Walker(actor, along, points, spans, float(rng.uniform(0, spans[0][1])), pace)

    # ------------------------------------------------------------------ one step

    def _drive(self) -> None:
        occupants = self._occupants()
        pulls = [self._acceleration(n, vehicle, occupants) for n, vehicle in enumerate(self.vehicles)]
        for vehicle, pull in zip(self.vehicles, pulls):
            speed = max(0.0, vehicle.speed + pull * STEP)
            vehicle.front += (vehicle.speed + speed) / 2 * STEP
            vehicle.speed = speed
            self._release(vehicle)

    def _occupants(self) -> dict[int, list[tuple[float, float, float, int]]]:
        """Lists for every lane who covers a part of it: rear and front in lane metres, speed, vehicle number."""
        found: dict[int, list[tuple[float, float, float, int]]] = {}
        for number, vehicle in enumerate(self.vehicles):
            rear, front = vehicle.front - vehicle.length, vehicle.front
            for k in range(vehicle.lane_at(rear), vehicle.lane_at(front) + 1):
                start = vehicle.starts[k]
                found.setdefault(vehicle.lanes[k], []).append((rear - start, front - start, vehicle.speed, number))
        return found

    def _acceleration(self, number: int, vehicle: Vehicle, occupants: dict) -> float:
        """Decides how to push the pedals: m/s2 by the intelligent driver model."""
        speed, front = vehicle.speed, vehicle.front
        wish = vehicle.limit[int(front)]
        if speed > wish:
            pull = -min(3.5, (speed - wish) / 0.4)
        else:
            pull = 1.8 * (1 - (speed / wish) ** 4)
        k = vehicle.lane_at(front)
        gap, lead = inf, 0.0
        while k < len(vehicle.lanes) and vehicle.starts[k] < front + 55:
            lane = vehicle.lanes[k]
            if self.streets.lanes[lane].turn and vehicle.starts[k] > front and lane not in vehicle.granted:
                if not self._reserve(vehicle, k, occupants):
                    gap, lead = min((gap, lead), (vehicle.starts[k] - front + 0.8, 0.0))
                    break
            for rear, nose, other_speed, other in occupants.get(lane, ()):
                if other != number and nose + vehicle.starts[k] > front:
                    gap, lead = min((gap, lead), (rear + vehicle.starts[k] - front, other_speed))
            if gap < inf:
                break
            k += 1
        if gap < inf:
            wanted = 1.8 + max(0.0, speed * 1.1 + speed * (speed - lead) / 4.2)
            pull = min(pull, 1.8 * (1 - (speed / wish) ** 4 - (wanted / max(gap, 0.1)) ** 2))
        return min(max(pull, -7.0), 2.0)

    def _reserve(self, vehicle: Vehicle, k: int, occupants: dict) -> bool:
        """Asks for the right to enter the junction by the k-th lane of the route."""
        number, distance = vehicle.lanes[k], vehicle.starts[k] - vehicle.front
        first = vehicle is self.vehicles[0]  # others let the recording car through from afar: it shall travel
        if distance > (45 if first else 6 + 1.2 * vehicle.speed) + vehicle.speed**2 / 4.2:
            return False
        turn = self.streets.lanes[number]
        light = self.streets.lights[turn.junction]
        room = vehicle.length + 3
        if (light is not None and not _green(self.time + light, turn.axis)) or any(
            rear < room and speed < 2 for rear, _, speed, _ in occupants.get(vehicle.lanes[k + 1], ())
        ):
            self.waiting.pop(number, None)
            return False
        since = self.waiting.setdefault(number, -inf if first else self.time)
        for other, clear in turn.conflicts.items():
            if self.waiting.get(other, inf) < since - PATIENCE:
                return False
            if any(v.front - v.length - start < clear + 0.5 for v, start in self.taken.get(other, ())):
                return False
        if any(self.walked.get(c) for c in turn.crossings):
            return False
        del self.waiting[number]
        vehicle.granted[number] = vehicle.starts[k]
        self.taken.setdefault(number, []).append((vehicle, vehicle.granted[number]))
        for crossing in turn.crossings:
            self.blocked[crossing] = self.blocked.get(crossing, 0) + 1
        return True

    def _release(self, vehicle: Vehicle) -> None:
        rear = vehicle.front - vehicle.length
        for number, start in list(vehicle.granted.items()):
            if rear > start + self.streets.lanes[number].length:
                del vehicle.granted[number]
                self.taken[number].remove((vehicle, start))
                for crossing in self.streets.lanes[number].crossings:
                    self.blocked[crossing] -= 1

    def _walk(self) -> None:
        due = {
            c
            for turn, since in self.waiting.items()
            if since < self.time - PATIENCE
            for c in self.streets.lanes[turn].crossings
        }
        for walker in self.walkers:
            if walker.pace == 0 or walker.span + 1 >= len(walker.spans):
                continue
            end, zebra = walker.spans[walker.span][1:]
            ahead = walker.at + walker.pace * STEP * (1.25 if zebra >= 0 else 1.0)
            if ahead >= end:
                coming = walker.spans[walker.span + 1][2]
                if coming >= 0 and (self.blocked.get(coming) or coming in due):
                    continue  # waits at the kerb
                if zebra >= 0:
                    self.walked[zebra] -= 1
                if coming >= 0:
                    self.walked[coming] = self.walked.get(coming, 0) + 1
                walker.span += 1
            walker.at = ahead


def _green(time: float, axis: int) -> bool:
    """Whether a light shows green to the traffic along this axis of the plan."""
    return 0 <= (time - axis * CYCLE / 2) % CYCLE < GREEN


def _speed_limits(points: np.ndarray, along: np.ndarray, cruise: float) -> list[float]:
    """Highest sensible speed at every whole metre of a route: slow in curves, and slow enough before them."""
    at = np.arange(0.0, along[-1] + 2)
    x, y = (np.interp(at, along, points[:, k]) for k in (0, 1))
    heading = np.unwrap(np.arctan2(np.gradient(y), np.gradient(x)))
    bend = np.convolve(np.pad(np.abs(np.gradient(heading)), 2, mode="edge"), np.ones(5) / 5, mode="valid")
    square = np.minimum(cruise**2, SIDE_PULL / np.maximum(bend, 1e-6))
    # braking at BRAKE, v^2 grows by 2 BRAKE a metre backwards: the lowest such line from any point ahead is the limit
    line = square + 2 * BRAKE * at
    return np.sqrt(np.minimum.accumulate(line[::-1])[::-1] - 2 * BRAKE * at).tolist()


def _make_bodies(bike: bool, rng: np.random.Generator) -> tuple[list[Actor], float]:
    """Rolls the dice for what drives here, and how fast it likes to go."""
    names = ["car", "truck", "bus", "construction", "motorcycle"]
    kind = "bicycle" if bike else str(rng.choice(names, p=[0.77, 0.09, 0.06, 0.03, 0.05]))
    bodies = [make_actor(kind, rng)]
    if kind == "truck" and rng.random() < 0.35:
        bodies.append(make_actor("trailer", rng))
    return bodies, float(rng.uniform(*KINDS[kind].speed))


def _beside(points: np.ndarray, offset: float) -> np.ndarray:
    """Shifts a polyline to its right, smoothly round its corners."""
    tangent = np.gradient(points, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True) + 1e-9
    return points + offset * np.stack([tangent[:, 1], -tangent[:, 0]], 1)
