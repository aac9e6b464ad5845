"""Center and query heads: what they return, what they learn, and that unknown velocities poison nothing."""

import math

import pytest
import torch

from bevkit.importers.boxes import AUTHORS_CLASSES, new_code_rows, new_heading_rows, new_size_rows, to_our_classes
from bevkit.importers.centerpoint import translate_old_centerpoint
from bevkit.models.heads import CenterPointHead, QueryLoss, QueryOutput
from bevkit.models.losses import gaussian_focal, sigmoid_focal
from bevkit.models.losses.matching import assign
from bevkit.registry import MODELS
from bevkit.structures import BEVGrid
from bevkit.structures.classes import CLASSES
from tests.models.test_box_coders import clip_of, scene

GRID = BEVGrid(x=(-32.0, 32.0, 2.0), y=(-24.0, 24.0, 2.0))


def head(**options) -> CenterPointHead:
    torch.manual_seed(0)
    return MODELS.build(dict(type="CenterPointHead", grid=GRID, in_channels=6, shared_channels=8, branch_channels=4,
                             coder=dict(type="CenterPointCoder"), **options))


def targets_of(coder, batch: int = 2) -> dict[str, torch.Tensor]:
    samples = [coder.encode(clip_of(scene(seed=seed))) for seed in range(batch)]
    return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}


def test_center_head_learns_despite_unknown_velocities():
    model = head()
    bev, targets = torch.randn(2, 6, *GRID.shape), targets_of(model.coder)
    assert targets["codes"].isnan().any()
    optimiser = torch.optim.Adam(model.parameters(), 3e-2)
    first = None
    for _ in range(8):
        loss = sum(model.loss(model(bev), targets).values())
        first = first or loss.item()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
    assert loss.item() < 0.7 * first


def test_center_head_parts_sum_up():
    together, apart = head(), head(loss_by_attribute=True)
    raw = together(torch.randn(2, 6, *GRID.shape))
    losses = apart.loss(raw, targets_of(apart.coder))
    assert len(losses) == 6 * 6 and all("loss" in name for name in losses)
    assert sum(losses.values()).item() == pytest.approx(
        sum(together.loss(raw, targets_of(together.coder)).values()).item(), rel=1e-5)


def test_flawless_maps_cost_nearly_nothing():
    model = head()
    targets = targets_of(model.coder)
    flawless = model.coder.flawless(targets)
    losses = model.loss(flawless._replace(heatmap=torch.where(targets["heatmap"] == 1, 20.0, -20.0)), targets)
    assert losses["loss_box"] < 1e-5 and losses["loss_heatmap"] < 1e-2


def test_empty_scene_costs_no_box():
    model = head()
    targets = {name: value.unsqueeze(0) for name, value in model.coder.encode(clip_of(scene(0))).items()}
    losses = model.loss(model(torch.randn(1, 6, *GRID.shape)), targets)
    assert losses["loss_box"] == 0 and losses["loss_heatmap"] > 0
    assert all(torch.isfinite(value) for value in losses.values())


def test_predictions_are_boxes_on_the_map():
    model = head().eval()
    found = model.predict(model(torch.randn(2, 6, *GRID.shape)))
    assert len(found) == 2 and all(len(one.boxes) == len(one.scores) > 0 for one in found)
    assert all(one.boxes.centers[:, :2].abs().max() <= 61.2 for one in found)


# ---- queries -------------------------------------------------------------------------------------------------------

def query_case(unknown: str = "number", velocity_costs: bool = True):
    random = torch.Generator().manual_seed(0)
    weights = (1.0,) * 10
    loss = QueryLoss(unknown=unknown, **(dict(cost_weights=weights) if velocity_costs else {}))
    raw = QueryOutput(torch.randn(2, 1, 12, 10, generator=random).requires_grad_(),
                      torch.randn(2, 1, 12, 10, generator=random).requires_grad_())
    boxes, labels = torch.ones(1, 5, 9), torch.tensor([[2, 7, 2, -1, -1]])
    boxes[0, :3] = torch.rand(3, 9, generator=random) + 0.5
    boxes[0, 1, 7:] = math.nan
    return loss, raw, dict(boxes=boxes, labels=labels)


@pytest.mark.parametrize("unknown", ["number", "box"])
@pytest.mark.parametrize("velocity_costs", [True, False])
def test_unknown_velocity_poisons_nothing(unknown, velocity_costs):
    loss, raw, targets = query_case(unknown, velocity_costs)
    losses = loss(raw, targets)
    sum(losses.values()).backward()
    assert sorted(losses) == ["layer0.loss_box", "layer0.loss_class", "loss_box", "loss_class"]
    assert all(torch.isfinite(value) for value in losses.values())
    assert torch.isfinite(raw.scores.grad).all() and torch.isfinite(raw.boxes.grad).all()
    # Of the box of unknown velocity eight numbers are learned, or none.
    assert int((raw.boxes.grad != 0).sum()) == 2 * (2 * 10 + (8 if unknown == "number" else 0))


def test_padding_does_not_matter():
    loss, raw, targets = query_case()
    shorter = {name: value[:, :3] for name, value in targets.items()}
    assert {name: float(value) for name, value in loss(raw, targets).items()} == \
        {name: float(value) for name, value in loss(raw, shorter).items()}


def test_no_truth_at_all():
    loss, raw, targets = query_case()
    losses = loss(raw, {name: value[:, :0] for name, value in targets.items()})
    assert losses["loss_box"] == 0 and losses["loss_class"] > 0


def test_assignment_is_cheapest_and_one_to_one():
    cost = torch.tensor([[4.0, 1.0], [2.0, 0.5], [9.0, 9.0]])
    assert assign(cost).tolist() == [1, 0, -1]  # 1 + 2 is less than 0.5 + 4
    assert sorted(assign(torch.rand(3, 7)).tolist())[0] >= 0  # more objects than queries
    assert assign(torch.zeros(4, 0)).tolist() == [-1] * 4


def test_focal_losses():
    logits = torch.tensor([[3.0, -3.0], [-3.0, 3.0]])
    right, wrong = sigmoid_focal(logits, torch.tensor([0, 1])), sigmoid_focal(logits, torch.tensor([1, 0]))
    assert right < 0.01 * wrong
    target = torch.tensor([1.0, 0.9, 0.0])
    near, far = (gaussian_focal(torch.tensor([9.0, *peak]), target) for peak in ((2.0, -9.0), (-9.0, 2.0)))
    assert near < 0.01 * far  # a peak beside a centre is forgiven, one elsewhere is not


# ---- conventions before mmdet3d 1.0 --------------------------------------------------------------------------------

def test_old_boxes_are_turned():
    yaw, size = torch.tensor(0.7), torch.tensor([4.0, 2.0, 1.5])
    old_yaw = -yaw - math.pi / 2
    old_size, old_heading = size[[1, 0, 2]], torch.stack((old_yaw.sin(), old_yaw.cos()))
    assert torch.equal(new_size_rows(old_size), size)
    assert torch.allclose(new_heading_rows(old_heading), torch.stack((yaw.sin(), yaw.cos())))
    code = torch.cat((torch.tensor([1.0, 2.0]), old_size[:2], torch.tensor([3.0]), old_size[2:], old_heading,
                      torch.tensor([5.0, 6.0])))
    expected = torch.tensor([1.0, 2.0, 4.0, 2.0, 3.0, 1.5, yaw.sin(), yaw.cos(), 5.0, 6.0])
    assert torch.allclose(new_code_rows(code), expected)
    assert to_our_classes(torch.arange(10)).tolist() == [AUTHORS_CLASSES.index(name) for name in CLASSES]


def test_old_head_predicts_the_same_boxes():
    """A head in the old convention, imported, says l, w, h and yaw of what it said as w, l, h and -yaw - pi/2."""
    model = head()
    names = {"heatmap": "heatmap", "offset": "reg", "height": "height", "size": "dim", "heading": "rot",
             "velocity": "vel"}
    layers = {"0": "0.conv", "1": "0.bn", "3": "1"}
    state = {}
    for name, value in model.state_dict().items():
        part, *rest = name.split(".")
        if part == "shared":
            state[f"pts_bbox_head.shared_conv.{'conv' if rest[0] == '0' else 'bn'}.{rest[1]}"] = value
        else:
            task, attribute, layer, last = rest
            state[f"pts_bbox_head.task_heads.{task}.{names[attribute]}.{layers[layer]}.{last}"] = value.clone()
    translation = translate_old_centerpoint(state, {})
    assert not translation.unknown and len(translation.state) == len(state)
    bev, old = torch.randn(1, 6, *GRID.shape), model.eval()
    before = old(bev)
    old.load_state_dict({name.removeprefix("head."): value for name, value in translation.state.items()})
    after = old(bev)
    assert torch.allclose(after.size, before.size[:, :, [1, 0, 2]])
    old_yaw = torch.atan2(before.heading[:, :, 0], before.heading[:, :, 1])
    yaw = torch.atan2(after.heading[:, :, 0], after.heading[:, :, 1])
    assert torch.allclose((yaw + old_yaw + math.pi / 2).sin(), torch.zeros(()), atol=1e-5)
    assert torch.allclose((yaw + old_yaw + math.pi / 2).cos(), torch.ones(()), atol=1e-5)
