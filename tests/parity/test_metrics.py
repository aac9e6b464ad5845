"""IoU and VPQ equal the authors', counter by counter."""

import pytest
import torch

from bevkit.metrics.panoptic import PanopticCounts, count_panoptic
from bevkit.metrics.segmentation import SegmentationCounts, count_segmentation

FILE = "instance/metrics_iou_vpq.pt"


def panoptic_of(case: dict, consistent: bool) -> PanopticCounts:
    clips = [count_panoptic(predicted.long(), truth.long(), consistent)
             for predicted, truth in zip(case["pred"], case["gt"], strict=True)]
    return PanopticCounts(*(torch.stack(parts).sum(dim=0) for parts in zip(*clips, strict=True)))


def check_results(counts: PanopticCounts, expected: dict, suffix: str) -> None:
    for name, value in [("pq", counts.panoptic_quality), ("sq", counts.segmentation_quality),
                        ("rq", counts.recognition_quality)]:
        torch.testing.assert_close(value.float(), expected[f"{name}_{suffix}"], rtol=0, atol=1e-6)
    denominator = counts.true_positive + (counts.false_positive + counts.false_negative) / 2
    torch.testing.assert_close(denominator.float(), expected[f"denominator_{suffix}"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("suffix, consistent", [("tc1", True), ("tc0", False)])
def test_panoptic(golden, suffix, consistent):
    data = golden(FILE)
    counted = []
    for name in data["order"]:
        case = data["cases"][name]
        counts = panoptic_of(case, consistent)
        counted.append(counts)
        for field, value in counts._asdict().items():
            torch.testing.assert_close(value.float(), case[f"{field}_{suffix}"], rtol=1e-6, atol=1e-6,
                                       msg=lambda text, name=name, field=field: f"{name}.{field}: {text}")
        check_results(counts, case, suffix)
    total = PanopticCounts(*(torch.stack(parts).sum(dim=0) for parts in zip(*counted, strict=True)))
    check_results(total, data["aggregate"], suffix)


def test_segmentation(golden):
    data = golden(FILE)
    counted = []
    for name in data["order"]:
        case = data["cases"][name]
        counts = count_segmentation(case["pred"] > 0, case["gt"] > 0)
        counted.append(counts)
        for field, value in counts._asdict().items():
            assert torch.equal(value.float(), case[f"seg_{field}"]), (name, field)
        assert torch.equal((counts.true_positive + counts.false_negative).float(), case["seg_support"])
        torch.testing.assert_close(counts.iou.float(), case["seg_iou"], rtol=0, atol=1e-6)
    total = SegmentationCounts(*(torch.stack(parts).sum(dim=0) for parts in zip(*counted, strict=True)))
    torch.testing.assert_close(total.iou.float(), data["aggregate"]["seg_iou"], rtol=0, atol=1e-6)
