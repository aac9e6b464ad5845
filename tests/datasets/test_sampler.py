"""Class-balanced draws: as many a class, split over processes, resumed where they broke off, each augmented anew."""

from collections import Counter

import numpy as np
import pytest
import torch

from bevkit.datasets import ClassBalancedSampler, NuScenesClips
from bevkit.structures.classes import CLASSES
from tests.datasets.tables import write_tables


class Presence:
    """Forty clips: cars everywhere, buses in five, a bicycle in two, nothing else."""

    def class_presence(self) -> np.ndarray:
        present = np.zeros((40, len(CLASSES)), bool)
        present[:, 0], present[3:8, 2], present[[11, 30], 7] = True, True, True
        return present


def drawn(sampler: ClassBalancedSampler, epoch: int = 0) -> list:
    sampler.set_epoch(epoch)
    return list(sampler)


def test_every_class_has_its_share():
    sampler = ClassBalancedSampler(Presence(), shuffle=False, seed=0)
    draws = drawn(sampler)
    assert len(draws) == len(sampler) == 3 * ((40 + 5 + 2) // 3)
    for first, clips in zip((0, 15, 30), (range(40), range(3, 8), (11, 30)), strict=True):
        counts = Counter(draw.index for draw in draws[first: first + 15])
        assert set(counts) <= set(clips)
        assert {counts[clip] for clip in clips} <= {15 // len(clips), 15 // len(clips) + 1}
    times = Counter(draw.index for draw in draws)
    assert sorted(draws) == [(clip, turn) for clip in sorted(times) for turn in range(times[clip])]


def test_only_the_classes_asked_for_are_balanced():
    draws = drawn(ClassBalancedSampler(Presence(), shuffle=False, seed=0, classes=("bus", "bicycle")))
    assert len(draws) == 2 * ((5 + 2) // 2) and {draw.index for draw in draws} <= {*range(3, 8), 11, 30}
    with pytest.raises(ValueError, match="ClassBalancedSampler.classes"):
        ClassBalancedSampler(Presence(), classes=("tram",))


def test_epochs_differ_and_repeat_by_seed():
    first = drawn(ClassBalancedSampler(Presence(), seed=1))
    assert drawn(ClassBalancedSampler(Presence(), seed=1)) == first
    assert drawn(ClassBalancedSampler(Presence(), seed=1), epoch=1) != first
    assert drawn(ClassBalancedSampler(Presence(), seed=2)) != first


def test_processes_share_the_draws(monkeypatch):
    whole, parts = drawn(ClassBalancedSampler(Presence(), seed=0)), []
    for rank in range(4):
        monkeypatch.setattr("bevkit.datasets.sampler.get_dist_info", lambda rank=rank: (rank, 4))
        parts.append(drawn(ClassBalancedSampler(Presence(), seed=0)))
    assert {len(part) for part in parts} == {12}  # 45 draws, filled up to 48
    assert [draw for four in zip(*parts) for draw in four] == whole + whole[:3]


def test_an_epoch_goes_on_where_it_broke_off():
    sampler = ClassBalancedSampler(Presence(), seed=0)
    whole = drawn(sampler)
    sampler.start = 7
    assert list(sampler) == whole[7:] and list(sampler) == whole


def test_classes_of_a_data_set(tmp_path):
    dataset = NuScenesClips(write_tables(tmp_path), "v1.0-mini", past=2, cache_dir=tmp_path)
    present = dataset.class_presence()
    assert present.shape == (len(dataset), len(CLASSES))
    for row, clip in zip(present, dataset, strict=True):
        boxes = clip.present.boxes
        assert set(np.flatnonzero(row)) == set(boxes.labels[(boxes.labels >= 0) & (boxes.sensor_points != 0)].tolist())
    assert present.any()
    sampler = ClassBalancedSampler(dataset, seed=0)
    assert len(sampler) > 0 and max(draw.index for draw in sampler) < len(dataset)


def test_a_clip_drawn_again_is_augmented_anew(tmp_path):
    dataset = NuScenesClips(write_tables(tmp_path), "v1.0-mini", cache_dir=tmp_path,
                            images=dict(size=(24, 48), zoom=(1.0, 1.4)))
    once, again, twin = dataset[2, 0], dataset[2, 1], dataset[2]
    assert torch.equal(once.present.images, twin.present.images)
    assert not torch.equal(once.present.rig.image_aug, again.present.rig.image_aug)
    assert torch.equal(once.global_from_ego, again.global_from_ego)


def test_nothing_to_balance():
    class Empty:
        def class_presence(self) -> np.ndarray:
            return np.zeros((3, len(CLASSES)), bool)

    with pytest.raises(ValueError, match="ResumableSampler"):
        ClassBalancedSampler(Empty(), seed=0)
