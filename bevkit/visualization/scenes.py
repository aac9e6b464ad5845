"""Pictures of clips and of whole scenes: camera views above, truth beside prediction from above."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bevkit.geometry import rigid
from bevkit.structures import BEVClip, BEVFrame, BEVGrid
from bevkit.visualization import cameras
from bevkit.visualization.bev import BEVCanvas, draw_ego, ground
from bevkit.visualization.future import Ids, draw_pairs, draw_strip, draw_trails, match_ids, time_names
from bevkit.visualization.paint import MUTED, Picture, class_legend, column, row, titled, write
from bevkit.visualization.report import SceneFigure

FARTHEST = 3.0  # metres between a drawn instance and the box it is taken for


@dataclass(frozen=True)
class ClipPictures:
    """One keyframe of a drive: the joined camera views, and the trails of truth and prediction from above."""

    name: str
    camera: Picture | None
    truth: Picture
    prediction: Picture

    def joined(self) -> Picture:
        """Returns all of it as one picture."""
        above = [] if self.camera is None else [self.camera]
        return column([*above, row([titled(self.truth, "truth", self.name),
                                    titled(self.prediction, "prediction", self.name)])])


def camera_view(frame: BEVFrame, width: int = 1200) -> Picture | None:
    """Draws the cameras of a frame with its boxes projected through the rig; None for a frame without images."""
    if frame.images is None or frame.rig is None:
        return None
    rig = frame.rig
    pictures, rig = cameras.resized(cameras.pictures(frame.images), rig, cameras.tile_size(rig, width))
    if frame.boxes is not None:
        pictures = cameras.draw_boxes(pictures, rig, frame.boxes)
    joined = cameras.arrange(pictures, rig, frame.meta.get("cameras"))
    return joined if frame.boxes is None else column([joined, class_legend(frame.boxes.labels, joined.shape[1])], 0)


def depth_view(frame: BEVFrame, depth: Tensor, width: int = 1200) -> Picture | None:
    """Draws the depth labels [N H W] of a frame over its cameras, with its boxes; None for a frame without images."""
    if frame.images is None or frame.rig is None:
        return None
    size = cameras.tile_size(frame.rig, width)
    pictures, rig = cameras.resized(cameras.pictures(frame.images), frame.rig, size)
    pictures = cameras.draw_depths(pictures, depth)
    if frame.boxes is not None:
        pictures = cameras.draw_boxes(pictures, rig, frame.boxes)
    return cameras.arrange(pictures, rig, frame.meta.get("cameras"))


def ids_by_track(clip: BEVClip, ids: Any, grid: BEVGrid) -> Ids:
    """Renumbers instances [F+1 Y X] after the tracks of the clip, so that a vehicle keeps its colour from clip to clip.

    An instance is taken for the vehicle nearest to its middle when it first shows; its number is the track's plus one.
    """
    ids = np.asarray(ids, dtype=np.int64)
    renumbered = np.zeros_like(ids)
    present_from_global = rigid.inverse(clip.present.global_from_ego)
    for number in np.unique(ids[ids > 0]):
        instant = int(np.argmax((ids == number).any(axis=(1, 2))))
        frame = clip.frames[clip.past - 1 + instant]
        rows, columns = np.nonzero(ids[instant] == number)
        middle = grid.metric_from_cells(torch.tensor([columns.mean() + 0.5, rows.mean() + 0.5], dtype=torch.float64))
        track = -1
        if frame.boxes is not None and frame.boxes.vehicle.any():
            boxes = frame.boxes[frame.boxes.vehicle].moved(present_from_global @ frame.global_from_ego)
            distance = (boxes.centers[:, :2].double() - middle).norm(dim=1)
            track = int(boxes.track_ids[distance.argmin()]) if distance.min() < FARTHEST else -1
        # An instance without a box gets a number that no track has.
        renumbered[ids == number] = track + 1 if track >= 0 else 1_000_000 + number
    return renumbered


def draw_clip(clip: BEVClip, truth: Any | None, prediction: Any, canvas: BEVCanvas, name: str = "",
              width: int = 1200) -> ClipPictures:
    """Draws the present of a clip and the futures as trails.

    Args:
        truth: instances [F+1 Y X] of the labels, None where there are none.
        prediction: instances [F+1 Y X] of the model.
        width: of the camera views in pixels.
    """
    if truth is None:
        unknown = draw_ego(ground(canvas), canvas)
        write(unknown, "no truth here", (canvas.shape[1] / 2, canvas.shape[0] * 0.82), 14, MUTED, "mm")
        return ClipPictures(name, camera_view(clip.present, width), unknown, draw_trails(canvas, prediction))
    truth = ids_by_track(clip, truth, canvas.grid)
    return ClipPictures(name, camera_view(clip.present, width), draw_trails(canvas, truth),
                        draw_trails(canvas, match_ids(truth, prediction)))


def drive_figure(name: str, clips: Sequence[ClipPictures], note: str = "", scores: dict[str, Any] | None = None
                 ) -> SceneFigure:
    """Makes a figure that steps through the keyframes of a scene; every step shows the futures as fading trails."""
    views = [clip.camera for clip in clips if clip.camera is not None]
    return SceneFigure(name, views, [(clip.truth, clip.prediction) for clip in clips], [clip.name for clip in clips],
                       note, scores=scores or {})


def horizon_figure(name: str, clip: BEVClip, truth: Any, prediction: Any, canvas: BEVCanvas, *, note: str = "",
                   step: float = 0.5, scores: dict[str, Any] | None = None, width: int = 1200) -> SceneFigure:
    """Makes a figure that stands at one keyframe and steps from its present through its futures [F+1 Y X]."""
    truth = ids_by_track(clip, truth, canvas.grid)
    prediction = match_ids(truth, prediction)
    view = camera_view(clip.present, width)
    small = BEVCanvas(canvas.grid, width // len(truth))
    return SceneFigure(name, [] if view is None else [view], draw_pairs(canvas, truth, prediction),
                       time_names(len(truth), step), note,
                       draw_strip(small, truth, prediction, step), scores or {})
