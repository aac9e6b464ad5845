"""FipTR's decoding of masks and boxes against the authors'."""

from types import SimpleNamespace

import pytest
import torch

from bevkit.importers.fiptr_head import FIPTR_CLASSES
from bevkit.models.coders import InstanceQueryCoder, QueryBoxCoder
from bevkit.models.coders.boxes import boxes_of
from bevkit.structures.classes import CLASSES
from tests.parity.fiptr import grid_of, our_codes, our_names, our_scores


@pytest.fixture(scope="module")
def reference(golden):
    data = golden("instance/fiptr_decode.pt")
    raw = SimpleNamespace(scores=our_scores(data["all_cls_scores"]), boxes=our_codes(data["all_bbox_preds"]),
                          masks=data["all_seg_masks"], flow=torch.zeros(1, data["all_seg_masks"].shape[2] - 1, 2, 1, 1))
    raw.flow = raw.flow.expand(-1, -1, -1, *raw.masks.shape[-2:])
    return data, raw


def test_instances(reference):
    data, raw = reference
    (found,) = InstanceQueryCoder(grid_of(data["meta"]["config"]), threshold=data["mask_threshold"]).decode(raw)
    assert torch.equal(found.ids, data["instance"].long()) and data["instance"].max() > 1
    assert torch.equal(found.occupied, data["segmentation"] > 0)


def test_boxes(reference):
    data, raw = reference
    config = data["meta"]["config"]
    names = our_names(config["num_classes"])
    assert config["score_threshold"] in (None, "none")
    coder = QueryBoxCoder(classes=names, max_boxes=data["max_num"], center_range=config["post_center_range"])
    (found,) = coder.decode(raw)
    x, y, z, width, length, height, yaw, vx, vy = data["boxes"].unbind(dim=1)  # as before mmdet3d 1.0
    boxes = torch.stack((x, y, z, length, width, height, -yaw - torch.pi / 2, vx, vy), dim=1)
    labels = torch.tensor([CLASSES.index(name) for name in FIPTR_CLASSES])[data["labels"]]
    assert torch.equal(found.boxes.labels, labels) and len(labels) > 1
    assert torch.allclose(found.scores, data["scores"], rtol=1e-5, atol=0)
    apart = boxes_of(found.boxes) - boxes
    apart[:, 6] = (apart[:, 6] + torch.pi) % (2 * torch.pi) - torch.pi
    assert apart.abs().max() <= 1e-5 * boxes.abs().max()
