"""Suppression on tensors against the plain loop that defines it."""

import pytest
import torch

from bevkit.geometry.overlap import rotated_iou
from bevkit.ops.nms import circle_nms, rotated_nms, size_aware_nms, suppress


def by_loop(conflicts: torch.Tensor) -> list[int]:
    """Takes the best that is left, again and again."""
    kept: list[int] = []
    for index in range(len(conflicts)):
        if not any(conflicts[better, index] for better in kept):
            kept.append(index)
    return kept


@pytest.mark.parametrize("density", [0.0, 0.02, 0.2, 1.0])
def test_suppress_is_greedy(density):
    conflicts = torch.rand(120, 120, generator=torch.Generator().manual_seed(0)) < density
    conflicts |= conflicts.T.clone()
    assert suppress(conflicts).nonzero().squeeze(1).tolist() == by_loop(conflicts)


def test_longest_chain():
    """Each in conflict with its neighbour alone: every other one stays."""
    chain = (torch.arange(301)[:, None] - torch.arange(301)).abs() == 1
    assert suppress(chain).tolist() == [index % 2 == 0 for index in range(301)]


def boxes_and_scores(count: int = 80) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    boxes = torch.rand(count, 5, generator=random) * torch.tensor([20.0, 20.0, 5.0, 3.0, 6.3]) + 0.1
    return boxes, torch.rand(count, generator=random)


@pytest.mark.parametrize("suppression, conflict", [
    (lambda boxes, scores: circle_nms(boxes[:, :2], scores, 4.0),
     lambda boxes: torch.cdist(boxes[:, :2].double(), boxes[:, :2].double()) <= 2.0),
    (lambda boxes, scores: rotated_nms(boxes, scores, 0.1), lambda boxes: rotated_iou(boxes, boxes) > 0.1)])
def test_best_first_and_greedy(suppression, conflict):
    boxes, scores = boxes_and_scores()
    order = scores.argsort(descending=True)
    expected = order[by_loop(conflict(boxes[order]))]
    assert suppression(boxes, scores).tolist() == expected.tolist() and len(expected) < len(boxes)


def test_size_aware():
    boxes = torch.tensor([[0.0, 0.0, 4.0, 2.0, 0.0], [3.9, 1.9, 4.0, 2.0, 0.0], [4.1, 0.0, 4.0, 2.0, 0.0]])
    scores = torch.tensor([0.9, 0.8, 0.7])
    assert size_aware_nms(boxes, scores, 1.0).tolist() == [0, 2]  # the second touches both, the third neither
    assert size_aware_nms(boxes, scores, 0.97).tolist() == [0, 1]  # now the second stays and removes the third


def test_nothing_stays_nothing():
    none, scores = torch.zeros(0, 5), torch.zeros(0)
    for kept in (circle_nms(none[:, :2], scores, 1.0), rotated_nms(none, scores, 0.2),
                 size_aware_nms(none, scores, 1.0)):
        assert kept.shape == (0,)
