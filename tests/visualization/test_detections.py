"""Detections in pictures: what is drawn, and which of them count as found."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from bevkit.cli import predict
from bevkit.structures import BEVClip, BEVGrid, Detections3D
from bevkit.visualization.bev import BEVCanvas
from bevkit.visualization.detections import draw_detections, draw_from_above, matches
from tests.visualization.conftest import boxes_at
from tests.visualization.test_verbs import Clips


def test_boxes_are_drawn_where_they_are(grid: BEVGrid) -> None:
    canvas = BEVCanvas(grid, 240)
    empty, drawn = (draw_from_above(canvas, boxes_at(*places)) for places in ((), ((8.0, 4.0),)))
    rows, columns = np.nonzero((empty != drawn).any(axis=2))
    u, v = canvas.pixels((8.0, 4.0))
    assert abs(columns.mean() - u) < 2 and abs(rows.mean() - v) < 4


def test_an_arrow_for_what_moves(grid: BEVGrid) -> None:
    canvas, standing = BEVCanvas(grid, 240), boxes_at((8.0, 4.0))
    moving = replace(standing, velocities=torch.tensor([[0.0, -6.0]], dtype=torch.float64))
    assert (draw_from_above(canvas, standing) != draw_from_above(canvas, moving)).any()


def test_each_true_box_is_found_once() -> None:
    truth = boxes_at((0.0, 0.0), (10.0, 0.0))
    found = boxes_at((1.0, 0.0), (0.5, 0.0), (10.0, 2.5), (10.0, 0.5))
    found.labels[3] = 1
    right = matches(Detections3D(found, torch.tensor([0.5, 0.9, 0.8, 0.7])), truth)
    assert right.tolist() == [False, True, False, False]
    assert matches(Detections3D(found, torch.ones(4)), truth[:0]).tolist() == [False] * 4


def test_a_clip_without_truth(make_clip: Callable[..., BEVClip], grid: BEVGrid) -> None:
    clip = make_clip()
    bare = replace(clip, frames=tuple(replace(frame, boxes=None) for frame in clip.frames))
    pictures = draw_detections(bare, Detections3D(boxes_at((8.0, 4.0)), torch.ones(1)), BEVCanvas(grid, 120), "now")
    assert pictures.camera is not None and pictures.joined().shape[1] >= pictures.camera.shape[1]


def test_predict_draws_boxes(make_clip: Callable[..., BEVClip], grid: BEVGrid, tmp_path: Path) -> None:
    clip = make_clip()
    dataset = Clips(replace(clip, frames=tuple(replace(frame, boxes=replace(
        frame.boxes, sensor_points=torch.full((2,), 5))) for frame in clip.frames)))
    found = Detections3D(boxes_at((8.0, 4.0), (9.0, -9.0), (-3.0, 3.0)), torch.tensor([0.9, 0.8, 0.1]))
    model = SimpleNamespace(grid=grid, predict=lambda batch: [found])
    figures, rows = predict.draw_scene("scene-0001", dataset, [0, 1], model, None, tmp_path)
    assert [(row["boxes"], row["precision"], row["recall"]) for row in rows] == [(2, 50.0, 50.0)] * 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["001.png", "002.png", "scene.gif"]
    assert len(figures) == 1 and len(predict.cards_of(rows)) == 2
