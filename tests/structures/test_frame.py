"""Frames to clips to batches, and what refuses to be a batch."""

from dataclasses import replace

import pytest
import torch
from mmengine.registry import FUNCTIONS

from bevkit.structures import BEVBatch, BEVClip, BEVFrame, Boxes3D, collate_clips
from tests.laws.space import random_boxes, random_motion, random_rig

PAST, FUTURE, CAMERAS = 3, 2, 2


def clip(seed: int, past: int = PAST, future: int = FUTURE) -> BEVClip:
    frames = []
    for index in range(past + future):
        images = torch.full((CAMERAS, 3, 4, 6), seed, dtype=torch.uint8) if index < past else None
        rig = random_rig(seed, CAMERAS) if index < past else None
        frames.append(BEVFrame(global_from_ego=random_motion(10 * seed + index), timestamp=seed + index / 2,
                               boxes=random_boxes(index, count=index), images=images, rig=rig,
                               meta={"name": f"{seed}.{index}"}))
    return BEVClip(tuple(frames), past, {"instance": torch.full((future + 1, 5, 5), seed)})


def test_a_batch_holds_what_its_clips_held() -> None:
    clips = [clip(1), clip(2)]
    batch = collate_clips(clips)["batch"]
    assert isinstance(batch, BEVBatch) and len(batch) == 2 and batch.past == PAST
    assert batch.images.shape == (2, PAST, CAMERAS, 3, 4, 6) and batch.images.dtype == torch.uint8
    assert batch.rig.intrinsics.shape == (2, PAST, CAMERAS, 3, 3)
    assert batch.global_from_ego.shape == (2, PAST + FUTURE, 4, 4)
    assert batch.timestamps[1].tolist() == [2.0, 2.5, 3.0, 3.5, 4.0]
    assert [len(boxes) for boxes in batch.boxes[0]] == [0, 1, 2, 3, 4]
    assert batch.targets["instance"][1].unique().tolist() == [2]
    assert batch.meta[1][4]["name"] == "2.4"


def test_the_present_is_the_last_input() -> None:
    one = clip(1)
    assert one.present is one.frames[PAST - 1] and one.inputs == one.frames[:PAST]


def test_moving_a_batch_moves_all_of_it() -> None:
    batch = collate_clips([clip(1)])["batch"].to("meta")
    assert {batch.images.device.type, batch.rig.intrinsics.device.type, batch.targets["instance"].device.type,
            batch.boxes[0][1].centers.device.type} == {"meta"}


def test_float_leaves_whole_numbers_alone() -> None:
    batch = collate_clips([clip(1)])["batch"].float()
    assert batch.global_from_ego.dtype == torch.float32 and batch.images.dtype == torch.uint8


def test_mmengine_finds_the_collate_function() -> None:
    assert FUNCTIONS.get("collate_clips") is collate_clips


def test_clips_without_images_are_no_batch() -> None:
    blind = BEVClip(tuple(replace(frame, images=None) for frame in clip(1).frames), PAST)
    with pytest.raises(ValueError, match="collate: a clip has no images; load the data set with images"):
        collate_clips([blind])


def test_clips_of_other_lengths_are_no_batch() -> None:
    with pytest.raises(ValueError, match=r"expected one \(past, ahead, frames\) in a batch, got \[\(3, 0, 4\), "):
        collate_clips([clip(1), clip(2, future=1)])


def test_a_clip_without_truth_is_fine() -> None:
    one = clip(1)
    unknown = replace(one, frames=(*one.inputs, *(replace(frame, boxes=None) for frame in one.frames[PAST:])))
    assert collate_clips([unknown])["batch"].boxes[0][-1] is None


def test_a_wrong_shape_is_refused() -> None:
    batch = collate_clips([clip(1)])["batch"]
    with pytest.raises(ValueError, match=r"batch.images: expected shape \[B T N 3 h w\]"):
        replace(batch, images=batch.images[0])
    with pytest.raises(ValueError, match=r"boxes.labels: expected shape \[A\] with A=0"):
        replace(Boxes3D.empty(), labels=torch.zeros(2))
