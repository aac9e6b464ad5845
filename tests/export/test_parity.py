"""When two decoded sides count as alike."""

import math
from dataclasses import replace

import pytest
import torch

from bevkit.export.parity import Parity, same, unlike
from bevkit.structures import Boxes3D, Detections3D


@pytest.mark.parametrize("error, counts, alike", [
    (1e-4, dict(boxes=100, unequal_boxes=2), True),
    (1e-4, dict(boxes=100, unequal_boxes=3), False),
    (1e-4, dict(cells=100, unequal_cells=1), False),
    (1e-6, dict(boxes=100, unequal_boxes=40), True),  # ties that rounding resolves
    (1e-6, dict(cells=100, unequal_cells=1), False),  # maps have to be equal
    (1e-6, dict(boxes=100, vehicle=2, vehicle_unequal=1), False),  # of the same outputs
    (float("nan"), dict(boxes=100, unequal_boxes=40), False),
])
def test_rounding_is_forgiven_in_boxes(error, counts, alike):
    assert Parity(instants=1, errors=dict(heatmap=1e-7, size=error), **counts).decoded_alike is alike


def forecasts(order):
    order = torch.tensor(order)
    boxes = Boxes3D.predicted(torch.randn(4, 3), torch.ones(4, 3), torch.zeros(4), torch.zeros(4, 2),
                              torch.zeros(4, dtype=torch.int64))
    paths, scores = torch.randn(4, 3, 5, 2), torch.rand(4, 3)
    return Detections3D(boxes[order], torch.full((4,), 0.5), paths[order], scores[order])


def test_boxes_of_one_score_may_change_places_with_their_paths():
    torch.manual_seed(0)
    one = forecasts([0, 1, 2, 3])
    torch.manual_seed(0)
    assert same(forecasts([2, 0, 3, 1]), one)
    assert not same(replace(one, boxes=one.boxes[:3], scores=one.scores[:3], paths=one.paths[:3],
                            path_scores=one.path_scores[:3]), one)


def test_paths_count():
    one = forecasts([0, 1, 2, 3])
    other = replace(one, paths=one.paths.clone())
    other.paths[2, 1, 4, 0] += 1
    assert unlike(one, one) == 0 and unlike(other, one) == 1 and not same(other, one)
    assert unlike(replace(one, paths=None), one) == 4


def test_strays_are_counted_and_none_is_allowed():
    parity, expected = Parity(), torch.ones(100)
    got = expected + 1e-4
    parity.add_outputs(dict(scores=expected), dict(scores=got))
    assert parity.agrees and parity.stray["scores"] == 0
    got[:3] += 0.5
    parity.add_outputs(dict(scores=expected), dict(scores=got))
    assert not parity.agrees and parity.stray["scores"] == pytest.approx(0.03)
    parity.add_outputs(dict(scores=expected), dict(scores=torch.full((100,), torch.nan)))
    assert not parity.agrees and parity.stray["scores"] == 1


def test_a_nan_is_not_forgotten():
    parity, expected = Parity(), torch.ones(4)
    for got in (torch.tensor([torch.nan, 1.0, 1.0, 1.0]), expected):
        parity.add_outputs(dict(scores=expected), dict(scores=got))
    assert not parity.agrees and math.isnan(parity.worst)
