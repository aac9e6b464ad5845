"""Truth <-> heat maps of centres, with a box written into the cell of each centre (CenterPoint, CVPR 2021)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from bevkit.geometry.box_codes import boxes_from_code
from bevkit.models.coders.boxes import (
    Range,
    best_of,
    boxes_of,
    detections,
    inside,
    probabilities,
    visible_truth,
)
from bevkit.models.coders.heatmaps import draw_peaks, gaussian_radius
from bevkit.ops.nms import circle_nms, rotated_nms, size_aware_nms
from bevkit.registry import MODELS
from bevkit.structures import BEVClip, BEVGrid, Boxes3D, Detections3D
from bevkit.structures.classes import class_indices

# Classes that compete for a cell and for a place share a task (nuScenes: by size and look).
TASKS = (("car",), ("truck", "construction_vehicle"), ("bus", "trailer"), ("barrier",), ("motorcycle", "bicycle"),
         ("pedestrian", "traffic_cone"))
# Suppression of each of these tasks, as published.
CIRCLES = tuple(dict(kind="circle", squared_distance=value) for value in (4.0, 12.0, 10.0, 1.0, 0.85, 0.175))
# The keys that each kind of suppression has beside ``kind``, and those that may be left out.
_KINDS = {"circle": ({"squared_distance"}, set()), "rotated": ({"overlap"}, {"scale"}),
          "size_aware": ({"scale"}, set())}
_SURE, _NOTHING = 4.0, -20.0  # logits of a flawless network


class CenterMaps(Protocol):
    """Raw outputs of K classes in G tasks: class logits [B K Y X], and per task the numbers of a box [B G c Y X]:
    offset from the low edge of the cell (x, y) in cells, height (z) in metres, log of size (l, w, h) in metres,
    heading (sin, cos), velocity (x, y) in m/s."""

    @property
    def heatmap(self) -> Tensor: ...

    @property
    def offset(self) -> Tensor: ...

    @property
    def height(self) -> Tensor: ...

    @property
    def size(self) -> Tensor: ...

    @property
    def heading(self) -> Tensor: ...

    @property
    def velocity(self) -> Tensor: ...


class FlawlessOutput(NamedTuple):
    """Raw outputs that decode to the truth."""

    heatmap: Tensor
    offset: Tensor
    height: Tensor
    size: Tensor
    heading: Tensor
    velocity: Tensor


@MODELS.register_module()
class CenterPointCoder:
    """One peak a box, on the map of its class; its other numbers in the cell of the peak, one set of maps a task.

    Args:
        grid: of the maps.
        tasks: the classes of each task, by name; the K channels of the heat map run task by task.
        nms: how each task, all its classes together, removes what stands in the way of something better: one dict for
            all tasks or one each. ``dict(kind="circle", squared_distance=4.0)`` (square metres),
            ``dict(kind="rotated", overlap=0.2, scale=[0.7, 0.7])`` (IoU; scale = factor of the sizes meanwhile, one or
            one a class), ``dict(kind="size_aware", scale=0.6)``. The default is CenterPoint's, for its own tasks.
        max_peaks: the best (class, cell) pairs a task that are looked at.
        max_boxes: that stay a task.
        max_before_nms: boxes that enter a ``rotated`` suppression.
        score_threshold: only scores above it stay.
        center_range: (x, y, z low, x, y, z high) metres; boxes with centres outside are dropped.
        min_overlap, min_radius: how wide peaks are drawn (`gaussian_radius`), and the least radius in cells.
        max_truth: room for true boxes of a task in the targets of a sample.
        min_sensor_points: true boxes with fewer points of lidar and radar are not learned, as the authors do; unknown
            numbers count as enough.
        indexing: ``"floor"`` puts a centre into its cell; ``"truncate"``, as in the authors' code, also takes centres
            up to a cell below the low edges into the first cells.
    """

    def __init__(self, grid: BEVGrid, tasks: Sequence[Sequence[str]] = TASKS,
                 nms: Mapping[str, Any] | Sequence[Mapping[str, Any]] = CIRCLES, max_peaks: int = 500,
                 max_boxes: int = 83, max_before_nms: int = 1000, score_threshold: float = 0.1,
                 center_range: Range = (-61.2, -61.2, -10.0, 61.2, 61.2, 10.0), min_overlap: float = 0.1,
                 min_radius: int = 2, max_truth: int = 500, min_sensor_points: int = 1,
                 indexing: str = "floor") -> None:
        if indexing not in ("floor", "truncate"):
            raise ValueError(f"indexing: expected floor or truncate, got {indexing!r}")
        self.grid = grid
        self.tasks = tuple(tuple(task) for task in tasks)
        self.nms = checked_nms(nms, self.tasks)
        self.labels = [torch.tensor(class_indices(task, "CenterPointCoder.tasks")) for task in self.tasks]
        self.max_peaks, self.max_boxes, self.max_before_nms = max_peaks, max_boxes, max_before_nms
        self.score_threshold, self.center_range = score_threshold, center_range
        self.min_overlap, self.min_radius, self.indexing = min_overlap, min_radius, indexing
        self.max_truth, self.min_sensor_points = max_truth, min_sensor_points

    # ---- truth -> maps ---------------------------------------------------------------------------------------------

    def encode(self, clip: BEVClip) -> dict[str, Tensor]:
        """Draws the present boxes of a clip.

        Returns:
            heatmap [K Y X] float32; and per task and slot: codes [G M 10] float32 (offset, height, log size, sin and
            cos of the heading, velocity; NaN = unknown), cells [G M] int64 (row * X + column), used [G M] bool.
        """
        return self._encode_boxes(visible_truth(clip, self.min_sensor_points))[0]

    def _encode_boxes(self, truth: Boxes3D) -> tuple[dict[str, Tensor], Tensor]:
        """Returns the targets, and which box stands in each slot: [G M] int64, -1 = none."""
        parts = [self._encode_task(boxes_of(truth), truth.labels, labels) for labels in self.labels]
        heatmaps, codes, cells, who = zip(*parts)
        slots = torch.stack(who)
        return dict(heatmap=torch.cat(heatmaps), codes=torch.stack(codes), cells=torch.stack(cells),
                    used=slots >= 0), slots

    def _encode_task(self, boxes: Tensor, classes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Returns heat maps [k Y X], codes [M 10], cells [M], boxes [M] of the slots of the task with these labels."""
        order = torch.cat([(classes == label).nonzero().squeeze(1) for label in labels])  # slots run class by class
        order = order[: self.max_truth]
        rows, columns = self.grid.shape
        place = self.grid.cells_from_metric(boxes[:, :2])  # [A 2] (column, row)
        cell = (place.floor() if self.indexing == "floor" else place.trunc()).long()
        on_map = ((cell >= 0) & (cell < torch.tensor([columns, rows]))).all(dim=1)
        extent = boxes[:, 3:5] / boxes.new_tensor([self.grid.x[2], self.grid.y[2]])
        radius = gaussian_radius(extent[:, 0], extent[:, 1], self.min_overlap).long().clamp(min=self.min_radius)
        drawn = [order[on_map[order] & (classes[order] == label)] for label in labels]
        heatmap = torch.stack([draw_peaks((rows, columns), cell[one], radius[one]) for one in drawn])
        codes, cells = torch.zeros(self.max_truth, 10), torch.zeros(self.max_truth, dtype=torch.int64)
        who = torch.full((self.max_truth,), -1)
        slots = on_map[order].nonzero().squeeze(1)
        order = order[slots]
        codes[slots] = torch.cat((place[order] - cell[order], boxes[order, 2:3], boxes[order, 3:6].log(),
                                  boxes[order, 6:7].sin(), boxes[order, 6:7].cos(), boxes[order, 7:]), dim=1)
        cells[slots], who[slots] = cell[order, 1] * columns + cell[order, 0], order
        return heatmap, codes, cells, who

    def flawless(self, targets: dict[str, Tensor]) -> FlawlessOutput:
        """Returns raw outputs that decode to the truth, from the batched targets of `encode`.

        Of two boxes of a task in one cell only one has room; what `decode` makes of it shows what this costs.
        """
        heatmap = torch.where(targets["heatmap"] == 1, _SURE, _NOTHING)
        codes, cells, used = targets["codes"].nan_to_num(), targets["cells"], targets["used"]
        batch, tasks = cells.shape[:2]
        # One cell more than the map has takes what the empty slots write.
        maps = codes.new_zeros(batch, tasks, 10, self.grid.cells + 1)
        place = torch.where(used, cells, self.grid.cells).unsqueeze(2).expand(-1, -1, 10, -1)  # [B G 10 M]
        maps = maps.scatter(3, place, codes.transpose(2, 3))[..., :-1].unflatten(3, self.grid.shape)  # [B G 10 Y X]
        return FlawlessOutput(heatmap, *maps.split((2, 1, 3, 2, 2), dim=2))

    # ---- maps -> boxes ---------------------------------------------------------------------------------------------

    def decode(self, raw: CenterMaps) -> list[Detections3D]:
        """Takes the highest cells of each task, peaks or not, then removes those in the way of better ones.

        Returns:
            a result a sample, task by task, each best first.
        """
        codes = torch.cat((raw.offset, raw.height, raw.size, raw.heading, raw.velocity), dim=2)  # [B G 10 Y X]
        scores = probabilities(raw.heatmap)
        return [self._decode_sample(*sample)[0] for sample in zip(scores, codes.detach().float())]

    def _decode_sample(self, scores: Tensor, codes: Tensor) -> tuple[Detections3D, Tensor]:
        """Decodes scores [K Y X] and codes [G 10 Y X]; returns boxes, and the place of each in maps [G Y X]: [A]."""
        found = []
        counts = [len(labels) for labels in self.labels]
        for task, (heat, code, labels) in enumerate(zip(scores.split(counts), codes, self.labels)):
            boxes, score, channel, cell = self.candidates(heat, code)
            chosen = self._suppress(self.nms[task], boxes, score, channel)[: self.max_boxes]
            found.append((boxes[chosen], score[chosen], labels.to(channel.device)[channel[chosen]],
                          task * self.grid.cells + cell[chosen]))
        boxes, score, label, place = (torch.cat(parts) for parts in zip(*found))
        return detections(boxes, score, label), place

    def candidates(self, scores: Tensor, codes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Reads boxes of one task, before suppression: boxes [A 9], scores, class channel within the task, cell [A].

        Args: scores [k Y X] in 0..1, codes [10 Y X].
        """
        cells, columns = self.grid.cells, self.grid.shape[1]
        best, place = best_of(scores.flatten(), self.max_peaks)  # [k*Y*X] -> [A]
        channel, cell = place // cells, place % cells
        code = codes.flatten(1)[:, cell].T  # [A 10]
        corner = torch.stack((cell % columns, cell // columns), dim=1)
        centers = self.grid.metric_from_cells(corner + code[:, :2])
        z, size = code[:, 2:3], code[:, 3:6]
        boxes = boxes_from_code(torch.cat((centers, size[:, :2], z, size[:, 2:], code[:, 6:]), dim=1))  # [A 9]
        keep = (best > self.score_threshold) & inside(boxes, self.center_range)
        return boxes[keep], best[keep], channel[keep], cell[keep]

    def _suppress(self, nms: Mapping[str, Any], boxes: Tensor, scores: Tensor, channel: Tensor) -> Tensor:
        """Returns the indices that stay, best first."""
        if nms["kind"] == "circle":
            return circle_nms(boxes[:, :2], scores, nms["squared_distance"])
        footprints = boxes[:, [0, 1, 3, 4, 6]]
        if nms["kind"] == "size_aware":
            return size_aware_nms(footprints, scores, nms["scale"])
        scale = torch.as_tensor(nms.get("scale", 1.0), dtype=boxes.dtype, device=boxes.device)
        scale = scale[channel] if scale.ndim else scale.expand(len(boxes))
        footprints[:, 2:4] *= scale.unsqueeze(1)
        best = scores.argsort(descending=True, stable=True)[: self.max_before_nms]
        return best[rotated_nms(footprints[best], scores[best], nms["overlap"])]


def checked_nms(nms: Mapping[str, Any] | Sequence[Mapping[str, Any]], tasks: Sequence[Sequence[str]]
                ) -> tuple[Mapping[str, Any], ...]:
    """Returns one suppression a task; raises ValueError for a wrong number, an unknown kind or a wrong option."""
    each = (nms,) * len(tasks) if isinstance(nms, Mapping) else tuple(nms)
    if len(each) != len(tasks):
        raise ValueError(f"nms: expected one for all or one for each of {len(tasks)} tasks, got {len(each)}")
    for task, one in zip(tasks, each):
        kind, options = one.get("kind"), set(one) - {"kind"}
        if kind not in _KINDS:
            raise ValueError(f"nms: expected a kind among {', '.join(_KINDS)}, got {kind!r}")
        needed, optional = _KINDS[kind]
        if not needed <= options <= needed | optional:
            raise ValueError(f"nms: {kind} takes {', '.join(sorted(needed | optional))}, got {', '.join(options)}")
        scale = one.get("scale", 1.0)
        if isinstance(scale, Sequence) and len(scale) != len(task):
            raise ValueError(f"nms: expected one scale or one for each of {', '.join(task)}, got {list(scale)}")
    return each


