"""A training loop that resumes in the middle of an epoch at the very sample where it was killed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmengine.dataset import DefaultSampler
from mmengine.registry import DATA_SAMPLERS, LOOPS
from mmengine.runner import EpochBasedTrainLoop

from bevkit.engine.checkpoint import set_random_state


@DATA_SAMPLERS.register_module()
class ResumableSampler(DefaultSampler):
    """mmengine's DefaultSampler (seeded, split over processes) that can leave out the first samples of one epoch."""

    start: int = 0

    def __iter__(self) -> Iterator[int]:
        indices = list(super().__iter__())[self.start:]
        self.start = 0
        return iter(indices)


@LOOPS.register_module()
class ResumableEpochLoop(EpochBasedTrainLoop):
    """mmengine's epoch loop; after a resume it skips what the interrupted epoch had already trained on."""

    random_state: dict[str, Any] | None = None

    def run_epoch(self) -> None:
        self.runner.call_hook("before_train_epoch")
        if hasattr(self.dataloader.dataset, "set_epoch"):
            self.dataloader.dataset.set_epoch(self._epoch)
        self.runner.model.train()
        done = self._iter - self._epoch * len(self.dataloader)
        if done < len(self.dataloader):  # else killed between the last step and the epoch's end: nothing is left
            if self.dataloader.batch_size is None:  # then whole batches are sampled
                self.dataloader.batch_sampler.start = done
            else:
                self.dataloader.sampler.start = done * self.dataloader.batch_size
        batches = iter(self.dataloader)
        if self.random_state is not None:
            set_random_state(self.random_state)
            self.random_state = None
        for index in range(done, len(self.dataloader)):
            self.run_iter(index, next(batches))
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1
