"""How detectors write boxes and classes, and how their last layers are turned to write them as bevkit does.

mmdet3d 1.0 and later: sizes are (length, width, height), yaw counter-clockwise from +x; so are bevkit's. Before 1.0:
(width, length, height), and the yaw there is -yaw - pi/2. With sine and cosine regressed that is an exchange and a
change of sign: sin(yaw) = -cos(yaw there), cos(yaw) = -sin(yaw there).
"""

from __future__ import annotations

import torch
from torch import Tensor

from bevkit.structures.classes import CLASSES

# The order of classes in every mmdet3d config, where a layer scores all ten.
AUTHORS_CLASSES = ("car", "truck", "construction_vehicle", "bus", "trailer", "barrier", "motorcycle", "bicycle",
                   "pedestrian", "traffic_cone")


def to_our_classes(rows: Tensor) -> Tensor:
    """Reorders the rows [K ..] of a layer that scores the ten classes from the authors' order to bevkit's."""
    return rows[[AUTHORS_CLASSES.index(name) for name in CLASSES]]


def new_size_rows(rows: Tensor) -> Tensor:
    """Turns the rows [3 ..] that regress sizes before mmdet3d 1.0: (w, l, h) -> (l, w, h)."""
    return rows[[1, 0, 2]]


def new_heading_rows(rows: Tensor) -> Tensor:
    """Turns the rows [2 ..] that regress (sin, cos) of the yaw before mmdet3d 1.0."""
    return -rows.flip(0)


def new_code_rows(rows: Tensor) -> Tensor:
    """Turns the rows [10 ..] that regress [x, y, w, l, z, h, sin, cos, vx, vy] before mmdet3d 1.0 (BEVFormer)."""
    return torch.cat((rows[:2], rows[[3, 2]], rows[4:6], new_heading_rows(rows[6:8]), rows[8:]))
