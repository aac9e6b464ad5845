"""The order in which clips are read, as a function of (seed, epoch) alone."""

from __future__ import annotations

from collections.abc import Iterator, Sized

import torch
from mmengine.dist import get_dist_info, sync_random_seed
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import Sampler


class ClipSampler(Sampler[tuple[int, int]]):
    """Gives pairs (epoch, index), so that a worker knows the epoch its random numbers belong to.

    mmengine's own samplers give the index alone, and workers that outlive an epoch would repeat the augmentation of the
    first. Every process reads every ``world_size``-th clip of one common order. Interrupted training goes on where it
    was after ``resume(clips)``, without reading the clips before.

    Args:
        dataset: what is read; `NuScenesClips` takes the pairs.
        shuffle: a new order each epoch.
        seed: of the order; None = one that the processes agree on.
        round_up: repeat the first clips so that all processes read equally many.
        endless: start the next epoch without stopping, for training by iterations.
    """

    def __init__(self, dataset: Sized, shuffle: bool = True, seed: int | None = None, round_up: bool = True,
                 endless: bool = False) -> None:
        self.rank, self.world_size = get_dist_info()
        self.size, self.shuffle, self.round_up, self.endless = len(dataset), shuffle, round_up, endless
        self.seed = sync_random_seed() if seed is None else seed
        self.epoch, self.start = 0, 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch, start, self.start = self.epoch, self.start, 0
        while True:
            for index in self._order(epoch)[start:]:
                yield epoch, index
            if not self.endless:
                return
            epoch, start = epoch + 1, 0

    def __len__(self) -> int:
        """Number of clips this process reads in a whole epoch."""
        rest = self.size - self.rank
        return -(-(self.size if self.round_up else rest) // self.world_size)

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch of the next pass; mmengine's DistSamplerSeedHook calls this."""
        self.epoch = epoch

    def resume(self, clips: int) -> None:
        """Goes on after ``clips`` clips that this process has read since epoch 0."""
        self.epoch, self.start = divmod(clips, len(self))

    def _order(self, epoch: int) -> list[int]:
        order = list(range(self.size))
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            order = torch.randperm(self.size, generator=generator).tolist()
        if self.round_up:
            total = len(self) * self.world_size
            order = (order * -(-total // max(self.size, 1)))[:total]
        return order[self.rank::self.world_size]


# mmengine builds samplers from its root registry, whatever the default scope is.
DATA_SAMPLERS.register_module(module=ClipSampler)
