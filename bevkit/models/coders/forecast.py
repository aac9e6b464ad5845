"""Truth <-> maps of centres, boxes and the ways that the boxes go from there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bevkit.models.coders.boxes import probabilities, visible_truth
from bevkit.models.coders.center_point import CenterPointCoder
from bevkit.registry import MODELS
from bevkit.structures import BEVClip, BEVGrid, Detections3D, true_paths


class ForecastOutput(NamedTuple):
    """`CenterPointOutput`, then of K guesses over F steps of 0.5 s, in each of G tasks:

    paths: [B G K*F*2 Y X] metres from the centre of now along x and y, step by step, guess by guess.
    path_scores: [B G K Y X] logits of the guesses.
    """

    heatmap: Tensor
    offset: Tensor
    height: Tensor
    size: Tensor
    heading: Tensor
    velocity: Tensor
    paths: Tensor
    path_scores: Tensor


@MODELS.register_module()
class ForecastCoder(CenterPointCoder):
    """`CenterPointCoder`, with the paths of the objects in the cells of their centres.

    Args:
        steps: F keyframes to come; the clips need ``future`` >= F.
        options: of `CenterPointCoder`.
    """

    def __init__(self, grid: BEVGrid, steps: int = 12, **options: Any) -> None:
        super().__init__(grid, **options)
        if steps < 1:
            raise ValueError(f"ForecastCoder: expected steps >= 1, got {steps}")
        self.steps = steps

    def encode(self, clip: BEVClip) -> dict[str, Tensor]:
        """Adds paths [G M F 2] float32 (metres from the centre of now, NaN = unknown) to the targets of a clip."""
        future = clip.frames[clip.past: clip.past + self.steps]
        if len(future) < self.steps:
            raise ValueError(f"ForecastCoder: expected clips with {self.steps} future keyframes, got {len(future)}; "
                             f"set the data set's future={self.steps} (and at_scene_end='unknown')")
        truth = visible_truth(clip, self.min_sensor_points)
        targets, slots = self._encode_boxes(truth)
        paths = true_paths(truth, clip.present.global_from_ego, [frame.boxes for frame in future],
                           torch.stack([frame.global_from_ego for frame in future]))
        unknown = paths.new_full((1, self.steps, 2), torch.nan)  # what slot -1 picks
        return {**targets, "paths": torch.cat((paths, unknown))[slots].float()}

    def flawless(self, targets: dict[str, Tensor]) -> ForecastOutput:  # type: ignore[override]
        """As `CenterPointCoder.flawless`, with one guess; where the truth does not know a path it stands still."""
        boxes = super().flawless(targets)
        batch, tasks = targets["cells"].shape[:2]
        paths = targets["paths"].nan_to_num().flatten(3)  # [B G M F*2]
        maps = paths.new_zeros(batch, tasks, paths.shape[3], self.grid.cells + 1)
        place = torch.where(targets["used"], targets["cells"], self.grid.cells).unsqueeze(2)
        maps = maps.scatter(3, place.expand(-1, -1, paths.shape[3], -1), paths.transpose(2, 3))
        maps = maps[..., :-1].unflatten(3, self.grid.shape)
        return ForecastOutput(*boxes, maps, torch.zeros_like(maps[:, :, :1]))

    def decode(self, raw: ForecastOutput) -> list[Detections3D]:  # type: ignore[override]
        """Reads paths where the boxes are read; the likeliest guess of an object comes first."""
        codes = torch.cat((raw.offset, raw.height, raw.size, raw.heading, raw.velocity), dim=2).detach().float()
        samples = zip(probabilities(raw.heatmap), codes, raw.paths.detach().float(), raw.path_scores.detach().float())
        return [self._with_paths(*self._decode_sample(scores, code), paths, logits)
                for scores, code, paths, logits in samples]

    def _with_paths(self, found: Detections3D, place: Tensor, paths: Tensor, logits: Tensor) -> Detections3D:
        """Adds paths: places [A] in maps [G K*F*2 Y X] and logits [G K Y X]."""
        guesses = logits.shape[1]
        paths = paths.flatten(2).transpose(1, 2).flatten(0, 1)[place].view(-1, guesses, self.steps, 2)
        score = logits.flatten(2).transpose(1, 2).flatten(0, 1)[place].softmax(dim=1)  # [A K]
        score, order = score.sort(dim=1, descending=True, stable=True)
        return replace(found, paths=paths.gather(1, order[..., None, None].expand_as(paths)), path_scores=score)
