"""A town is laid out: a bent grid of roads with lanes, junctions, crossings and sidewalks.

The town is planned on a plain rectangular grid and then *placed*: mirrored (left-hand traffic), bent by two long
waves and turned. Planning stays simple while no two towns look alike, and roads curve.

All lengths in metres. A direction is a unit vector on the plan; the right of (x, y) is (y, -x).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

EXTENT = 512.0  # side of the square town
LANE, BIKE, PARK, SIDEWALK = 3.4, 1.6, 2.4, 3.0  # widths
CLEAR = SIDEWALK + 1.0  # lanes end this far before the crossing road's edge: room for the zebra and the stop line
ROADS = 3  # roads in each of the two directions: long blocks, on which traffic flows
DIRECTIONS = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)], float)  # east, north, west, south on the plan


def right_of(direction: np.ndarray) -> np.ndarray:
    """Points to the right-hand side of a direction on the plan."""
    return np.array([direction[1], -direction[0]])


def resample(points: np.ndarray, step: float) -> np.ndarray:
    """Walks along a polyline and notes a point at least every `step` metres."""
    along = arc_length(points)
    count = max(2, int(np.ceil(along[-1] / step)) + 1)
    at = np.linspace(0, along[-1], count)
    return np.stack([np.interp(at, along, points[:, 0]), np.interp(at, along, points[:, 1])], 1)


def arc_length(points: np.ndarray) -> np.ndarray:
    """Measures the way from the first point of a polyline to each of its points."""
    return np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])


@dataclass(frozen=True)
class Road:
    """One road of the plan: its centre line's coordinate and what it is made of, per direction."""

    centre: float
    lanes: int
    bike: bool
    parking: bool

    @property
    def half(self) -> float:
        return self.lanes * LANE + self.bike * BIKE + self.parking * PARK

    def lane_offset(self, index: int) -> float:
        """Distance of a lane's middle from the centre line; index `lanes` is the bicycle lane."""
        return (index + 0.5) * LANE if index < self.lanes else self.lanes * LANE + BIKE / 2

    @property
    def lane_count(self) -> int:
        return self.lanes + self.bike


@dataclass
class Lane:
    """A way that a vehicle follows: a stretch of lane between junctions, or a turn inside one."""

    points: np.ndarray  # [n 2] placed in the world
    bike: bool
    turn: str = ""  # "" on a stretch; "straight", "left" or "right" inside a junction
    axis: int = 0  # 0 if it arrives along the plan's x, 1 along y: which green light it obeys
    junction: tuple[int, int] | None = None  # inside this one
    crossings: tuple[int, ...] = ()  # zebras it drives over
    next: list[int] = field(default_factory=list)
    conflicts: dict[int, float] = field(default_factory=dict)  # turn -> metres of it after which it is out of the way

    def __post_init__(self) -> None:
        self.along = arc_length(self.points)
        self.length = float(self.along[-1])


@dataclass
class Walk:
    """A way that a pedestrian follows between two street corners."""

    points: np.ndarray  # [n 2]
    ends: tuple[int, int]  # corner numbers
    crossing: int  # zebra number, or -1 on a sidewalk


@dataclass(frozen=True)
class Placement:
    """How the plan is laid into the world: mirrored, bent, turned."""

    mirrored: bool
    amplitude: tuple[float, float]
    wave: tuple[float, float]
    phase: tuple[float, float]
    turn: float

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Moves plan points [.. 2] to world points [.. 2]."""
        x, y = points[..., 0] - EXTENT / 2, points[..., 1] - EXTENT / 2
        if self.mirrored:
            y = -y
        x = x + self.amplitude[0] * np.sin(self.wave[0] * y + self.phase[0])
        y = y + self.amplitude[1] * np.sin(self.wave[1] * x + self.phase[1])
        c, s = np.cos(self.turn), np.sin(self.turn)
        return np.stack([c * x - s * y + EXTENT / 2, s * x + c * y + EXTENT / 2], -1)

    def heading(self, point: np.ndarray, direction: np.ndarray) -> float:
        """World yaw (radians) of a plan direction at a plan point."""
        ahead = self(np.stack([point, point + 0.1 * direction]))
        return float(np.arctan2(*(ahead[1] - ahead[0])[::-1]))


class Streets:
    """The road network of one town."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.left_hand = bool(rng.random() < 0.4)
        bend = rng.uniform(2.0, 7.0, 2)
        self.place = Placement(
            self.left_hand,
            tuple(bend),
            tuple(rng.uniform(0.018, 0.03, 2)),
            tuple(rng.uniform(0, 2 * np.pi, 2)),
            float(rng.uniform(0, 2 * np.pi)),
        )
        self.roads = [self._parallel_roads(rng), self._parallel_roads(rng)]  # [0]: along x, centre is y; [1]: along y
        self.lanes: list[Lane] = []
        self.lights = {
            (i, j): float(rng.uniform(0, 20)) if rng.random() < 0.1 else None
            for i in range(ROADS)
            for j in range(ROADS)
        }
        self.crossings: list[np.ndarray] = []  # each [2 2]: middle of the zebra's two ends, on the plan
        self._crossing_of: dict[tuple[int, int, int], int] = {}
        self._add_crossings()
        arriving, leaving = self._add_stretches()
        self._add_turns(arriving, leaving)
        self.walks = self._sidewalks()

    @staticmethod
    def _parallel_roads(rng: np.random.Generator) -> list[Road]:
        gaps = rng.uniform(150, 185, ROADS - 1)
        centres = EXTENT / 2 + np.concatenate([[0], np.cumsum(gaps)]) - gaps.sum() / 2
        return [
            Road(float(c), int(rng.choice([1, 2], p=[0.3, 0.7])), bool(rng.random() < 0.25), bool(rng.random() < 0.15))
            for c in centres
        ]

    # ------------------------------------------------------------------ the plan

    def junction_centre(self, i: int, j: int) -> np.ndarray:
        """Plan point where the i-th road along y meets the j-th road along x."""
        return np.array([self.roads[1][i].centre, self.roads[0][j].centre])

    def road_on(self, i: int, j: int, arm: int) -> Road:
        """The road that leaves junction (i, j) in direction `arm`."""
        return self.roads[0][j] if arm % 2 == 0 else self.roads[1][i]

    def reach(self, i: int, j: int, arm: int) -> float:
        """Distance from a junction's centre to its edge along `arm`: half the crossing road's width."""
        return (self.roads[1][i] if arm % 2 == 0 else self.roads[0][j]).half

    @staticmethod
    def neighbour(i: int, j: int, arm: int) -> tuple[int, int] | None:
        """The next junction in direction `arm`, if the town goes on there."""
        di, dj = DIRECTIONS[arm].astype(int)
        i, j = i + di, j + dj
        return (i, j) if 0 <= i < ROADS and 0 <= j < ROADS else None

    def junctions(self) -> list[tuple[int, int]]:
        """All junctions."""
        return [(i, j) for i in range(ROADS) for j in range(ROADS)]

    def stretches(self) -> list[tuple[np.ndarray, np.ndarray, int, Road]]:
        """All stretches of road between junctions: plan start and end of the centre line, direction, road."""
        found = []
        for i, j in self.junctions():
            for arm in (0, 1):
                other = self.neighbour(i, j, arm)
                if other is not None:
                    start = self.junction_centre(i, j) + DIRECTIONS[arm] * (self.reach(i, j, arm) + CLEAR)
                    end = self.junction_centre(*other) - DIRECTIONS[arm] * (self.reach(*other, arm) + CLEAR)
                    found.append((start, end, arm, self.road_on(i, j, arm)))
        return found

    def blocks(self) -> list[tuple[float, float, float, float]]:
        """The built-up rectangles between the sidewalks: x low, x high, y low, y high on the plan."""
        x, y = self.roads[1], self.roads[0]
        edge = SIDEWALK
        return [
            (
                x[i].centre + x[i].half + edge,
                x[i + 1].centre - x[i + 1].half - edge,
                y[j].centre + y[j].half + edge,
                y[j + 1].centre - y[j + 1].half - edge,
            )
            for i in range(ROADS - 1)
            for j in range(ROADS - 1)
        ]

    # ------------------------------------------------------------------ lanes

    def _add_crossings(self) -> None:
        for i, j in self.junctions():
            for arm in range(4):
                if self.neighbour(i, j, arm) is None:
                    continue
                middle = self.junction_centre(i, j) + DIRECTIONS[arm] * (self.reach(i, j, arm) + SIDEWALK / 2)
                across = right_of(DIRECTIONS[arm]) * self.road_on(i, j, arm).half
                self._crossing_of[i, j, arm] = len(self.crossings)
                self.crossings.append(np.stack([middle - across, middle + across]))

    def _add_stretches(self) -> tuple[dict, dict]:
        """Adds the lanes between junctions; says which arrive at and which leave each junction's arms."""
        arriving: dict = {}
        leaving: dict = {}
        for i, j in self.junctions():
            for arm in range(4):
                other = self.neighbour(i, j, arm)
                if other is None:
                    continue
                road, ahead = self.road_on(i, j, arm), DIRECTIONS[arm]
                start = self.junction_centre(i, j) + ahead * (self.reach(i, j, arm) + CLEAR)
                end = self.junction_centre(*other) - ahead * (self.reach(*other, arm) + CLEAR)
                for index in range(road.lane_count):
                    side = right_of(ahead) * road.lane_offset(index)
                    points = self.place(resample(np.stack([start + side, end + side]), 1.0))
                    leaving.setdefault((i, j, arm), []).append((len(self.lanes), start + side))
                    arriving.setdefault((*other, arm), []).append((len(self.lanes), end + side))
                    self.lanes.append(Lane(points, bike=index == road.lanes, axis=arm % 2))
        return arriving, leaving

    def _add_turns(self, arriving: dict, leaving: dict) -> None:
        for (i, j, arm), lanes_in in arriving.items():
            road = self.road_on(i, j, arm)
            for index, (source, point) in enumerate(lanes_in):
                for turn, out_arm in (("straight", arm), ("left", (arm + 1) % 4), ("right", (arm - 1) % 4)):
                    targets = leaving.get((i, j, out_arm))
                    if targets:
                        wanted = self._target_lane(index, road, self.road_on(i, j, out_arm), turn)
                        if wanted is not None:
                            self._add_turn((i, j), arm, out_arm, source, point, targets[wanted], turn)
                if not self.lanes[source].next:  # the town's edge: any way out will do
                    for turn, out_arm in (("left", (arm + 1) % 4), ("right", (arm - 1) % 4)):
                        targets = leaving.get((i, j, out_arm))
                        if targets:
                            lane = min(index, self.road_on(i, j, out_arm).lanes - 1)
                            self._add_turn((i, j), arm, out_arm, source, point, targets[lane], turn)
        self._find_conflicts()

    @staticmethod
    def _target_lane(index: int, road: Road, out: Road, turn: str) -> int | None:
        """Which lane of the road `out` a vehicle in lane `index` turns into, or None if it may not turn so."""
        if index == road.lanes:  # bicycles go straight on or turn right
            return {"straight": index, "left": None, "right": out.lanes if out.bike else None}[turn]
        if turn == "straight":
            return index
        if turn == "left":
            return 0 if index == 0 else None
        return out.lanes - 1 if index == road.lanes - 1 else None

    def _add_turn(
        self,
        junction: tuple[int, int],
        arm: int,
        out_arm: int,
        source: int,
        start: np.ndarray,
        target: tuple[int, np.ndarray],
        turn: str,
    ) -> None:
        end, ahead, out = target[1], DIRECTIONS[arm], DIRECTIONS[out_arm]
        reach_in, reach_out = abs((end - start) @ ahead), abs((end - start) @ out)
        pull = 0.34 if arm == out_arm else 0.58  # 0.55 makes a quarter circle; a little more eases the entry
        control = np.stack([start, start + ahead * pull * reach_in, end - out * pull * reach_out, end])
        t = np.linspace(0, 1, 41)[:, None]
        bezier = (
            (1 - t) ** 3 * control[0]
            + 3 * (1 - t) ** 2 * t * control[1]
            + 3 * (1 - t) * t**2 * control[2]
            + t**3 * control[3]
        )
        crossings = (self._crossing_of[(*junction, (arm + 2) % 4)], self._crossing_of[(*junction, out_arm)])
        self.lanes[source].next.append(len(self.lanes))
        self.lanes.append(
            Lane(self.place(bezier), self.lanes[source].bike, turn, arm % 2, junction, crossings, [target[0]])
        )

    def _find_conflicts(self) -> None:
        """Marks the pairs of turns in one junction that come too close for two vehicles at once."""
        inside: dict[tuple[int, int], list[int]] = {}
        for number, lane in enumerate(self.lanes):
            if lane.junction is not None:
                inside.setdefault(lane.junction, []).append(number)
        for numbers in inside.values():
            points = np.stack([self.lanes[n].points[::2] for n in numbers])  # T P 2
            half = np.array([0.8 if self.lanes[n].bike else 1.45 for n in numbers])
            apart = np.linalg.norm(points[:, None, :, None] - points[None, :, None], axis=-1).min(2)  # T T P: of 2nd
            near = apart < (half[:, None] + half[None])[..., None]
            for a, b in np.argwhere(near.any(2)):
                if a != b:
                    other = self.lanes[numbers[b]]
                    self.lanes[numbers[a]].conflicts[numbers[b]] = float(other.along[::2][near[a, b]].max())

    # ------------------------------------------------------------------ sidewalks

    def _sidewalks(self) -> list[Walk]:
        """Lays the sidewalk round every block and joins the blocks by zebras."""
        corners: list[np.ndarray] = []
        number: dict[tuple[int, int, int, int], int] = {}  # block i, j, east?, north? -> corner
        walks: list[Walk] = []
        side = SIDEWALK / 2
        for b, (x0, x1, y0, y1) in enumerate(self.blocks()):
            i, j = divmod(b, ROADS - 1)
            for east, north in ((0, 0), (1, 0), (1, 1), (0, 1)):
                number[i, j, east, north] = len(corners)
                corners.append(np.array([x1 + side if east else x0 - side, y1 + side if north else y0 - side]))
            ring = [number[i, j, e, n] for e, n in ((0, 0), (1, 0), (1, 1), (0, 1))]
            for a, c in zip(ring, ring[1:] + ring[:1]):
                walks.append(self._walk(corners, a, c, -1))
        for (i, j, east, north), a in number.items():
            for di, dj in ((1, 0), (0, 1)):  # over the road to the east, over the road to the north
                if (di and not east) or (dj and not north):
                    continue
                c = number.get((i + di, j + dj, 0 if di else east, 0 if dj else north))
                if c is not None:
                    junction = (i + (1 if di else east), j + (1 if dj else north))
                    arm = (1 if north == 0 else 3) if di else (0 if east == 0 else 2)
                    crossing = self._crossing_of.get((*junction, arm))
                    if crossing is not None:
                        walks.append(self._walk(corners, a, c, crossing))
        return walks

    def _walk(self, corners: list[np.ndarray], a: int, b: int, crossing: int) -> Walk:
        return Walk(self.place(resample(np.stack([corners[a], corners[b]]), 1.5)), (a, b), crossing)
