"""Where something stands, as a map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from bevkit.geometry.raster import fill_polygons
from bevkit.registry import TRANSFORMS
from bevkit.structures import BEVClip, BEVGrid


@TRANSFORMS.register_module()
class ForegroundMap:
    """Makes ``targets["foreground"]`` [1 Y X]: 1 in the cells that a box of the present covers, else 0.

    Belongs behind all that moves the ego frame.

    Args:
        grid: of the map, or its arguments.
    """

    def __init__(self, grid: BEVGrid | Mapping[str, Any]) -> None:
        self.grid = grid if isinstance(grid, BEVGrid) else BEVGrid(**grid)

    def __call__(self, clip: BEVClip, rng: np.random.Generator) -> BEVClip:
        boxes = clip.present.boxes
        if boxes is None:
            raise ValueError("ForegroundMap: expected boxes in the present frame, got none; use a split with "
                             "annotations")
        boxes = boxes[boxes.labels >= 0]
        outlines = self.grid.cells_from_metric(boxes.corners[:, :4, :2])  # [A 4 2], the bottom faces
        covered = fill_polygons(self.grid.shape, outlines, torch.ones(len(boxes), dtype=torch.int64))  # [Y X]
        return replace(clip, targets={**clip.targets, "foreground": covered.float().unsqueeze(0)})
