"""Training and testing as a vehicle drives: scenes instant by instant, the past handed from one to the next."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import cycle, islice
from typing import Any

import numpy as np
import torch
from mmengine import Config, dist
from mmengine.registry import DATA_SAMPLERS, LOOPS
from mmengine.runner import TestLoop
from torch import Tensor

from bevkit.engine.loops import ResumableEpochLoop
from bevkit.structures import BEVBatch, TemporalState


@DATA_SAMPLERS.register_module()
class SceneBatches:
    """Orders the clips of a data set as streams: a batch holds one instant each of several scenes, side by side.

    A batch sampler. A scene runs on in its place of the batch from its first keyframe to its last; then the next scene
    takes the place. Processes share the scenes out among themselves. For a test every clip comes once; in the end
    batches grow smaller. For training, where the sampler shuffles, scenes come in a new order each epoch, all batches
    are full, equally many in every process, and what is left of the last scenes waits for another epoch.

    Args:
        sampler: knows the data set, whose clips have one input frame, and whether and by which seed to shuffle.
        batch_size: how many scenes run side by side.
        drop_last: taken because mmengine hands it over.
    """

    start = 0  # so many of the first batches of one epoch are left out, as `ResumableSampler` has it

    def __init__(self, sampler: Any, batch_size: int, drop_last: bool = False) -> None:
        dataset = sampler.dataset
        if dataset.past != 1:
            raise ValueError(f"SceneBatches: expected clips of one input frame, got {dataset.past}; set the data set's "
                             "past=1: a stream brings its own past")
        scenes, self.processes = dataset.clip_scenes(), dist.get_world_size()
        self.scenes = [np.flatnonzero(scenes == scene).tolist() for scene in np.unique(scenes)]
        self.sampler, self.places = sampler, batch_size
        self.endless = bool(getattr(sampler, "shuffle", False))
        if self.endless and len(self.scenes) < batch_size * self.processes:
            raise ValueError(f"SceneBatches: expected {batch_size * self.processes} scenes or more, to run side by "
                             f"side ({self.processes} processes), got {len(self.scenes)}; lower the batch size")

    def __iter__(self) -> Iterator[list[int]]:
        # A generator, as PyTorch's loader with workers begins an order twice and takes batches of the second alone.
        first, self.start = self.start, 0
        yield from islice(self._batches(), first, len(self) if self.endless else None)

    def __len__(self) -> int:
        if self.endless:
            return sum(map(len, self.scenes)) // (self.places * self.processes)
        return sum(1 for _ in self._batches())

    def _batches(self) -> Iterator[list[int]]:
        scenes = self.scenes
        if self.endless:
            order = np.random.default_rng((self.sampler.seed, self.sampler.epoch)).permutation(len(scenes))
            scenes = [scenes[index] for index in order]
        mine = scenes[dist.get_rank():: self.processes]
        return side_by_side(cycle(mine) if self.endless else mine, self.places)


def side_by_side(scenes: Iterable[list[int]], places: int) -> Iterator[list[int]]:
    """Yields one clip of each running scene at a time; a scene that ends gives its place to the next one."""
    waiting = iter(scenes)
    running = [deque(scene) for scene in islice(waiting, places)]
    while running:
        yield [scene.popleft() for scene in running]
        running = [scene or deque(next(waiting, ())) for scene in running]
        running = [scene for scene in running if scene]


def use_streams(cfg: Config, places: int, which: str = "test") -> None:
    """Turns the ``test`` or the ``train``ing of a config to whole scenes, ``places`` of them side by side."""
    if places < 1:
        raise ValueError(f"--stream: expected 1 or more scenes side by side, got {places}")
    cfg[f"{which}_cfg"].type = "StreamTestLoop" if which == "test" else "StreamTrainLoop"
    loader = cfg[f"{which}_dataloader"]
    loader.batch_size, loader.batch_sampler = places, dict(type="SceneBatches")
    loader.pop("drop_last", None)  # of batches that a loader makes by itself
    loader.dataset.past = 1
    if which == "train":
        if any(step.type == "PastTargets" for step in loader.dataset.get("pipeline", ())):
            raise ValueError("--stream: expected a model that learns from the present, got a pipeline with PastTargets "
                             "(HoP), whose clips hold the past; train it on clips, or drop the step and the auxiliary")
        loader.sampler = dict(type="ResumableSampler", shuffle=True)
        loader.dataset.draw_per = "scene"  # the past was augmented as the present is


class Streams:
    """The state of the scenes that run side by side, from one batch to the next.

    A clip goes on where the last batch held the keyframe before it in the same scene; else its scene begins.
    """

    def __init__(self) -> None:
        self.places: dict[tuple[str, int], int] = {}
        self.state: TemporalState | None = None

    def before(self, batch: BEVBatch) -> tuple[TemporalState | None, Tensor | None]:
        """Picks the rows of the state that the clips of a batch go on from, and says which begin [B]."""
        rows = [self.places.get((scene, keyframe - 1), -1) for scene, keyframe in _places_of(batch)]
        if self.state is None or all(row < 0 for row in rows):
            return None, None
        index = torch.tensor(rows, device=self.state.bev.device)
        return self.state.map(lambda tensor: tensor[index.clamp(min=0)]), index < 0

    def keep(self, batch: BEVBatch, state: TemporalState) -> None:
        """Keeps the state after a batch, without its gradients."""
        self.state = state.map(Tensor.detach)
        self.places = {place: row for row, place in enumerate(_places_of(batch))}


def _places_of(batch: BEVBatch) -> list[tuple[str, int]]:
    """Says at which keyframe of which scene each clip of single frames is."""
    return [(row[0]["scene_name"], row[0]["keyframe"]) for row in batch.meta]


@LOOPS.register_module()
class StreamTrainLoop(ResumableEpochLoop):
    """`ResumableEpochLoop` over scenes as streams: each step goes on from the state that the step before left.

    Gradients end at the state: of the past they reach the weights that read it, not those that made it. A training
    that was killed begins its scenes anew where it goes on.
    """

    def run_epoch(self) -> None:
        self.streams = Streams()
        super().run_epoch()

    def run_iter(self, idx: int, data_batch: dict[str, Any]) -> None:
        super().run_iter(idx, {**data_batch, "streams": self.streams})


@LOOPS.register_module()
class StreamTestLoop(TestLoop):
    """mmengine's TestLoop over scenes as streams, which `SceneBatches` orders."""

    def run(self) -> dict[str, float]:
        """Streams all scenes and returns the scores."""
        self.runner.call_hook("before_test")
        self.runner.call_hook("before_test_epoch")
        self.runner.model.eval()
        model, streams = getattr(self.runner.model, "module", self.runner.model), Streams()
        for index, data in enumerate(self.dataloader):
            self.runner.call_hook("before_test_iter", batch_idx=index, data_batch=data)
            with torch.no_grad():
                outputs = model(**model.data_preprocessor({**data, "streams": streams}), mode="predict")
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
