"""BEVFormerHead: what comes out, within which bounds, and that it learns."""

import torch

from bevkit.models.heads import BEVFormerHead
from bevkit.models.layers.map_decoder import logit
from bevkit.structures import BEVGrid

GRID = BEVGrid(x=(-12.0, 12.0, 1.0), y=(-8.0, 8.0, 1.0), z=(-5.0, 3.0, 8.0))


def build(**options):
    torch.manual_seed(0)
    return BEVFormerHead(GRID, 16, queries=12, layers=3, heads=4, ffn_channels=32, dropout=0.0, **options)


def test_all_layers_in_training_the_last_one_after():
    head, bev = build(), torch.randn(2, 16, *GRID.shape)
    every, last = head(bev), head.eval()(bev)
    assert every.scores.shape == (3, 2, 12, 10) and every.boxes.shape == (3, 2, 12, 10)
    assert torch.allclose(every.scores[-1:], last.scores, atol=1e-5)
    assert torch.allclose(every.boxes[-1:], last.boxes, atol=1e-4)
    assert every.scores.sigmoid().mean() < 0.05  # at first nothing is likely


def test_boxes_stand_within_the_grid():
    head = build()
    for branch in head.boxes:
        torch.nn.init.normal_(branch[-1].weight, std=30.0)
    boxes = head(torch.randn(2, 16, *GRID.shape)).boxes
    low, high = torch.tensor([-12.0, -8, -5]), torch.tensor([12.0, 8, 3])
    place = boxes[..., [0, 1, 4]]
    assert (place >= low - 1e-4).all() and (place <= high + 1e-4).all() and (place - low).min() < 0.1


def test_logit_undoes_the_sigmoid_and_stays_finite():
    values = torch.tensor([-9.0, -1.0, 0.0, 2.5])
    assert torch.allclose(logit(values.sigmoid()), values, atol=1e-2)
    assert torch.isfinite(logit(torch.tensor([0.0, 1.0]))).all()


def test_it_learns_where_two_objects_are():
    head = build()
    bev = torch.zeros(1, 16, *GRID.shape)
    bev[0, 0, 4, 6], bev[0, 1, 12, 18] = 5.0, 5.0
    boxes = torch.tensor([[[-5.5, -3.5, -1.0, 4.0, 2.0, 1.5, 0.3, 0.0, 0.0],
                           [6.5, 4.5, -1.0, 1.0, 1.0, 1.5, 2.0, 1.0, 0.0]]])
    targets = dict(boxes=boxes, labels=torch.tensor([[0, 5]]))
    optimizer = torch.optim.AdamW(head.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = sum(head.loss(head(bev), targets).values())
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.25 * losses[0]
    found = head.eval().predict(head(bev))[0]
    assert sorted(found.boxes.labels[:2].tolist()) == [0, 5]
    for label, center in ((0, boxes[0, 0, :2]), (5, boxes[0, 1, :2])):
        mine = found.boxes.centers[:2][found.boxes.labels[:2] == label][0, :2]
        assert (mine - center).norm() < 1.0
