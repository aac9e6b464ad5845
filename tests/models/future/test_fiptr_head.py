"""FipTR's head, its losses and its decoding: laws that hold for any numbers."""

from types import SimpleNamespace

import pytest
import torch

from bevkit.geometry.box_codes import code_from_boxes
from bevkit.metrics import count_instances, instance_scores
from bevkit.models.coders import InstanceQueryCoder, QueryBoxCoder
from bevkit.models.future import FipTRHead, FipTROutput
from bevkit.models.losses.instance_query import InstanceQueryLoss
from bevkit.models.losses.masks import dice, dice_cost, flow_with_rest
from bevkit.structures import BEVGrid, Detections3D
from bevkit.structures.classes import VEHICLES

GRID = BEVGrid(x=(-6.0, 6.0, 1.0), y=(-4.0, 4.0, 1.0), z=(-5.0, 3.0, 8.0))  # 8 x 12 cells
FUTURE, QUERIES = 2, 10


def build(**options) -> FipTRHead:
    torch.manual_seed(0)
    return FipTRHead(GRID, 16, FUTURE, QUERIES, layers=2, future_layers=2, heads=4, points=2, ffn_channels=32,
                     **{"dropout": 0.0, **options})


def truth(room: int = 4) -> dict[str, torch.Tensor]:
    """Two samples: a car and a truck that cross, and nothing but a bus."""
    boxes = torch.zeros(2, room, 9)
    boxes[..., 3:6] = 1.0
    labels = torch.full((2, room), -1)
    masks = torch.zeros(2, room, FUTURE + 1, *GRID.shape, dtype=torch.bool)
    for sample, place, label, row, step in ((0, 0, 0, 1, 2), (0, 2, 1, 5, -2), (1, 1, 2, 3, 0)):
        boxes[sample, place, 1], labels[sample, place] = row - 3.0, label
        for frame in range(FUTURE + 1):
            masks[sample, place, frame, row + step * frame:row + step * frame + 2, 4:8] = True
    flow = torch.full((2, FUTURE, 2, *GRID.shape), 255.0)
    flow[:, :, :, 2:4, 4:8] = torch.tensor([0.0, -2.0])[:, None, None]
    return dict(boxes=boxes, labels=labels, masks=masks, flow=flow)


def raw_of(targets: dict[str, torch.Tensor], queries: int = QUERIES) -> FipTROutput:
    """Random outputs of two decoder layers for the targets."""
    random = torch.Generator().manual_seed(1)

    def numbers(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random).requires_grad_()

    frames = targets["masks"].shape[2:]
    return FipTROutput(numbers(2, 2, queries, 7), numbers(2, 2, queries, 10), numbers(2, queries, *frames),
                       numbers(*targets["flow"].shape))


def test_a_head_has_as_many_classes_as_its_labels():
    coder = dict(type="InstanceQueryCoder", labels=dict(type="InstanceMaskCoder", classes=("car", "truck")))
    assert build(classes=2, coder=coder).coder.labels.classes == ("car", "truck")
    with pytest.raises(ValueError, match=r"its coder names, 2 \(car, truck\), got 7"):
        build(coder=coder)


def test_the_present_alone():
    head = FipTRHead(GRID, 16, 0, QUERIES, layers=1, heads=4, points=2, ffn_channels=32, dropout=0.0)
    raw = head(torch.randn(2, 16, *GRID.shape))
    targets = truth()
    targets.update(masks=targets["masks"][:, :, :1], flow=targets["flow"][:, :0])
    losses = head.loss(raw, targets)
    assert raw.masks.shape[2] == 1 and raw.flow.shape == (2, 0, 2, *GRID.shape)
    assert all(value.isfinite() for value in losses.values()) and losses["frame0.loss_mask"] > 0


def test_all_layers_in_training_the_last_one_after():
    head, bev = build(), torch.randn(2, 16, *GRID.shape)
    with torch.no_grad():
        every, last = head(bev), head.eval()(bev)
    assert every.scores.shape == (2, 2, QUERIES, 7) and every.boxes.shape == (2, 2, QUERIES, 10)
    assert last.scores.shape == (1, 2, QUERIES, 7) and last.boxes.shape == (1, 2, QUERIES, 10)
    assert last.masks.shape == (2, QUERIES, FUTURE + 1, *GRID.shape) and last.flow.shape == (2, FUTURE, 2, *GRID.shape)
    assert every.scores.sigmoid().mean() < 0.05  # at first nothing is likely


@torch.no_grad()
@pytest.mark.parametrize("keep_position", [False, True])
def test_samples_of_a_batch_know_nothing_of_each_other(keep_position):
    head, bev = build(keep_position=keep_position).eval(), torch.randn(3, 16, *GRID.shape)
    for name, together, alone in zip(FipTROutput._fields, head(bev), head(bev[1:2])):
        dim = 1 if name in ("scores", "boxes") else 0
        assert torch.allclose(together.select(dim, 1), alone.select(dim, 0), atol=1e-5), name
        assert not torch.allclose(together.select(dim, 1), together.select(dim, 2), atol=1e-3), name


def test_a_head_that_follows_the_truth_finds_it():
    """Two who cross and one who stands still, each with one id in all frames."""
    head, targets = build(coder=dict(type="InstanceQueryCoder")).train(), truth()
    targets["masks"][0, 2, 1] = False  # where both cross, no cell can have two
    masks = targets["masks"][:, :, 0].float()  # everyone looks different, as real ones do
    bev = torch.einsum("bayx,ac->bcyx", masks, torch.rand(masks.shape[1], 16)) + 0.1 * torch.rand(2, 16, *GRID.shape)
    optimizer = torch.optim.AdamW(head.parameters(), lr=5e-3)
    totals = []
    for _ in range(90):
        losses = head.loss(head(bev), targets)
        assert all("loss" in name and value.ndim == 0 for name, value in losses.items())
        total = sum(losses.values())
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), 35.0)
        optimizer.step()
        totals.append(total.item())
    assert totals[-1] < 0.1 * totals[0]
    assert [name for name, weight in head.named_parameters() if not weight.grad.any()] == []  # all have a part in it
    found = head.eval().predict(head(bev))
    for ours, wanted in zip(found, head.coder.decode(head.coder.flawless(targets))):
        scores = instance_scores(count_instances(ours.ids, wanted.ids))
        assert scores["iou"] > 90 and scores["rq"] == 100


def test_the_future_is_made_of_the_map_before_and_of_how_it_moves():
    head, bev = build().eval(), torch.randn(1, 16, *GRID.shape, requires_grad=True)
    maps, flows = head.future_maps(bev)
    assert len(maps) == FUTURE + 1 and len(flows) == FUTURE and maps[0] is bev
    torch.nn.init.normal_(head.future_layers[0][0].read.sampling.offsets.weight)  # at first no flow is asked
    maps, flows = head.future_maps(bev)
    (by_flow,) = torch.autograd.grad(maps[1].square().sum(), flows[0], retain_graph=True)
    (by_map,) = torch.autograd.grad(maps[2].square().sum(), maps[1])
    assert by_flow.abs().max() > 0 and by_map.abs().max() > 0


def test_boxes_stand_within_the_bounds():
    bounds = (-9.0, -7.0, -1.0, 9.0, 7.0, 2.0)
    head = build(bounds=bounds).eval()
    for branch in head.decoder.boxes:
        torch.nn.init.normal_(branch[-1].weight, std=30.0)
    with torch.no_grad():
        boxes = head(torch.randn(1, 16, *GRID.shape)).boxes
    assert (boxes[..., 0].abs() <= 9).all() and boxes[..., 0].abs().max() > 6
    assert (boxes[..., 1].abs() <= 7).all() and boxes[..., 4].min() >= -1 and boxes[..., 4].max() <= 2


def test_half_precision_is_enough():
    head, targets = build().train(), truth()
    with torch.autocast("cpu", torch.bfloat16):
        raw = head(torch.randn(2, 16, *GRID.shape))
        losses = head.loss(raw, targets)
    assert raw.masks.dtype == torch.bfloat16 and raw.boxes.dtype == torch.float32  # places want more
    total = sum(losses.values())
    total.backward()
    assert total.dtype == torch.float32 and torch.isfinite(total)


def test_the_same_masks_of_the_future_decide_between_equal_boxes():
    targets = truth()
    raw = raw_of(targets)
    with torch.no_grad():  # queries 3 and 7 say the same of the car, but for where it will be
        for query in (3, 7):
            raw.scores[:, 0, query], raw.scores[:, 0, query, 0] = -3.0, 5.0
            raw.boxes[:, 0, query] = code_from_boxes(targets["boxes"][0, 0])
            raw.masks[0, query] = targets["masks"][0, 0].float() * 18 - 9
        raw.masks[0, 3, 1:] *= -1
    (gradient,) = torch.autograd.grad(InstanceQueryLoss()(raw, targets)["frame1.loss_mask"], raw.masks)
    assert gradient[0, 7].any() and not gradient[0, 3].any()


def test_room_for_instances_changes_nothing():
    losses = [InstanceQueryLoss()(raw_of(truth()), truth(room)) for room in (4, 9)]
    assert losses[0].keys() == losses[1].keys()
    assert all(torch.equal(value, losses[1][name]) for name, value in losses[0].items())


def test_nobody_there_is_learned_too():
    targets = truth()
    targets["labels"][:] = -1
    targets["flow"][:] = 255.0
    raw = raw_of(targets)
    losses = InstanceQueryLoss()(raw, targets)
    sum(losses.values()).backward()
    assert all(torch.isfinite(each.grad).all() for each in raw)
    assert losses["frame0.loss_mask"] == losses["frame0.loss_dice"] == losses["loss_box"] == 0
    assert losses["loss_class"] > 0 and losses["loss_flow"] > 0  # nothing there, and nothing moves


def test_wrong_frames_are_named():
    targets = truth()
    with pytest.raises(ValueError, match="the future and the grid"):
        InstanceQueryLoss()(raw_of(targets), {**targets, "masks": targets["masks"][:, :, :1]})


def test_dice_of_a_pair_is_the_same_in_matching_and_loss():
    random = torch.Generator().manual_seed(0)
    logits, masks = torch.randn(5, 4, 6, generator=random), torch.rand(5, 4, 6, generator=random) > 0.5
    pairs = dice(logits[:, None], masks[:, None], smooth=0.5).squeeze(1)
    assert torch.allclose(dice_cost(logits, masks, smooth=0.5).diagonal(), pairs)
    assert torch.allclose(dice(masks[:, None] * 80.0 - 40, masks[:, None]), torch.zeros(5, 1), atol=1e-6)


def test_flow_outside_of_objects_is_drawn_to_zero():
    target = torch.full((1, 2, 2, 4, 4), 255.0)
    target[..., :2, :] = 3.0
    right = torch.where(target == 255, 0.0, target)
    assert flow_with_rest(right, target) == 0
    # Each frame counts alike, and within it what moves counts as the rest, whatever their sizes.
    for part in (slice(0, 2), slice(2, 4)):
        wrong = right.clone()
        wrong[:, 0, :, part] += 5
        assert flow_with_rest(wrong, target) == pytest.approx(4.5)


# ---- decoding ------------------------------------------------------------------------------------------------------

def decoded(scores: torch.Tensor, masks: torch.Tensor, threshold: float = 0.3):
    """Decodes scores [Q] and masks [Q F+1 Y X] in 0..1."""
    raw = SimpleNamespace(scores=torch.logit(scores)[None, None, :, None], masks=torch.logit(masks, eps=1e-6)[None],
                          flow=torch.zeros(1, masks.shape[1] - 1, 2, *masks.shape[2:]))
    return InstanceQueryCoder(GRID, threshold=threshold).decode(raw)[0]


def test_ids_are_the_same_object_over_time():
    targets = truth()
    scores = torch.tensor([0.9, 0.1, 0.8, 0.05])
    found = decoded(scores, targets["masks"][0].float())
    car, truck = targets["masks"][0, 0], targets["masks"][0, 2] & ~targets["masks"][0, 0]  # the surer one is in front
    assert torch.equal(found.ids == 1, car) and torch.equal(found.ids == 2, truck)
    assert torch.equal(found.probability > 0.3, found.occupied)
    assert len(found.flow) == FUTURE + 1


def test_who_hides_for_a_frame_comes_back_as_the_same():
    masks = truth()["masks"][0].float()
    masks[0, 1] = 0
    found = decoded(torch.tensor([0.9, 0.1, 0.8, 0.05]), masks)
    assert [set(frame.unique().tolist()) for frame in found.ids] == [{0, 1, 2}, {0, 2}, {0, 1, 2}]


def test_a_cell_takes_both_a_sure_query_and_a_sure_mask():
    masks = torch.full((2, 1, *GRID.shape), 0.5)
    masks[1, 0, 0, 0] = 0.9
    assert decoded(torch.tensor([0.9, 0.55]), masks, 0.46).ids.nonzero().tolist() == [[0, 0, 0]]
    assert decoded(torch.tensor([0.9, 0.2]), masks, 0.46).ids.max() == 0


def test_truth_comes_back_from_flawless_outputs():
    targets, coder = truth(), InstanceQueryCoder(GRID)
    targets["masks"][0, 2, 1] = False
    raw = coder.flawless(targets)
    for sample, found in enumerate(coder.decode(raw)):
        wanted = torch.zeros_like(found.ids)
        for number, place in enumerate((targets["labels"][sample] >= 0).nonzero().squeeze(1)):
            wanted[targets["masks"][sample, place]] = number + 1
        assert torch.equal(found.ids, wanted)
    # Near 0 but for the last-layer classes, whose focal loss has no zero.
    losses = InstanceQueryLoss()(raw, targets)
    assert all(value < 0.05 for name, value in losses.items()), losses


def test_boxes_are_read_by_the_coder_of_boxes():
    coder = QueryBoxCoder(classes=VEHICLES, score_threshold=0.5)
    head = build(coder=coder)
    targets = truth()
    raw = InstanceQueryCoder(GRID).flawless(targets)
    raw = FipTROutput(torch.nn.functional.pad(raw.scores, (0, 4), value=-20.0), *raw[1:])
    found = head.predict(raw)
    assert [type(each) for each in found] == [Detections3D, Detections3D]
    assert [len(each.boxes) for each in found] == [2, 1]
    assert torch.allclose(found[1].boxes.centers[0].float(), targets["boxes"][1, 1, :3])
