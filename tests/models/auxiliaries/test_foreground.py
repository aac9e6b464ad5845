"""ForegroundLoss and the map it reads."""

import pytest
import torch

from bevkit.datasets import ForegroundMap
from bevkit.models.auxiliaries import ForegroundLoss
from bevkit.structures import BEVClip, BEVFrame, Boxes3D, Trace

GRID = dict(x=(-8.0, 8.0, 1.0), y=(-4.0, 4.0, 1.0))
NOTHING = torch.zeros(0)


def trace_of(logits):
    return Trace((), None, NOTHING, NOTHING, NOTHING, logits)


def test_certainty_costs_nothing_and_misses_cost_more_than_false_alarms():
    truth = torch.zeros(2, 1, 4, 6)
    truth[:, :, 1:3, 2:4] = 1
    loss = ForegroundLoss()
    right = loss.loss(trace_of((truth * 2 - 1) * 20), {"foreground": truth})
    assert all(value < 1e-3 for value in right.values())
    logits = torch.zeros(2, 1, 4, 6, requires_grad=True)
    (slope,) = torch.autograd.grad(loss.loss(trace_of(logits), {"foreground": truth})["loss_foreground"], logits)
    assert slope[truth == 1].mean() / slope[truth == 0].mean() == pytest.approx(-2.13, rel=1e-5)
    none = loss.loss(trace_of(torch.full((2, 1, 4, 6), -20.0)), {"foreground": torch.zeros(2, 1, 4, 6)})
    assert all(torch.isfinite(value) and value < 1e-3 for value in none.values())


def test_it_reads_the_present_of_several_frames():
    truth = torch.ones(2, 1, 4, 6)
    logits = torch.full((2, 3, 1, 4, 6), -20.0)
    logits[:, -1] = 20.0
    assert ForegroundLoss().loss(trace_of(logits.flatten(0, 1)), {"foreground": truth})["loss_foreground"] < 1e-3
    with pytest.raises(ValueError, match="ForegroundMap"):
        ForegroundLoss().loss(trace_of(logits.flatten(0, 1)), {})


def test_the_map_covers_what_boxes_cover():
    boxes = Boxes3D.predicted(torch.tensor([[2.5, 1.5, 0.0]]), torch.tensor([[3.0, 1.0, 1.0]]), torch.tensor([0.0]),
                              torch.zeros(1, 2), torch.tensor([0]))
    frame = BEVFrame(images=None, rig=None, global_from_ego=torch.eye(4, dtype=torch.float64), timestamp=0.0,
                     boxes=boxes)
    covered = ForegroundMap(GRID)(BEVClip((frame,), 1), None).targets["foreground"]
    assert covered.shape == (1, 8, 16)
    rows, columns = covered[0].nonzero().unbind(1)
    # The box covers row 5 and columns 9 to 11; `fill_polygons` also paints what its rounded outline touches.
    assert covered[0, 5, 9:12].all()
    assert rows.min() >= 4 and rows.max() <= 6 and columns.min() >= 8 and columns.max() <= 12
