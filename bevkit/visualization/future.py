"""Pictures of instance maps over time: the present and its futures, truth beside prediction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevkit.visualization.bev import BEVCanvas, draw_ego, draw_heat, draw_ids, draw_outlines, ground
from bevkit.visualization.paint import Picture, column, instance_colors, row, titled

Ids = NDArray[np.int64]
SURE = (90, 190, 255)  # outlines of the mean prediction, seen on dark ground and on pale heat


def match_ids(truth: Any, prediction: Any) -> Ids:
    """Renumbers predicted instances [F+1 Y X] after the true ones they overlap most, so that pictures share colours.

    Each true number is given at most once, best overlap (IoU over the whole clip) first; the others get new numbers.
    """
    truth, prediction = np.asarray(truth, dtype=np.int64), np.asarray(prediction, dtype=np.int64)
    true_ids, true_index, true_area = np.unique(truth, return_inverse=True, return_counts=True)
    ids, index, area = np.unique(prediction, return_inverse=True, return_counts=True)
    shared = np.bincount(index.ravel() * len(true_ids) + true_index.ravel(),
                         minlength=len(ids) * len(true_ids)).reshape(len(ids), len(true_ids))
    iou = shared / (area[:, None] + true_area[None] - shared)
    new, taken = np.zeros_like(ids), set()
    for flat in np.argsort(-iou, axis=None):
        this, other = divmod(int(flat), len(true_ids))
        if iou[this, other] == 0:
            break
        if ids[this] > 0 and true_ids[other] > 0 and not new[this] and other not in taken:
            new[this] = true_ids[other]
            taken.add(other)
    free = (ids > 0) & (new == 0)
    new[free] = max(int(true_ids.max()), 0) + 1 + np.arange(free.sum())
    return new[index].reshape(prediction.shape)


def draw_instant(canvas: BEVCanvas, ids: Any, now: int) -> Picture:
    """Draws the instances [F+1 Y X] at one instant, with where they were since the first instant as a fading trail."""
    order = list(range(now, -1, -1))
    return _draw_layers(canvas, ids, order, [1.0] + [0.10 + 0.18 * (step + 1) / (now + 1) for step in order[1:]])


def draw_trails(canvas: BEVCanvas, ids: Any) -> Picture:
    """Draws all instants [F+1 Y X] in one picture: the present solid, its futures fading the later they are."""
    order, slope = list(range(len(ids))), 0.36 / max(1, len(ids) - 2)
    return _draw_layers(canvas, ids, order, [1.0] + [0.5 - slope * (step - 1) for step in order[1:]])


def _draw_layers(canvas: BEVCanvas, ids: Any, order: Sequence[int], alphas: Sequence[float]) -> Picture:
    """Draws instants of a horizon [F+1 Y X], each only where none before it in the order has drawn."""
    image, free = ground(canvas), np.ones(np.asarray(ids[0]).shape, dtype=bool)
    for instant, alpha in zip(order, alphas):
        layer = np.asarray(ids[instant])
        draw_ids(image, canvas, layer * free, alpha, outline=instant == order[0])
        free &= layer == 0
    return draw_ego(image, canvas)


def time_names(count: int, step: float) -> list[str]:
    """Names the instants of a horizon: ``now``, ``+0.5 s``, ..."""
    return ["now"] + [f"+{number * step:.1f} s" for number in range(1, count)]


def draw_strip(canvas: BEVCanvas, truth: Any, prediction: Any, step: float = 0.5) -> Picture:
    """Draws the instants in a row, truth [F+1 Y X] above the prediction [F+1 Y X] (already matched)."""
    rows = []
    for name, ids in (("truth", truth), ("prediction", prediction)):
        if ids is not None:
            rows.append(row([titled(draw_ego(draw_ids(ground(canvas), canvas, instant), canvas), name, time)
                             for instant, time in zip(ids, time_names(len(ids), step))]))
    return column(rows)


def draw_spread(canvas: BEVCanvas, mean: Any, futures: Any, step: float = 0.5) -> Picture:
    """Draws how far possible futures differ, instant by instant.

    Above, the share of the futures in which a cell is occupied (dark = few, pale = all) under the outlines of the mean
    prediction; below, the outlines of every future in a colour of its own.

    Args:
        mean: [F+1 Y X] instances of the single prediction.
        futures: [S F+1 Y X] instances of S drawn ones.
    """
    mean, futures = np.asarray(mean), np.asarray(futures)
    times, colors = time_names(len(mean), step), instance_colors(np.arange(len(futures)))
    shares, edges = [], []
    for instant, time in enumerate(times):
        share = draw_heat(ground(canvas), canvas, (futures[:, instant] > 0).mean(axis=0))
        shares.append(titled(draw_ego(draw_outlines(share, canvas, mean[instant], SURE), canvas),
                             f"share of {len(futures)} futures", time))
        lines = ground(canvas)
        for future, color in zip(futures[:, instant], colors):
            draw_outlines(lines, canvas, future, color, alpha=0.7)
        edges.append(titled(draw_ego(lines, canvas), "each future", time))
    return column([row(shares), row(edges)])


def draw_pairs(canvas: BEVCanvas, truth: Any, prediction: Any) -> list[tuple[Picture, Picture]]:
    """Draws (truth, prediction) at every instant of a horizon [F+1 Y X], for an animation."""
    return [(draw_instant(canvas, truth, now), draw_instant(canvas, prediction, now)) for now in range(len(truth))]


def join_pairs(pairs: Sequence[tuple[Picture, Picture]], times: Sequence[str]) -> list[Picture]:
    """Joins each (truth, prediction) to one titled picture: the frames of an animation file."""
    return [row([titled(truth, "truth", time), titled(prediction, "prediction", time)])
            for (truth, prediction), time in zip(pairs, times, strict=True)]
