"""Rotated overlap and suppression as mmcv's compiled ones, circle suppression as mmdet3d's."""

import torch

from bevkit.geometry.overlap import rotated_iou
from bevkit.ops.nms import circle_nms, rotated_nms
from tests.parity.detection import close


def test_nms(golden):
    data = golden("detection/nms_bev.pt")
    boxes, scores, config = data["inputs"]["xywhr"], data["inputs"]["scores"], data["meta"]["config"]
    outputs, most = data["outputs"], config["post_max_size"]
    rotated = next(name for name in outputs if name.startswith("keep_rotated"))
    circle = next(name for name in outputs if name.startswith("keep_circle"))
    assert close(rotated_iou(boxes, boxes), outputs["rotated_iou"], data["meta"])
    assert torch.equal(rotated_nms(boxes, scores, config["rotated_iou_threshold"]), outputs[rotated])
    assert torch.equal(circle_nms(boxes[:, :2], scores, config["circle_threshold_squared"])[:most], outputs[circle])
