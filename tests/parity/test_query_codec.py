"""Box codes, suppression-free decoding, matching and losses of query heads (SparseBEV, BEVFormer)."""

import pytest
import torch

from bevkit.geometry.box_codes import boxes_from_code, boxes_from_query, code_from_boxes, query_from_boxes
from bevkit.importers.boxes import AUTHORS_CLASSES
from bevkit.models.coders import QueryBoxCoder
from bevkit.models.heads import QueryLoss, QueryOutput
from tests.parity.detection import assert_same_boxes, close


def test_codes(golden):
    data = golden("detection/box_codecs_query.pt")
    boxes, outputs, bounds = data["inputs"]["boxes"], data["outputs"], data["meta"]["config"]["pc_range"]
    query, code = query_from_boxes(boxes, bounds), code_from_boxes(boxes)
    for ours, name in ((query, "encode"), (boxes_from_query(query, bounds), "decode"), (code, "normalize"),
                       (boxes_from_code(code), "denormalize")):
        assert close(ours, outputs[name], data["meta"])


def test_normalisation(golden):
    data = golden("detection/nms_free_coder.pt")
    assert close(code_from_boxes(data["extra_inputs"]["norm_boxes"]), data["outputs"]["norm"], data["meta"])
    assert close(boxes_from_code(data["inputs"]["all_bbox_preds"][-1, 0]), data["outputs"]["denorm"], data["meta"])


@pytest.mark.parametrize("file", ["nms_free_coder", "sparsebev_head"])
def test_decoding(golden, file):
    data = golden(f"detection/{file}.pt")
    config = data["meta"]["config"]
    if file == "nms_free_coder":
        raw = QueryOutput(data["inputs"]["all_cls_scores"], data["inputs"]["all_bbox_preds"])
        thresholds = {name: None if value == "none" else value for name, value in config["score_thresholds"].items()}
        options = config
    else:
        raw = QueryOutput(data["outputs"]["all_cls_scores"], data["outputs"]["all_bbox_preds"])
        options = config["coder"]
        thresholds = dict(decoded=options["score_threshold"])
    for name, threshold in thresholds.items():
        coder = QueryBoxCoder(None, AUTHORS_CLASSES[: config["num_classes"]], options["max_num"], threshold,
                              options["post_center_range"], relax_threshold=True)
        for ours, theirs in zip(coder.decode(raw), data["outputs"][name], strict=True):
            assert_same_boxes(ours, theirs, list(AUTHORS_CLASSES), data["meta"])


@pytest.fixture
def loss_case(golden):
    data = golden("detection/sparsebev_loss.pt")
    config = data["meta"]["config"]
    loss = QueryLoss(config["loss_cls"]["weight"], config["loss_bbox"]["weight"], config["code_weights"],
                     config["code_weights"], unknown="box")
    assert (config["cost_cls"]["weight"], config["cost_bbox"]["weight"]) == (loss.class_weight, loss.box_weight)
    return data, loss


def test_assignment(loss_case):
    data, loss = loss_case
    inputs = data["inputs"]
    for layer, samples in enumerate(data["outputs"]["gt_inds"]):
        for sample, theirs in enumerate(samples):
            found = loss.match(inputs["all_cls_scores"][layer, sample], inputs["all_bbox_preds"][layer, sample],
                               code_from_boxes(inputs["gt_boxes"][sample]), inputs["gt_labels"][sample])
            assert torch.equal(found + 1, theirs)


def test_losses_and_gradients(loss_case):
    data, loss = loss_case
    inputs, outputs = data["inputs"], data["outputs"]
    scores, codes = (inputs[name].clone().requires_grad_() for name in ("all_cls_scores", "all_bbox_preds"))
    room = max(map(len, inputs["gt_labels"])) + 3
    boxes, labels = torch.ones(len(inputs["gt_labels"]), room, 9), torch.full((len(inputs["gt_labels"]), room), -1)
    for sample, (truth, classes) in enumerate(zip(inputs["gt_boxes"], inputs["gt_labels"])):
        boxes[sample, : len(truth)], labels[sample, : len(truth)] = truth, classes
    losses = loss(QueryOutput(scores, codes), dict(boxes=boxes, labels=labels))
    names = dict(loss_class="loss_cls", loss_box="loss_bbox")
    assert len(losses) == len(outputs["losses"])
    for name, value in losses.items():
        layer, _, part = name.rpartition(".")
        theirs = outputs["losses"][f"{layer.replace('layer', 'd')}.{names[part]}".lstrip(".")]
        assert close(value, theirs.squeeze(), data["meta"]), name
    sum(losses.values()).backward()
    assert close(scores.grad, outputs["grad_cls"], data["meta"])
    assert close(codes.grad, outputs["grad_bbox"], data["meta"])
