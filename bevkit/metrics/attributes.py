"""Which attribute a box has when nobody predicts it: by class and speed, as the devkit's baselines guess."""

from __future__ import annotations

import torch
from torch import Tensor

from bevkit.structures.classes import ATTRIBUTES, CLASSES

STANDING_SPEED = 0.2  # m/s
_FAST = dict(car="vehicle.moving", truck="vehicle.moving", bus="vehicle.moving", trailer="vehicle.moving",
             construction_vehicle="vehicle.moving", pedestrian="pedestrian.moving", motorcycle="cycle.with_rider",
             bicycle="cycle.with_rider")
_SLOW = dict(car="vehicle.parked", truck="vehicle.parked", bus="vehicle.stopped", trailer="vehicle.parked",
             construction_vehicle="vehicle.parked", pedestrian="pedestrian.standing",
             motorcycle="cycle.without_rider", bicycle="cycle.without_rider")


def attribute_by_rule(labels: Tensor, velocities: Tensor) -> Tensor:
    """Returns the attribute [A] int64 of boxes with labels [A] and velocities [A 2] m/s; -1 = the class has none.

    An unknown speed (NaN) counts as standing.
    """
    fast, slow = (torch.tensor([ATTRIBUTES.index(table[name]) if name in table else -1 for name in CLASSES],
                               device=labels.device) for table in (_FAST, _SLOW))
    return torch.where(velocities.norm(dim=1) > STANDING_SPEED, fast[labels], slow[labels])
