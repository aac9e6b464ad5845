"""One scene comes to life: its town, its traffic over time, and where everybody is at any moment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .actors import Actor, standing_actors
from .chance import stream
from .streets import Streets
from .traffic import STEP, Traffic

LEAD = 0.5  # the recording starts this long before the first keyframe, as cameras fire before the lidar does
SPARE = 40.0  # s that the traffic runs longer than needed: the liveliest part is kept
ATTEMPTS, LIVELY = 4, 5.0


@dataclass
class World:
    """A town with everything that moves in it, for one scene."""

    name: str
    seed: int
    streets: Streets
    actors: list[Actor]
    track: np.ndarray  # [T A 3] x, y, yaw of every actor, each STEP from -LEAD on
    ego_track: np.ndarray  # [T 5] x, y of the rear axle, yaw, pitch, roll

    def stream(self, purpose: str) -> np.random.Generator:
        """Opens this scene's random stream for a purpose."""
        return stream(self.seed, self.name, purpose)

    def poses(self, time: float) -> np.ndarray:
        """Where all actors are at a time (s): [A 3] x, y (m), yaw (radians)."""
        return _between(self.track, time)

    def speeds(self, time: float) -> np.ndarray:
        """How fast all actors move at a time: [A] m/s."""
        step = self.poses(time + 0.1) - self.poses(time - 0.1)
        return np.linalg.norm(step[:, :2], axis=1) / 0.2

    def ego(self, time: float) -> np.ndarray:
        """Where the recording car is at a time: global_from_ego [4 4]. Its origin: rear axle, on the ground."""
        x, y, yaw, pitch, roll = _between(self.ego_track, time)
        pose = np.eye(4)
        pose[:3, :3] = _turn_z(yaw) @ _turn_y(pitch) @ _turn_x(roll)
        pose[:2, 3] = x, y
        return pose


def build_world(name: str, seed: int, frames: int) -> World:
    """Builds a scene's town and lets its traffic run; tries again when the recording car hardly moves."""
    streets = Streets(stream(seed, name, "streets"))
    duration = frames / 2 + 2 * LEAD
    steps = round(duration / STEP) + 1
    best, best_score, first = None, -1.0, 0
    for attempt in range(ATTEMPTS):
        traffic = Traffic(streets, stream(seed, name, "traffic", attempt), duration + SPARE)
        traffic.run(duration + SPARE)
        start, score = _liveliest(traffic, steps)
        if score > best_score:
            best, best_score, first = traffic, score, start
        if score >= LIVELY:
            break
    assert best is not None
    part = slice(first, first + steps)
    actors: list[Actor] = []
    tracks: list[np.ndarray] = []
    for vehicle in best.vehicles[1:]:
        actors += vehicle.bodies
        tracks += [poses[part] for poses in vehicle.poses()]
    for walker in best.walkers:
        actors.append(walker.actor)
        tracks.append(walker.poses()[part])
    for standing in standing_actors(streets, stream(seed, name, "standing")):
        actors.append(standing.actor)
        tracks.append(np.broadcast_to(standing.pose, tracks[0].shape))
    ego = _ride(best.vehicles[0].poses()[0][part], stream(seed, name, "ride"))
    return World(name, seed, streets, actors, np.stack(tracks, 1), ego)


def _liveliest(traffic: Traffic, steps: int) -> tuple[int, float]:
    """Finds the stretch of a recording worth keeping: its first step, and a rating.

    The rating grows to 5 as the car travels with much company that moves; a turn is a bonus.
    """
    ego = traffic.vehicles[0].poses()[0]
    speed = np.diff(traffic.vehicles[0].history) / STEP
    moving, standing = np.zeros(len(speed)), np.zeros(len(speed))
    for vehicle in traffic.vehicles[1:]:
        close = np.abs(vehicle.poses()[0][:-1, :2] - ego[:-1, :2]).max(1) < 20
        moves = np.diff(vehicle.history) > 2.0 * STEP
        moving += moves & close
        standing += ~moves & close
    found = []
    for first in range(0, len(ego) - steps + 1, 10):
        part = slice(first, first + steps - 1)
        turned = np.ptp(ego[part, 2]) > 0.7
        company = moving[part].sum() / max(moving[part].sum() + standing[part].sum(), 1)
        lively = 2 * company + 1.5 * min(moving[part].mean() / 4, 1.0)
        found.append((1.5 * min(speed[part].mean() / 5, 1.0) + lively + 0.5 * turned, -first))
    score, first = max(found)
    return -first, float(score)


def _ride(body: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shakes the recording car: it dives when braking, leans in turns and rides over an uneven road."""
    x, y, yaw = body.T
    speed = np.gradient(np.hypot(np.gradient(x), np.gradient(y))) / STEP**2
    sideways = np.gradient(yaw) / STEP * np.hypot(np.gradient(x), np.gradient(y)) / STEP
    smooth = np.ones(5) / 5
    bumps = [np.convolve(np.pad(rng.standard_normal(len(x)), 2, mode="edge"), smooth, "valid") for _ in range(2)]
    pitch = (
        -np.radians(0.35) * np.convolve(np.pad(speed, 2, mode="edge"), smooth, "valid")
        + np.radians(0.35) * bumps[0]
        + np.radians(rng.normal(0, 0.25))
    )
    roll = (
        np.radians(0.45) * np.convolve(np.pad(sideways, 2, mode="edge"), smooth, "valid")
        + np.radians(0.3) * bumps[1]
        + np.radians(rng.normal(0, 0.25))
    )
    axle = 1.2  # the rear axle sits this far behind the body's middle
    return np.column_stack([x - axle * np.cos(yaw), y - axle * np.sin(yaw), yaw, pitch, roll])


def _between(track: np.ndarray, time: float) -> np.ndarray:
    at = np.clip((time + LEAD) / STEP, 0, len(track) - 1.000001)
    low = int(at)
    return track[low] + (at - low) * (track[low + 1] - track[low])


def _turn_x(a: float) -> np.ndarray:
    return np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])


def _turn_y(a: float) -> np.ndarray:
    return np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])


def _turn_z(a: float) -> np.ndarray:
    return np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
