"""Forecasts: the truth comes back, known steps teach, the score says what it should."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bevkit.geometry import rigid
from bevkit.metrics import ForecastMetric
from bevkit.models.coders import CenterPointCoder, ForecastCoder
from bevkit.registry import MODELS
from bevkit.structures import BEVClip, BEVFrame, BEVGrid, Boxes3D, Detections3D, true_paths
from bevkit.structures.classes import CLASSES

GRID, STEPS = BEVGrid(x=(-24.0, 24.0, 1.0), y=(-16.0, 16.0, 1.0)), 4


def pose(step: int) -> torch.Tensor:
    """The ego drives a curve."""
    turn = rigid.rotation_about_z(torch.tensor(0.1 * step, dtype=torch.float64))
    return rigid.rigid_from(turn, torch.tensor([100.0 + 2 * step, 50.0 + 0.3 * step**2, 0.0], dtype=torch.float64))


def drive(seen: int = STEPS) -> BEVClip:
    """Three things: a car ahead at 8 m/s, a standing bus, a pedestrian; the bus is lost after ``seen`` steps."""
    places = torch.tensor([[8.0, 2.0, 0.7], [-9.0, -7.0, 1.5], [3.0, 9.0, 0.9]], dtype=torch.float64)
    speeds = torch.tensor([[8.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, -1.5, 0.0]], dtype=torch.float64)
    labels = torch.tensor([CLASSES.index(name) for name in ("car", "bus", "pedestrian")])
    frames = []
    for step in range(STEPS + 1):
        ego = rigid.inverse(pose(step)) @ pose(0)  # this ego from the first
        boxes = Boxes3D.predicted(rigid.transform(ego, places + 0.5 * step * speeds),
                                  torch.ones(3, 3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64),
                                  (speeds @ ego[:3, :3].T)[:, :2], labels)
        boxes = replace(boxes, track_ids=torch.tensor([7, 5, 9]))
        boxes = boxes[torch.tensor([2, 0, 1])[: 3 if step <= seen else 2]]  # in another order
        frames.append(BEVFrame(pose(step), 0.5 * step, boxes))
    return BEVClip(tuple(frames), 1)


def batched(targets: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value[None] for name, value in targets.items()}


def score_of(clip: BEVClip, found: Detections3D, **options) -> dict[str, float]:
    metric = ForecastMetric(steps=STEPS, **options)
    metric.add([frame.boxes for frame in clip.frames], clip.global_from_ego, found)
    return metric.compute_metrics(metric.results)


def test_objects_are_followed_across_the_egos_motion():
    clip = drive(seen=2)
    first, *later = clip.frames
    paths = true_paths(first.boxes, pose(0), [frame.boxes for frame in later], clip.global_from_ego[1:])
    pedestrian, car, bus = paths
    np.testing.assert_allclose(car[:, 0], 4.0 * np.arange(1, 5), atol=1e-9)
    np.testing.assert_allclose(pedestrian[:, 1], -0.75 * np.arange(1, 5), atol=1e-9)
    np.testing.assert_allclose(bus[:2], 0, atol=1e-9)
    assert bus[2:].isnan().all()


@pytest.mark.parametrize("seen", [STEPS, 2, 0])
def test_truth_comes_back_and_scores_flawlessly(seen):
    clip, coder = drive(seen), ForecastCoder(GRID, steps=STEPS)
    found, = coder.decode(coder.flawless(batched(coder.encode(clip))))
    assert found.paths.shape == (3, 1, STEPS, 2)
    scores = score_of(clip, found)
    assert scores["vehicle/minADE"] < 1e-5 and scores["vehicle/minFDE"] < 1e-5
    assert scores["vehicle/EPA"] == scores["pedestrian/EPA"] == 1 and scores["vehicle/MR"] == 0


def test_a_detector_that_forecasts_nothing_goes_on_steadily():
    clip, coder = drive(), CenterPointCoder(GRID)
    found, = coder.decode(coder.flawless(batched(coder.encode(clip))))
    assert found.paths is None
    assert score_of(clip, found)["vehicle/minADE"] < 1e-5
    still = replace(found, boxes=replace(found.boxes, velocities=torch.zeros_like(found.boxes.velocities)))
    scores = score_of(clip, still)
    assert scores["vehicle/minADE"] == pytest.approx(10 / 2, rel=1e-4)  # the bus stands; the car is off by 4 8 12 16 m
    assert scores["vehicle/minFDE"] == pytest.approx(16 / 2, rel=1e-4)
    assert scores["vehicle/MR"] == 0.5 and scores["vehicle/EPA"] == 0.5


def test_every_clip_counts():
    clip, coder, metric = drive(), ForecastCoder(GRID, steps=STEPS), ForecastMetric(steps=STEPS)
    found, = coder.decode(coder.flawless(batched(coder.encode(clip))))
    wrong = replace(found, paths=found.paths + 6.0)
    for one in (found, wrong):
        metric.add([frame.boxes for frame in clip.frames], clip.global_from_ego, one)
    scores = metric.evaluate(2)
    assert scores["forecast/vehicle/minADE"] == pytest.approx(6 * 2 ** 0.5 / 2, rel=1e-4)
    assert scores["forecast/vehicle/EPA"] == scores["forecast/pedestrian/MR"] == 0.5


def test_false_alarms_and_misses_cost():
    clip, coder = drive(), CenterPointCoder(GRID)
    found, = coder.decode(coder.flawless(batched(coder.encode(clip))))
    cars = found.boxes.labels == 0
    away = replace(found.boxes[cars], centers=found.boxes.centers[cars] + torch.tensor([0.0, 5.0, 0.0]))
    alarm = Detections3D(away, found.scores[cars])
    scores = score_of(clip, alarm)
    assert scores["vehicle/EPA"] == -0.25 and np.isnan(scores["vehicle/minADE"])
    assert scores["pedestrian/EPA"] == 0
    assert score_of(clip, replace(alarm, scores=torch.full((1,), 0.2)))["vehicle/EPA"] == 0
    with pytest.raises(ValueError, match="future=4"):
        score_of(replace(clip, frames=clip.frames[:3]), alarm)


def test_the_head_begins_steadily_and_learns_what_is_known():
    torch.manual_seed(0)
    head = MODELS.build(dict(type="ForecastHead", grid=GRID, in_channels=6, shared_channels=8, branch_channels=8,
                             guesses=3, coder=dict(type="ForecastCoder", steps=STEPS)))
    bev, targets = torch.randn(1, 6, *GRID.shape), batched(head.coder.encode(drive(seen=2)))
    assert targets["paths"][targets["used"]].isnan().any()
    raw = head(bev)
    steady = raw.velocity[:, :, None, None] * 0.5 * torch.arange(1, STEPS + 1).view(1, 1, 1, -1, 1, 1, 1)
    guesses = raw.paths.unflatten(2, (3, STEPS, 2))
    torch.testing.assert_close(guesses, steady.expand_as(guesses), atol=0.1, rtol=0)
    optimiser, first = torch.optim.Adam(head.parameters(), 3e-2), None
    for _ in range(60):
        losses = head.loss(head(bev), targets)
        first = first or losses["loss_path"].item()
        optimiser.zero_grad()
        sum(losses.values()).backward()
        optimiser.step()
    assert all(weight.isfinite().all() for weight in head.parameters())
    assert losses["loss_path"].item() < 0.3 * first
    found, = head.eval().predict(head(bev))
    assert (found.path_scores.diff(dim=1) <= 0).all()
    torch.testing.assert_close(found.path_scores.sum(dim=1), torch.ones(len(found.scores)))


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="ForecastCoder, got CenterPointCoder"):
        MODELS.build(dict(type="ForecastHead", grid=GRID, in_channels=6, coder=dict(type="CenterPointCoder")))
    with pytest.raises(ValueError, match="future=12"):
        ForecastCoder(GRID).encode(drive())
