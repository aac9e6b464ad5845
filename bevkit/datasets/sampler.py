"""In which order, and how often, training sees the clips."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from mmengine.dist import get_dist_info, sync_random_seed
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import Sampler

from bevkit.datasets.nuscenes import NuScenesClips
from bevkit.structures.classes import CLASSES, class_indices


class Draw(NamedTuple):
    """A clip, and how many times this epoch has drawn it before: it is augmented anew each time."""

    index: int
    turn: int


@DATA_SAMPLERS.register_module()
class ClassBalancedSampler(Sampler[Draw]):
    """Shows each class in as many clips as any other (CBGS: Zhu et al., 2019, section 3.1).

    Of the K classes that stand in the present frame of some clip, each gets a K-th of the draws, which are as many as
    clips counted once a class: an epoch of nuScenes is 4.4 times as long. Within a class every clip is drawn as often
    as any other, give or take one; the paper draws at random. Each epoch draws anew, by (seed, epoch) alone.

    Args:
        dataset: says by ``class_presence()`` which classes are where.
        classes: names of those that are balanced; all by default.
        shuffle: mix the classes; False leaves one behind the other.
        seed: of what is random; None takes the same random one in every process.
    """

    start = 0  # so many of the first draws of one epoch are left out, as `ResumableSampler` has it

    def __init__(self, dataset: NuScenesClips, shuffle: bool = True, seed: int | None = None,
                 classes: Sequence[str] = CLASSES) -> None:
        present = dataset.class_presence()[:, class_indices(list(classes), "ClassBalancedSampler.classes")]  # [L K]
        self.clips = [np.flatnonzero(column) for column in present.T if column.any()]
        if not self.clips:
            raise ValueError("ClassBalancedSampler: expected boxes of some class, got a data set without any; "
                             "use ResumableSampler")
        self.share = sum(map(len, self.clips)) // len(self.clips)  # draws a class
        self.rank, self.processes = get_dist_info()
        self.shuffle, self.seed, self.epoch = shuffle, sync_random_seed() if seed is None else seed, 0

    def __len__(self) -> int:
        return math.ceil(self.share * len(self.clips) / self.processes)

    def set_epoch(self, epoch: int) -> None:
        """Says which epoch to draw for; mmengine calls it."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Draw]:
        draws = self.draws()
        draws = np.resize(draws, (len(self) * self.processes, 2))  # filled up from the front, so that all have as many
        mine = draws[self.rank:: self.processes][self.start:]
        self.start = 0
        return iter([Draw(*pair) for pair in mine.tolist()])

    def draws(self) -> np.ndarray:
        """Returns all draws (index, turn) of the epoch, for all processes: [S 2]."""
        rng = np.random.default_rng((self.seed, self.epoch))
        index = np.concatenate([self._of_class(clips, rng) for clips in self.clips])
        order = np.argsort(index, kind="stable")
        turn = np.empty_like(index)
        turn[order] = np.arange(len(index)) - np.searchsorted(index[order], index[order])
        draws = np.stack((index, turn), axis=1)
        return rng.permutation(draws) if self.shuffle else draws

    def _of_class(self, clips: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        whole, rest = divmod(self.share, len(clips))
        return np.concatenate((np.repeat(clips, whole), rng.choice(clips, rest, replace=False)))
