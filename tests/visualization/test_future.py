"""Instances over time: colours shared between truth and prediction, trails, animations."""

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

from bevkit.structures import BEVClip, BEVGrid
from bevkit.visualization import future, scenes
from bevkit.visualization.bev import BEVCanvas, ground
from bevkit.visualization.paint import save_gif


def test_matching_gives_predictions_the_numbers_of_the_truth(ids: torch.Tensor) -> None:
    prediction = torch.where(ids == 1, 9, torch.where(ids == 2, 4, 0))
    prediction[:, 0, 0] = 5
    matched = future.match_ids(ids, prediction)
    assert np.array_equal(matched[prediction == 9], ids[prediction == 9].numpy())
    assert np.array_equal(matched[prediction == 4], ids[prediction == 4].numpy())
    assert (matched[:, 0, 0] == 3).all()  # no true object there: a new number


def test_matching_gives_a_number_once(ids: torch.Tensor) -> None:
    halves = ids.clone()
    halves[:, :, 55:][ids[:, :, 55:] == 1] = 7  # one true object, two predicted
    matched = future.match_ids(ids, halves)
    assert len(np.unique(matched)) == len(np.unique(halves)) == 4


def test_nothing_matches_nothing() -> None:
    empty = np.zeros((3, 4, 5), dtype=np.int64)
    assert not future.match_ids(empty, empty).any()


def test_trails_fade(grid: BEVGrid, ids: torch.Tensor) -> None:
    canvas = BEVCanvas(grid, 240)
    picture = future.draw_trails(canvas, ids.numpy()).astype(int)
    away = np.abs(picture - ground(canvas).astype(int)).sum(axis=-1)
    strengths = []
    for now in range(4):
        u, v = canvas.pixels((-6.0, -2.0 + now + 0.75)).astype(int)  # the cells that are new at this instant
        strengths.append(away[v, u])
    assert strengths[0] > strengths[1] > strengths[2] > strengths[3] > 0


def test_strip_has_a_row_of_all_instants(grid: BEVGrid, ids: torch.Tensor) -> None:
    canvas = BEVCanvas(grid, 120)
    one = future.draw_strip(canvas, None, ids)
    assert one.shape[1] == 4 * canvas.shape[1] + 3 * 6
    assert future.draw_strip(canvas, ids, ids).shape[0] == 2 * one.shape[0] + 6


def test_animation_has_a_frame_an_instant(grid: BEVGrid, ids: torch.Tensor, tmp_path) -> None:
    canvas = BEVCanvas(grid, 120)
    pairs = future.draw_pairs(canvas, ids.numpy(), ids.numpy())
    path = save_gif(tmp_path / "scene" / "a.gif", future.join_pairs(pairs, future.time_names(4, 0.5)))
    with Image.open(path) as animation:
        assert animation.n_frames == len(ids)
        assert animation.info["loop"] == 0
    still = save_gif(tmp_path / "b.gif", [pairs[0][0]] * 3)
    with Image.open(still) as animation:
        assert sum(_durations(animation)) == 2000  # equal frames may be joined, their time stays
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.gif", "scene"]


def _durations(animation: Image.Image) -> list[int]:
    times = []
    for number in range(animation.n_frames):
        animation.seek(number)
        times.append(animation.info["duration"])
    return times


def test_instances_keep_the_colour_of_their_track(grid: BEVGrid, ids: torch.Tensor,
                                                  make_clip: Callable[..., BEVClip]) -> None:
    clip = make_clip()  # track 0 stands ahead, track 1 moves behind
    swapped = torch.where(ids == 1, 2, torch.where(ids == 2, 1, 0))
    for numbers in (ids, swapped):
        renumbered = scenes.ids_by_track(clip, numbers, grid)
        assert np.array_equal(renumbered, ids.numpy())


def test_clip_pictures(grid: BEVGrid, ids: torch.Tensor, make_clip: Callable[..., BEVClip]) -> None:
    clip, canvas = make_clip(), BEVCanvas(grid, 240)
    known, unknown = (scenes.draw_clip(clip, truth, ids, canvas, "keyframe 1", 600) for truth in (ids, None))
    assert known.joined().shape == unknown.joined().shape
    assert np.array_equal(known.truth, known.prediction) and not np.array_equal(unknown.truth, unknown.prediction)
    figure = scenes.drive_figure("scene-0001", [known, unknown])
    assert len(figure.camera_frames) == len(figure.bev_frames) == len(figure.times) == 2
    horizon = scenes.horizon_figure("scene-0001", clip, ids, ids, canvas, width=600)
    assert len(horizon.bev_frames) == 4 and list(horizon.times) == ["now", "+0.5 s", "+1.0 s", "+1.5 s"]


def test_spread_shows_where_futures_differ(grid: BEVGrid, ids: torch.Tensor) -> None:
    canvas, other = BEVCanvas(grid, 240), ids.clone()
    other[1:][ids[1:] == 2] = 0  # in half of the futures the one behind is gone
    picture = future.draw_spread(canvas, np.zeros_like(ids), np.stack((ids, other, ids, other)))
    height, width = canvas.shape
    assert picture.shape[1] == 4 * width + 3 * 6
    heads = (picture.shape[0] - 2 * height - 6) // 2
    stays, leaves = (canvas.pixels(place).astype(int) for place in ((8.25, 4.25), (-6.25, 1.25)))
    last = 3 * (width + 6)
    sure, unsure = (picture[heads + v, last + u].astype(int).sum() for u, v in (stays, leaves))
    nobody = picture[heads + height // 5, last + width - 5].astype(int).sum()
    assert sure > unsure > nobody
    now = future.draw_spread(canvas, ids[:1], other[None, :1])
    assert (now[heads: heads + height] == np.array(future.SURE, dtype=np.uint8)).all(axis=2).any()
