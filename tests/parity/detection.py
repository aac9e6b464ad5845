"""What the parity tests of detection share: tolerances, authors' boxes as clips, comparison of sorted results."""

from types import SimpleNamespace

import torch
from torch import Tensor

from bevkit.models.coders.boxes import boxes_of
from bevkit.structures import BEVGrid, Boxes3D, Detections3D
from bevkit.structures.classes import CLASSES


def close(ours: Tensor, theirs: Tensor, meta: dict, name: str = "") -> bool:
    """Compares with the file's tolerance, or with that of one of its outputs."""
    tolerance = meta["tolerance"]["outputs"].get(name, meta["tolerance"])
    ours, theirs = ours.double(), theirs.double()
    return ours.shape == theirs.shape and torch.allclose(ours, theirs, rtol=tolerance["rtol"], atol=tolerance["atol"],
                                                         equal_nan=True)


def grid_of(config: dict) -> BEVGrid:
    low_x, low_y, _, high_x, high_y, _ = config["point_cloud_range"]
    cell = config["cell_size_m"]
    return BEVGrid(x=(low_x, high_x, cell), y=(low_y, high_y, cell))


def task_names(config: dict) -> list[list[str]]:
    return [task["class_names"] for task in config["tasks"]]


def truth_clip(boxes: Tensor, labels: Tensor, names: list[str]) -> SimpleNamespace:
    """A clip whose present boxes are the authors' rows [A 9], labelled by their flat list of names."""
    classes = torch.tensor([CLASSES.index(name) for name in names])
    truth = Boxes3D.predicted(boxes[:, :3], boxes[:, 3:6], boxes[:, 6], boxes[:, 7:], classes[labels])
    return SimpleNamespace(present=SimpleNamespace(boxes=truth))


def assert_same_boxes(ours: Detections3D, theirs: dict, names: list[str], meta: dict, bottom: bool = False) -> None:
    """Compares boxes, scores and labels row by row; ``bottom``: the authors' z is that of the bottom."""
    boxes = boxes_of(ours.boxes)
    if bottom:
        boxes[:, 2] -= boxes[:, 5] / 2
    labels = torch.tensor([CLASSES.index(name) for name in names])[theirs["labels"].long()]
    assert len(boxes) == len(labels)
    # Equal scores may swap: order both alike.
    order, theirs_order = (_order(each) for each in ((ours.scores, ours.boxes.labels, boxes),
                                                     (theirs["scores"], labels, theirs["bboxes"])))
    assert torch.equal(ours.boxes.labels[order], labels[theirs_order])
    assert close(ours.scores[order], theirs["scores"][theirs_order], meta)
    turn = boxes[order, 6] - theirs["bboxes"][theirs_order, 6]
    assert close(torch.stack((turn.sin(), turn.cos() - 1)), torch.zeros(2, len(turn)), meta)
    rest = [0, 1, 2, 3, 4, 5, 7, 8]
    assert close(boxes[order][:, rest], theirs["bboxes"][theirs_order][:, rest], meta)


def _order(parts: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    scores, labels, boxes = parts
    order = boxes[:, 0].argsort(stable=True)
    order = order[(scores[order] * 1e4).round().argsort(stable=True)]
    return order[labels[order].argsort(stable=True)]
