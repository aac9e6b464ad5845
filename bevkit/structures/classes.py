"""The names behind the numbers in `Boxes3D.labels` and `Boxes3D.attributes`, in nuScenes-devkit's order."""

CLASSES = ("car", "truck", "bus", "trailer", "construction_vehicle", "pedestrian", "motorcycle", "bicycle",
           "traffic_cone", "barrier")
ATTRIBUTES = ("cycle.with_rider", "cycle.without_rider", "pedestrian.moving", "pedestrian.sitting_lying_down",
              "pedestrian.standing", "vehicle.moving", "vehicle.parked", "vehicle.stopped")
VEHICLES = ("car", "truck", "bus", "trailer", "construction_vehicle", "motorcycle", "bicycle")  # category "vehicle.*"


def class_indices(names: tuple[str, ...] | list[str], place: str) -> list[int]:
    """Returns the label of every name; raises ValueError for a name that is no class, and says where it stood."""
    unknown = [name for name in names if name not in CLASSES]
    if unknown:
        raise ValueError(f"{place}: expected classes among {', '.join(CLASSES)}, got {', '.join(unknown)}")
    return [CLASSES.index(name) for name in names]
