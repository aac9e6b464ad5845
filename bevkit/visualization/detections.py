"""Pictures of detections: in the cameras, and from above beside the truth."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from bevkit.structures import BEVClip, Boxes3D, Detections3D
from bevkit.visualization.bev import BEVCanvas, draw_arrow, draw_boxes, draw_ego, ground
from bevkit.visualization.paint import MUTED, Picture, class_colors, write
from bevkit.visualization.scenes import ClipPictures, camera_view

MATCH = 2.0  # metres between centres within which a detection counts as found; the devkit's errors use the same
SLOWEST = 0.5  # m/s; slower boxes get no arrow


def draw_from_above(canvas: BEVCanvas, boxes: Boxes3D) -> Picture:
    """Draws boxes in the colours of their classes, with an arrow to where each will be in a second."""
    image = ground(canvas)
    boxes = boxes.map(lambda value: value.double() if value.is_floating_point() else value)
    draw_boxes(image, canvas, boxes, class_colors(boxes.labels.numpy()))
    for center, velocity in zip(boxes.centers[:, :2], boxes.velocities):
        if velocity.norm() > SLOWEST:
            draw_arrow(image, canvas, center.numpy(), (center + velocity).numpy())
    return draw_ego(image, canvas)


def draw_detections(clip: BEVClip, found: Detections3D, canvas: BEVCanvas, name: str = "", width: int = 1200
                    ) -> ClipPictures:
    """Draws the present of a clip: detections in the cameras, and truth and detections from above.

    Args:
        found: in the present ego frame, only those worth showing.
        width: of the camera views in pixels.
    """
    truth = clip.present.boxes
    if truth is None:
        above = draw_ego(ground(canvas), canvas)
        write(above, "no truth here", (canvas.shape[1] / 2, canvas.shape[0] * 0.82), 14, MUTED, "mm")
    else:
        above = draw_from_above(canvas, truth[truth.labels >= 0])
    camera = camera_view(replace(clip.present, boxes=found.boxes), width)
    return ClipPictures(name, camera, above, draw_from_above(canvas, found.boxes))


def matches(found: Detections3D, truth: Boxes3D, distance: float = MATCH) -> Tensor:
    """Says which detections [A] stand within a distance of a true box of their class; the surest choose first."""
    apart = torch.cdist(found.boxes.centers[:, :2].double(), truth.centers[:, :2].double())  # [A truth]
    apart[found.boxes.labels[:, None] != truth.labels] = torch.inf
    matched = torch.zeros(len(found.scores), dtype=torch.bool)
    for index in found.scores.argsort(descending=True).tolist() if len(truth) else ():
        nearest, place = apart[index].min(dim=0)
        if nearest < distance:
            matched[index] = True
            apart[:, place] = torch.inf
    return matched
