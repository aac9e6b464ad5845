"""FipTR's losses and assignments against the authors' numbers."""

import pytest
import torch

from bevkit.geometry.box_codes import code_from_boxes
from bevkit.models.future import FipTROutput
from bevkit.models.losses.instance_query import InstanceQueryLoss
from bevkit.models.losses.masks import dice_cost
from bevkit.models.losses.query import QueryLoss
from tests.parity.fiptr import relative_error


@pytest.fixture(scope="module")
def reference(golden):
    data = golden("instance/fiptr_losses.pt")
    config = data["meta"]["config"]
    # What the authors have as one number in matching and loss, and what they leave out.
    assert config["match_cls_weight"] == config["cls_loss_weight"]
    assert config["match_bbox_weight"] == config["bbox_loss_weight"]
    assert config["match_dice_weight"] == config["dice_loss_weight"]
    assert config["bg_cls_weight"] == config["iou_loss_weight"] == 0 and config["cls_gamma"] == 2
    loss = InstanceQueryLoss(config["mask_loss_weight"], config["dice_loss_weight"], config["flow_loss_weight"],
                             QueryLoss(config["cls_loss_weight"], config["bbox_loss_weight"], config["code_weights"]),
                             config["flow_ignore"])
    names = ("all_cls_scores", "all_bbox_preds", "all_seg_masks", "predict_flows")
    raw = FipTROutput(*(data["preds"][name].detach().clone().requires_grad_() for name in names))
    targets = dict(boxes=data["gt_boxes"][None], labels=data["gt_labels"][None], masks=data["gt_masks"][None],
                   flow=data["gt_backward_flow"].flip(2))  # the authors' channel 0 is the row
    return data, loss, raw, targets


def our_name(name: str) -> str:
    """Turns the authors' name of a loss to ours."""
    layer, _, part = name.rpartition(".")
    part = part.replace("cls", "class").replace("bbox", "box")
    layer = layer.replace("f_", "frame").replace("d", "layer")
    return f"{layer}.{part}" if layer else part


def test_losses(reference):
    data, loss, raw, targets = reference
    ours = loss(raw, targets)
    theirs = {our_name(name): value for name, value in data["losses"].items()}
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert relative_error(ours[name], value.reshape(())) < 1e-5, name


def test_assignments(reference):
    data, loss, raw, targets = reference
    objects = [loss.query.layer(*layer, targets)[2][0] + 1 for layer in zip(raw.scores, raw.boxes)]
    assert all(torch.equal(*pair) for pair in zip(objects, data["det_assigned_gt_inds"], strict=True))
    truth, cost = code_from_boxes(data["gt_boxes"]), torch.zeros(())
    for frame in range(raw.masks.shape[2]):
        cost = cost + dice_cost(raw.masks[0, :, frame], data["gt_masks"][:, frame])
    cost = cost * data["meta"]["config"]["match_dice_weight"]
    found = loss.query.match(raw.scores[-1, 0], raw.boxes[-1, 0], truth, data["gt_labels"], cost) + 1
    assert torch.equal(found, data["mask_assigned_gt_inds"])
    # The loss asks the queries that were matched so, and no others, for masks.
    (gradient,) = torch.autograd.grad(loss(raw, targets)["frame0.loss_dice"], raw.masks)
    assert torch.equal(gradient[0, :, 0].abs().amax(dim=(1, 2)) > 0, found > 0)
