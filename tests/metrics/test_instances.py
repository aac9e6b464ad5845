"""Laws of IoU and VPQ, and the mmengine metric around them."""

from types import SimpleNamespace

import pytest
import torch

from bevkit.metrics import FutureInstanceMetric, InstanceCounts, count_instances, instance_scores
from bevkit.metrics.panoptic import count_panoptic
from bevkit.registry import METRICS
from bevkit.structures import BEVGrid, FutureInstances

GRID = BEVGrid(x=(-8.0, 8.0, 0.5), y=(-6.0, 6.0, 0.5))


def moving_squares(count: int, seed: int, frames: int = 5) -> torch.Tensor:
    """Instance maps [T Y X] of squares that drift over the grid and cover one another."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = GRID.shape
    start = torch.rand(count, 2, generator=generator) * torch.tensor([rows - 4.0, columns - 4.0])
    step = torch.randn(count, 2, generator=generator) * 2
    ids = torch.zeros(frames, rows, columns, dtype=torch.int64)
    for frame in range(frames):
        for index, (row, column) in enumerate((start + frame * step).round().int().clamp(min=0).tolist(), start=1):
            ids[frame, row:row + 4, column:column + 4] = index
    return ids


def scores(predicted: torch.Tensor, truth: torch.Tensor) -> dict[str, float]:
    return instance_scores(count_instances(predicted, truth))


@pytest.mark.parametrize("seed", range(4))
def test_truth_scores_full_marks_under_any_names(seed):
    truth = moving_squares(7, seed)
    names = torch.cat((torch.zeros(1, dtype=torch.int64), 1000 + torch.randperm(50)[:7]))
    assert scores(names[truth], truth) == pytest.approx(dict(iou=100, vpq=100, sq=100, rq=100))


@pytest.mark.parametrize("seed", range(4))
def test_names_do_not_matter(seed):
    truth, predicted = moving_squares(7, seed), moving_squares(7, seed).roll(1, dims=-1)
    predicted[:, :6] = 0
    names = torch.tensor([0, 5, 3, 90, 2, 8, 1, 4])
    assert scores(names[predicted], truth) == pytest.approx(scores(predicted, truth))
    assert scores(predicted, names[truth]) == pytest.approx(scores(predicted, truth))


def test_a_switch_costs_one_frame():
    truth = torch.zeros(4, *GRID.shape, dtype=torch.int64)
    truth[:, 2:6, 2:6], truth[:, 10:14, 2:6] = 1, 2
    predicted = truth.clone()
    predicted[2:] = torch.tensor([0, 2, 1])[truth[2:]]  # the two exchange names once
    counts = count_panoptic(predicted, truth)
    assert [int(value[1]) for value in counts] == [6, 6, 2, 2]
    assert count_panoptic(predicted, truth, consistent=False).panoptic_quality[1] == 1


def test_half_overlap_is_no_match():
    truth, predicted = (torch.zeros(1, *GRID.shape, dtype=torch.int64) for _ in range(2))
    truth[0, 0, :10], predicted[0, 0, :20] = 1, 1
    assert scores(predicted, truth)["vpq"] == 0
    predicted[0, 0, 19] = 0
    assert scores(predicted, truth)["rq"] == 100


def total(clips: list) -> InstanceCounts:
    return InstanceCounts.unstacked(sum(count_instances(*clip).stacked() for clip in clips))


def test_clips_side_by_side_count_as_their_sum():
    clips = [(moving_squares(5, seed).roll(1, dims=1), moving_squares(5, seed)) for seed in range(2)]
    joined = [torch.cat((left, torch.where(right > 0, right + 10, 0)), dim=-1) for left, right in zip(*clips)]
    for together, summed in zip(total([joined]).stacked(), total(clips).stacked()):
        assert together[1] == pytest.approx(float(summed[1]))  # vehicles; the background is one segment in each


@pytest.mark.parametrize("truth, predicted, expected", [(0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 100)])
def test_empty_and_full_maps(truth, predicted, expected):
    maps = [torch.full((3, 4, 5), value, dtype=torch.int64) for value in (predicted, truth)]
    assert scores(*maps)["vpq"] == scores(*maps)["iou"] == expected


def evaluate(metric: FutureInstanceMetric, clips: list) -> dict[str, float]:
    for predicted, truth in clips:
        batch = SimpleNamespace(targets=dict(instance=truth[None]))
        metric.process(dict(batch=batch), [FutureInstances(predicted)])
    return metric.evaluate(len(clips))


def test_metric_ranges_and_copy_last():
    grid = dict(x=GRID.x, y=GRID.y)
    metric = METRICS.build(dict(type="FutureInstanceMetric", grid=grid, copy_last=True,
                                ranges={"all": None, "near": (4.0, 3.0)}))
    clips = [(moving_squares(6, seed), moving_squares(6, seed)) for seed in range(3)]
    found = evaluate(metric, clips)
    near = [(predicted[:, 6:18, 8:24], truth[:, 6:18, 8:24]) for predicted, truth in clips]
    held = [(predicted[:1].expand_as(predicted), truth) for predicted, truth in clips]
    for name, pairs in [("all/", clips), ("near/", near), ("all/copy_last_", held)]:
        for score, value in instance_scores(total(pairs)).items():
            assert found[f"instances/{name}{score}"] == pytest.approx(value)
    assert found["instances/all/vpq"] == 100 > found["instances/all/copy_last_vpq"] > 0
    assert not metric.results


def test_metric_refusals():
    with pytest.raises(ValueError, match="expected half sides"):
        FutureInstanceMetric(GRID, ranges={"30x30": (15.0, 15.0)})
    with pytest.raises(ValueError, match="add grid"):
        FutureInstanceMetric(ranges={"30x30": (15.0, 15.0)})
    with pytest.raises(ValueError, match="target_coder"):
        FutureInstanceMetric().process(dict(batch=SimpleNamespace(targets={})), [])
