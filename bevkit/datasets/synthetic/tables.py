"""The nuScenes tables that do not depend on a scene, and how all tables are put together."""

from __future__ import annotations

from .chance import digest
from .rig import CAMERAS, LIDAR

TABLES = (
    "attribute",
    "calibrated_sensor",
    "category",
    "ego_pose",
    "instance",
    "log",
    "map",
    "sample",
    "sample_annotation",
    "sample_data",
    "scene",
    "sensor",
    "visibility",
)
SCENE_TABLES = (
    "calibrated_sensor",
    "ego_pose",
    "instance",
    "log",
    "map",
    "sample",
    "sample_annotation",
    "sample_data",
    "scene",
)
CATEGORIES = {
    "human.pedestrian.adult": "A grown-up on foot.",
    "human.pedestrian.child": "A child on foot.",
    "human.pedestrian.wheelchair": "A person in a wheelchair.",
    "human.pedestrian.stroller": "A stroller and the person in it.",
    "human.pedestrian.personal_mobility": "A person on a scooter or a skateboard.",
    "human.pedestrian.police_officer": "A police officer on foot.",
    "human.pedestrian.construction_worker": "A construction worker on foot.",
    "animal": "An animal.",
    "vehicle.car": "A passenger car or a van.",
    "vehicle.motorcycle": "A powered two-wheeler, with its rider if there is one.",
    "vehicle.bicycle": "A bicycle, with its rider if there is one.",
    "vehicle.bus.bendy": "One section of an articulated bus.",
    "vehicle.bus.rigid": "A bus.",
    "vehicle.truck": "A lorry or a pick-up that carries goods.",
    "vehicle.construction": "A digger, a loader or another machine for building.",
    "vehicle.emergency.ambulance": "An ambulance.",
    "vehicle.emergency.police": "A police vehicle.",
    "vehicle.trailer": "A trailer, towed or parked.",
    "movable_object.barrier": "A temporary road barrier.",
    "movable_object.trafficcone": "A traffic cone.",
    "movable_object.pushable_pullable": "Something that a person pushes or pulls.",
    "movable_object.debris": "Something left on the road that is too large to drive over.",
    "static_object.bicycle_rack": "A place to lock bicycles.",
}
ATTRIBUTES = {
    "vehicle.moving": "The vehicle moves.",
    "vehicle.stopped": "The vehicle stands but means to go on.",
    "vehicle.parked": "The vehicle is left standing.",
    "cycle.with_rider": "Somebody rides the cycle.",
    "cycle.without_rider": "Nobody rides the cycle.",
    "pedestrian.sitting_lying_down": "The person sits or lies.",
    "pedestrian.standing": "The person stands.",
    "pedestrian.moving": "The person walks.",
}
VISIBILITIES = ((0.4, "v0-40"), (0.6, "v40-60"), (0.8, "v60-80"), (1.01, "v80-100"))


def token(table: str, name: str) -> str:
    """The token of a row that every synthetic world shares."""
    return digest("shared", table, name)


def visibility_token(fraction: float) -> str:
    """The nuScenes visibility level ("1" to "4") of a seen fraction."""
    return str(1 + next(k for k, (limit, _) in enumerate(VISIBILITIES) if fraction < limit))


def shared_tables() -> dict[str, list[dict]]:
    """Writes the tables that are the same in every world."""
    levels = [(str(k + 1), level, level[1:].split("-")) for k, (_, level) in enumerate(VISIBILITIES)]
    return {
        "category": [{"token": token("category", n), "name": n, "description": d} for n, d in CATEGORIES.items()],
        "attribute": [{"token": token("attribute", n), "name": n, "description": d} for n, d in ATTRIBUTES.items()],
        "visibility": [
            {"description": f"visibility of whole object is between {low} and {high}%", "token": t, "level": level}
            for t, level, (low, high) in levels
        ],
        "sensor": [
            {"token": token("sensor", c), "channel": c, "modality": "lidar" if c == LIDAR else "camera"}
            for c in (*CAMERAS, LIDAR)
        ],
    }


def chain(rows: list[dict]) -> None:
    """Links rows, in their order, by their `prev` and `next` tokens."""
    for row, before, after in zip(rows, [None, *rows[:-1]], [*rows[1:], None]):
        row["prev"] = before["token"] if before else ""
        row["next"] = after["token"] if after else ""
