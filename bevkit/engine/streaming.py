"""Testing as a vehicle drives: whole scenes, instant by instant, the past handed from one to the next."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from mmengine import Config, dist
from mmengine.registry import DATA_SAMPLERS, LOOPS
from mmengine.runner import TestLoop
from torch import Tensor

from bevkit.structures import BEVBatch, TemporalState


@DATA_SAMPLERS.register_module()
class SceneBatches:
    """Orders the clips of a data set as streams: a batch holds one instant each of several scenes, side by side.

    A batch sampler. A scene runs on in its place of the batch from its first keyframe to its last; then the next scene
    takes the place. In the end batches grow smaller. Processes share the scenes out among themselves.

    Args:
        sampler: knows the data set, whose clips have one input frame; its order is not used.
        batch_size: how many scenes run side by side.
        drop_last: taken because mmengine hands it over; nothing is ever dropped.
    """

    def __init__(self, sampler: Any, batch_size: int, drop_last: bool = False) -> None:
        dataset = sampler.dataset
        if dataset.past != 1:
            raise ValueError(f"SceneBatches: expected clips of one input frame, got {dataset.past}; set the data set's "
                             "past=1: a stream brings its own past")
        scenes = dataset.clip_scenes()
        rank, world = dist.get_rank(), dist.get_world_size()
        mine = [np.flatnonzero(scenes == scene).tolist() for scene in np.unique(scenes)][rank::world]
        self.batches = list(side_by_side(mine, batch_size))

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def side_by_side(scenes: list[list[int]], places: int) -> Iterator[list[int]]:
    """Yields one clip of each running scene at a time; a scene that ends gives its place to the next one."""
    waiting = iter(scenes)
    running = [deque(scene) for scene in islice(waiting, places)]
    while running:
        yield [scene.popleft() for scene in running]
        running = [scene or deque(next(waiting, ())) for scene in running]
        running = [scene for scene in running if scene]


def use_streams(cfg: Config, places: int) -> None:
    """Turns the test of a config to whole scenes, ``places`` of them side by side."""
    if places < 1:
        raise ValueError(f"--stream: expected 1 or more scenes side by side, got {places}")
    cfg.test_cfg.type = "StreamTestLoop"
    loader = cfg.test_dataloader
    loader.batch_size, loader.batch_sampler = places, dict(type="SceneBatches")
    loader.dataset.past = 1


class Streams:
    """The state of the scenes that run side by side, from one batch to the next.

    A clip goes on where the last batch held the keyframe before it in the same scene; else its scene begins.
    """

    def __init__(self) -> None:
        self.places: dict[tuple[str, int], int] = {}
        self.state: TemporalState | None = None

    def predict(self, model: Any, batch: BEVBatch) -> list[Any]:
        """Runs one instant of every scene of a batch of single frames, as loaded; returns one result a clip."""
        batch = model.data_preprocessor({"batch": batch})["batch"]
        here = [(row[0]["scene_name"], row[0]["keyframe"]) for row in batch.meta]
        before = [self.places.get((scene, keyframe - 1), -1) for scene, keyframe in here]
        state, fresh = self._rows(before)
        raw, self.state = model.stream(batch, state, fresh)
        self.places = {place: row for row, place in enumerate(here)}
        return model.head.predict(raw)

    def _rows(self, before: list[int]) -> tuple[TemporalState | None, Tensor | None]:
        """Picks the rows of the state that clips go on from, and says which begin."""
        if self.state is None or all(row < 0 for row in before):
            return None, None
        rows = torch.tensor(before, device=self.state.bev.device)
        return self.state.map(lambda tensor: tensor[rows.clamp(min=0)]), rows < 0


@LOOPS.register_module()
class StreamTestLoop(TestLoop):
    """mmengine's TestLoop over scenes as streams: `SceneBatches` orders them, `DenseBEV.stream` runs them."""

    def run(self) -> dict[str, float]:
        """Streams all scenes and returns the scores."""
        self.runner.call_hook("before_test")
        self.runner.call_hook("before_test_epoch")
        self.runner.model.eval()
        model, streams = getattr(self.runner.model, "module", self.runner.model), Streams()
        for index, data in enumerate(self.dataloader):
            self.runner.call_hook("before_test_iter", batch_idx=index, data_batch=data)
            with torch.no_grad():
                outputs = streams.predict(model, data["batch"])
            self.evaluator.process(data_samples=outputs, data_batch=data)
            self.runner.call_hook("after_test_iter", batch_idx=index, data_batch=data, outputs=outputs)
        for metric in self.evaluator.metrics:
            metric.results = dealt_out(metric.results)
        metrics: dict[str, float] = self.evaluator.evaluate(len(self.dataloader.dataset))
        self.runner.call_hook("after_test_epoch", metrics=metrics)
        self.runner.call_hook("after_test")
        return metrics


def dealt_out(results: list[Any]) -> list[Any]:
    """Shares the results of all processes out as a data set's sampler would have: every process equally many.

    Scenes differ in length, and mmengine's gathering takes it that process r has results r, r+N, r+2N ..
    """
    world = dist.get_world_size()
    if world == 1:
        return results
    parts: list[list[Any]] = dist.all_gather_object(results)
    whole = [result for part in parts for result in part]
    missing = -len(whole) % world
    return (whole + whole[:missing])[dist.get_rank()::world]
