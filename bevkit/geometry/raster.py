"""Filling of polygons on a map of cells. Metres stay outside: `BEVGrid.cells_from_metric` turns them into cells."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

# What is taken from a continuous cell coordinate (cell i covers [i, i + 1)) before it is rounded to a cell index.
# "center": cv2 counts from the centre of cell 0, which lies at 0.5, so a polygon is painted where it is.
# "edge": nothing; FIERY and PowerBEV paint so, half a cell towards the high edges.
ROUNDINGS = {"center": 0.5, "edge": 0.0}


def fill_polygons(shape: tuple[int, int], polygons: Tensor, values: Tensor, rounding: str = "center",
                  scan: str = "y") -> Tensor:
    """Paints polygons one over the other on an empty map and returns it: [Y X] int64.

    A cell that the rounded outline touches is painted too, so nothing that is thinner than a cell disappears.

    Args:
        shape: rows and columns (Y, X) of the map.
        polygons: [A P 2] corners as continuous cell coordinates (column, row); they may lie outside of the map.
        values: [A] int64, what each polygon paints; later ones cover earlier ones.
        rounding: a key of `ROUNDINGS`.
        scan: the axis along which the painter's lines run; it decides which of two cells that tie is painted. ``"y"``
            as in the labels of FIERY and PowerBEV, ``"x"`` as in those of BEVerse and FipTR.
    """
    if rounding not in ROUNDINGS or scan not in ("x", "y"):
        raise ValueError(f"expected rounding in {sorted(ROUNDINGS)} and scan x or y, got rounding={rounding!r}, "
                         f"scan={scan!r}")
    canvas = np.zeros(shape if scan == "x" else shape[::-1], dtype=np.int32)
    corners = np.round(polygons.detach().cpu().double().numpy() - ROUNDINGS[rounding])  # [A P 2], half to even
    low, high = corners.min(axis=1, initial=np.inf), corners.max(axis=1, initial=-np.inf)  # [A 2]
    touching = ((high >= 0) & (low < np.array(shape[::-1]))).all(axis=1)
    if scan == "y":
        corners = corners[..., ::-1]
    for index in np.flatnonzero(touching):
        cv2.fillPoly(canvas, [corners[index].astype(np.int32)], (int(values[index]),))
    return torch.from_numpy(np.ascontiguousarray(canvas if scan == "x" else canvas.T)).long()
