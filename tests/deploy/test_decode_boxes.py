"""The decoding of boxes that runs in the vehicle, without PyTorch, gives the boxes of its twins in the toolkit."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from bevkit.export.manifest import settings
from bevkit.geometry import overlap
from bevkit.models.coders import CenterPointCoder, ForecastCoder, QueryBoxCoder
from bevkit.models.coders.boxes import boxes_of
from bevkit.models.heads import CenterPointOutput, ForecastOutput, QueryOutput
from bevkit.structures import BEVGrid, Detections3D
from bevkit.structures.classes import CLASSES

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
sys.path.insert(0, str(DEPLOY))
vehicle = __import__("decode_boxes")
GRID = BEVGrid(x=(-51.2, 51.2, 1.6), y=(-40.0, 40.0, 1.6))
KINDS = {"circle": dict(kind="circle", squared_distance=4.0), "rotated": dict(kind="rotated", overlap=0.2, scale=1.3),
         "size_aware": dict(kind="size_aware", scale=0.6)}


def check(ours: tuple, twin: Detections3D) -> int:
    boxes, scores, names = ours
    assert [CLASSES.index(name) for name in names] == twin.boxes.labels.tolist()
    np.testing.assert_allclose(scores, twin.scores.numpy(), rtol=1e-6)
    np.testing.assert_allclose(boxes, boxes_of(twin.boxes).numpy(), rtol=1e-5, atol=1e-5)
    return len(names)


def center_maps(batch: int, seed: int) -> CenterPointOutput:
    random = torch.Generator().manual_seed(seed)

    def maps(*lead: int) -> torch.Tensor:
        return torch.randn(*lead, *GRID.shape, generator=random)

    return CenterPointOutput(3 * maps(batch, 10) - 5, maps(batch, 6, 2), maps(batch, 6, 1), maps(batch, 6, 3),
                             maps(batch, 6, 2), maps(batch, 6, 2))


@pytest.mark.parametrize("kind", [*KINDS, "published"])
def test_center_point(kind):
    coder = CenterPointCoder(GRID, nms=KINDS[kind]) if kind in KINDS else CenterPointCoder(GRID)
    raw, grid = center_maps(2, 1), dict(x=GRID.x, y=GRID.y)
    for sample, twin in enumerate(coder.decode(raw)):
        outputs = {name: value[sample].numpy() for name, value in raw._asdict().items()}
        assert check(vehicle.decode_center_point(outputs, settings(coder), grid), twin) > 50


@pytest.mark.parametrize("seen", [range(10), [0]])  # all classes, or cars alone
def test_scales_of_classes(seen):
    scales = (1.0, (0.7, 0.7), (0.4, 0.55), 1.1, (1.0, 1.0), (4.5, 9.0))  # BEVDet's
    coder = CenterPointCoder(GRID, nms=[dict(kind="rotated", overlap=0.2, scale=scale) for scale in scales])
    raw, grid = center_maps(1, 4), dict(x=GRID.x, y=GRID.y)
    raw.heatmap[:, [index for index in range(10) if index not in seen]] = -99
    outputs = {name: value[0].numpy() for name, value in raw._asdict().items()}
    assert check(vehicle.decode_center_point(outputs, settings(coder), grid), coder.decode(raw)[0]) > 20


@pytest.mark.parametrize("low", [0, 99])  # logits moved down by it: at 99 nothing is found
def test_forecast(low):
    coder, boxes = ForecastCoder(GRID, steps=3), center_maps(1, 2)
    random = torch.Generator().manual_seed(5)
    paths, path_scores = (torch.randn(1, 6, count, *GRID.shape, generator=random) for count in (4 * 3 * 2, 4))
    raw = ForecastOutput(boxes.heatmap - low, *boxes[1:], paths, path_scores)
    twin, = coder.decode(raw)
    outputs = {name: value[0].numpy() for name, value in raw._asdict().items()}
    *ours, found, odds = vehicle.decode_forecast(outputs, settings(coder), dict(x=GRID.x, y=GRID.y))
    assert (check(tuple(ours), twin) > 50) == (low == 0)
    np.testing.assert_allclose(found, twin.paths.numpy(), rtol=1e-6)
    np.testing.assert_allclose(odds, twin.path_scores.numpy(), rtol=1e-5)


def test_nothing_found():
    coder, raw = CenterPointCoder(GRID, nms=KINDS["rotated"]), center_maps(1, 0)
    outputs = {name: value[0].numpy() for name, value in raw._replace(heatmap=raw.heatmap - 99)._asdict().items()}
    boxes, scores, names = vehicle.decode_center_point(outputs, settings(coder), dict(x=GRID.x, y=GRID.y))
    assert boxes.shape == (0, 9) and scores.shape == (0,) and names == []


@pytest.mark.parametrize("threshold, relax", [(None, False), (0.5, False), (0.9999, True), (0.9999, False)])
def test_query_boxes(threshold, relax):
    random = torch.Generator().manual_seed(2)
    raw = QueryOutput(torch.randn(2, 3, 40, 10, generator=random), torch.randn(2, 3, 40, 10, generator=random))
    coder = QueryBoxCoder(max_boxes=60, score_threshold=threshold, relax_threshold=relax)
    for sample, twin in enumerate(coder.decode(raw)):
        outputs = {name: value[:, sample].numpy() for name, value in raw._asdict().items()}
        found = check(vehicle.decode_query_boxes(outputs, settings(coder)), twin)
        assert found > 0 or (threshold, relax) == (0.9999, False)


def test_overlap():
    boxes = torch.rand(80, 5, generator=torch.Generator().manual_seed(3)).double() * torch.tensor([9, 9, 5, 3, 7])
    boxes[40:] = boxes[:40]
    boxes[60:, 0] += 1
    twin = overlap.rotated_iou(boxes, boxes).numpy()
    np.testing.assert_allclose(vehicle.rotated_iou(boxes.numpy()), twin, atol=1e-9)


def test_needs_neither_torch_nor_bevkit():
    code = f"import sys; sys.path.insert(0, {str(DEPLOY)!r}); import decode_boxes; " \
           "assert not {'torch', 'bevkit', 'scipy', 'cv2'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_refusals():
    with pytest.raises(ValueError, match="one sample"):
        vehicle.decode_query_boxes(dict(scores=np.zeros((1, 1, 4, 10)), boxes=np.zeros((1, 1, 4, 10))), {})


def test_a_stream_decodes_by_its_manifest():
    stream = __import__("stream")
    coder, raw = CenterPointCoder(GRID), center_maps(1, 4)
    manifest = dict(decode=settings(coder), grid=dict(x=GRID.x, y=GRID.y))
    check(stream.decoded({name: value.numpy() for name, value in raw._asdict().items()}, manifest),
          coder.decode(raw)[0])
    random = torch.Generator().manual_seed(5)
    query = QueryOutput(torch.randn(2, 1, 40, 10, generator=random), torch.randn(2, 1, 40, 10, generator=random))
    coder = QueryBoxCoder()
    outputs = {name: value.numpy() for name, value in query._asdict().items()}
    check(stream.decoded(outputs, dict(decode=settings(coder))), coder.decode(query)[0])
    with pytest.raises(ValueError, match="got FieryCoder"):
        stream.decoded({}, dict(decode=dict(type="FieryCoder")))


def test_of_equal_scores_the_first_comes_first():
    scores = np.array([0.2, 0.5, 0.9, 0.5, 0.5, 0.1], np.float32)
    assert vehicle.best_of(scores, 3).tolist() == [2, 1, 3]
    assert vehicle.best_of(scores, 99).tolist() == [2, 1, 3, 4, 0, 5]
