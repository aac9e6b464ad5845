"""Truth through the coders of boxes and back; what they refuse."""

import math
from types import SimpleNamespace

import pytest
import torch

from bevkit.models.coders import CenterPointCoder, QueryBoxCoder
from bevkit.models.coders.boxes import best_of, boxes_of
from bevkit.models.coders.heatmaps import draw_peaks, gaussian_radius
from bevkit.structures import BEVGrid, Boxes3D, Detections3D
from bevkit.structures.classes import CLASSES

GRID = BEVGrid(x=(-40.0, 40.0, 0.5), y=(-30.0, 30.0, 0.5))


def scene(count: int = 24, seed: int = 0) -> Boxes3D:
    """Boxes of all classes on a lattice, at least 4 m apart, some of unknown velocity."""
    random = torch.Generator().manual_seed(seed)

    def spread(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=random, dtype=torch.float64)

    place = torch.stack((torch.arange(count) % 6 * 10.0 - 30, torch.arange(count) // 6 * 10.0 - 20), dim=1)
    centers = torch.cat((place + 3 * spread(count, 2), spread(count, 1)), dim=1)
    velocities = 10 * spread(count, 2) - 5
    velocities[::5] = math.nan
    return Boxes3D.predicted(centers, 0.5 + 4 * spread(count, 3), 6.2 * spread(count) - 3.1, velocities,
                             torch.arange(count) % len(CLASSES))


def clip_of(boxes: Boxes3D) -> SimpleNamespace:
    return SimpleNamespace(present=SimpleNamespace(boxes=boxes))


def there_and_back(coder, boxes: Boxes3D) -> Detections3D:
    targets = {name: value.unsqueeze(0) for name, value in coder.encode(clip_of(boxes)).items()}
    found = coder.decode(coder.flawless(targets))[0]
    sure = found.scores > 0.5  # without a threshold a query names every class, the others with a score of 0
    return Detections3D(found.boxes[sure], found.scores[sure])


CODERS = [CenterPointCoder(GRID), CenterPointCoder(GRID, nms=dict(kind="rotated", overlap=0.2)),
          CenterPointCoder(GRID, indexing="truncate"), QueryBoxCoder(GRID), QueryBoxCoder(GRID, CLASSES[::-1])]


@pytest.mark.parametrize("coder", CODERS)
def test_truth_comes_back(coder):
    truth = scene()
    found = there_and_back(coder, truth)
    order = found.boxes.centers[:, :2].double().sub(truth.centers[:, None, :2]).norm(dim=2).argmin(dim=1)
    assert sorted(order.tolist()) == list(range(len(truth)))
    ours, theirs = boxes_of(found.boxes)[order], boxes_of(truth)
    assert torch.allclose(ours, theirs.nan_to_num(), atol=1e-4)
    assert torch.equal(found.boxes.labels[order], truth.labels) and (found.scores > 0.9).all()


@pytest.mark.parametrize("coder", CODERS)
def test_who_is_not_learned(coder):
    truth = scene(6)
    truth.labels[0], truth.sensor_points[1], truth.sensor_points[2] = -1, 0, 5
    truth.centers[3, 0] = 45.0  # off the grid
    found = there_and_back(coder, truth)
    assert sorted(found.boxes.labels.tolist()) == [2, 4, 5]


@pytest.mark.parametrize("coder", CODERS)
def test_empty_scene(coder):
    found = there_and_back(coder, scene(0))
    assert len(found.scores) == len(found.boxes) == 0


def test_targets_have_one_size():
    shapes = [{name: value.shape for name, value in coder.encode(clip_of(scene(count))).items()}
              for coder in CODERS[:1] + CODERS[3:4] for count in (0, 24)]
    assert shapes[0] == shapes[1] and shapes[2] == shapes[3]


def test_farthest_are_left_out():
    truth = scene()
    kept = QueryBoxCoder(GRID, max_truth=5).encode(clip_of(truth))
    nearest = truth.centers[:, :2].norm(dim=1).argsort()[:5]
    assert torch.equal(kept["labels"], truth.labels[nearest])


def test_unknown_truth_is_refused():
    with pytest.raises(ValueError, match="split with annotations"):
        CODERS[0].encode(clip_of(None))


@pytest.mark.parametrize("options, message", [
    (dict(nms=[dict(kind="circle", squared_distance=1.0)]), "one for each of 6 tasks"),
    (dict(nms=dict(kind="square")), "expected a kind"),
    (dict(nms=dict(kind="circle", radius=2.0)), "circle takes squared_distance"),
    (dict(nms=dict(kind="rotated", overlap=0.2, scale=[1.0, 2.0])), "one scale or one for each of car"),
    (dict(tasks=[["car"], ["lorry"]], nms=dict(kind="circle", squared_distance=1.0)), "got lorry"),
    (dict(indexing="round"), "floor or truncate")])
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        CenterPointCoder(GRID, **options)


def test_truncation_takes_centres_below_the_grid():
    truth = scene(1)
    truth.centers[0, 0] = -40.3
    floor, truncate = (CenterPointCoder(GRID, indexing=name).encode(clip_of(truth)) for name in ("floor", "truncate"))
    assert not floor["used"].any() and truncate["used"].sum() == 1
    assert truncate["codes"][0, 0, 0] == pytest.approx(-0.6, abs=1e-5)


@pytest.mark.parametrize("overlap", [0.1, 0.5, 0.7])
def test_radius_grows_with_the_box(overlap):
    sizes = torch.linspace(1, 20, 20)
    radii = gaussian_radius(sizes, sizes, overlap)
    assert (radii > 0).all() and (radii.diff() > 0).all()
    assert torch.equal(gaussian_radius(sizes, 2 * sizes, overlap), gaussian_radius(2 * sizes, sizes, overlap))


def test_peaks_are_symmetric_and_end():
    drawn = draw_peaks((9, 11), torch.tensor([[5, 4], [0, 0]]), torch.tensor([2, 1]))
    assert drawn[4, 5] == drawn[0, 0] == 1 and torch.equal(drawn[2:7, 3:8], drawn[2:7, 3:8].T)
    assert (drawn > 0).sum() == 25 + 4


def test_of_equal_scores_the_first_comes_first():
    scores = torch.tensor([0.2, 0.5, 0.9, 0.5, 0.5, 0.1])
    best, places = best_of(scores, 3)
    assert places.tolist() == [2, 1, 3] and torch.equal(best, scores[places])
    assert best_of(scores, 99)[1].tolist() == [2, 1, 3, 4, 0, 5]
