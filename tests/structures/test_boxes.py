"""Boxes as one object: choosing, emptiness, refusal."""

from dataclasses import replace

import pytest
import torch

from bevkit.structures import Boxes3D
from tests.laws.space import random_boxes, random_motion


def test_a_mask_chooses_every_field() -> None:
    boxes = random_boxes(0)
    cars = boxes[boxes.labels == 0]
    assert len(cars) == 2 and cars.track_ids.tolist() == [0, 10] and cars.corners.shape == (2, 8, 3)
    assert boxes[torch.tensor([3, 1])].track_ids.tolist() == [3, 1] and len(boxes[5:7]) == 2


def test_no_boxes_can_be_moved_and_chosen() -> None:
    none = Boxes3D.empty().moved(random_motion(0))
    assert len(none) == 0 and len(none[none.vehicle]) == 0 and none.corners.shape == (0, 8, 3)
    assert none.vehicle.dtype == torch.bool and none.labels.dtype == torch.int64


def test_another_count_is_refused() -> None:
    boxes = random_boxes(0)
    with pytest.raises(ValueError, match=r"boxes.yaws: expected shape \[A\] with A=20, got \[3\]"):
        replace(boxes, yaws=torch.zeros(3))
