"""The truth of a past instant, as targets for those who guess it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from bevkit.geometry import rigid
from bevkit.registry import TRANSFORMS, built
from bevkit.structures import BEVClip, BEVGrid


@TRANSFORMS.register_module()
class PastTargets:
    """Makes targets ``past_NAME`` of the boxes of an instant before the present, in the present ego frame.

    Belongs behind all that moves the ego frame.

    Args:
        coder: object with ``encode(clip)``, which makes the targets, or its config.
        grid: handed to the config of the coder: a `BEVGrid` or its arguments.
        back: how many instants before the present.
    """

    def __init__(self, coder: Any, grid: BEVGrid | Mapping[str, Any], back: int = 1) -> None:
        grid = grid if isinstance(grid, BEVGrid) else BEVGrid(**grid)
        self.coder, self.back = built(coder, grid=grid), back

    def __call__(self, clip: BEVClip, rng: np.random.Generator) -> BEVClip:
        index = clip.past - 1 - self.back
        if index < 0 or clip.frames[index].boxes is None:
            raise ValueError(f"PastTargets: expected boxes {self.back} instants before the present, got none; use "
                             f"past={self.back + 1} or more and a split with annotations")
        past, present = clip.frames[index], clip.present
        assert past.boxes is not None
        boxes = past.boxes.moved(rigid.inverse(present.global_from_ego) @ past.global_from_ego)
        then = replace(clip, frames=(replace(present, boxes=boxes),), past=1, targets={})
        return replace(clip, targets={**clip.targets, **{f"past_{name}": value
                                                        for name, value in self.coder.encode(then).items()}})
