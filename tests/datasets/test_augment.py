"""After an augmentation the truth is still true: pixels, boxes and motion agree as before."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bevkit.datasets import BEVJitter, GridMask, NuScenesClips, Photometric
from bevkit.datasets.augment import move_ego, recolour
from bevkit.geometry import rigid

JITTERS = [dict(rotate=(-25, 25)), dict(scale=(0.9, 1.1)), dict(flip_x=1.0), dict(flip_y=1.0),
           dict(rotate=(-40, 40), scale=(0.9, 1.1), flip_x=0.5, flip_y=1.0)]


@pytest.fixture
def clip(tiny):
    return NuScenesClips(tiny, "v1.0-mini", 3, 4, with_images=False)[1]


def jitter(clip, options, seed=0):
    return BEVJitter(**options)(clip, np.random.default_rng(seed))


@pytest.mark.parametrize("options", JITTERS, ids=str)
def test_boxes_are_seen_at_the_same_pixels(clip, options):
    for before, after in zip(clip.frames[: clip.past], jitter(clip, options).frames):
        pixels, depth, visible = before.rig.project(before.boxes.corners.flatten(0, 1))
        pixels_after, depth_after, _ = after.rig.project(after.boxes.corners.flatten(0, 1))
        shown = depth > 0.1
        assert shown.any() and torch.equal(shown, depth_after > 0.1)
        # A mirror exchanges the left and right corners of a box: compare each box's corners as sets, by their sums.
        for power in (1, 2):
            sums, sums_after = (where.unflatten(1, (-1, 8)).pow(power).sum(2) for where in (pixels, pixels_after))
            whole = shown.unflatten(1, (-1, 8)).all(2)
            assert torch.allclose(sums[whole], sums_after[whole])


@pytest.mark.parametrize("options", JITTERS, ids=str)
def test_world_keeps_its_place(clip, options):
    for before, after in zip(clip.frames, jitter(clip, options).frames):
        assert torch.allclose(rigid.transform(before.global_from_ego, before.boxes.centers),
                              rigid.transform(after.global_from_ego, after.boxes.centers))


@pytest.mark.parametrize("options", JITTERS, ids=str)
def test_velocity_still_carries_boxes_to_the_next_frame(clip, options):
    frames = jitter(clip, options).frames
    for now, then in zip(frames, frames[1:]):
        moved = now.boxes.centers.clone()
        moved[:, :2] += 0.5 * now.boxes.velocities
        there = rigid.inverse(then.global_from_ego) @ now.global_from_ego
        assert torch.allclose(rigid.transform(there, moved), then.boxes.centers, atol=1e-9)


def test_all_frames_move_alike_and_the_way_back_returns(clip):
    turned = jitter(clip, JITTERS[-1])
    moves = [rigid.inverse(after.global_from_ego) @ before.global_from_ego
             for before, after in zip(clip.frames, turned.frames)]
    assert all(torch.allclose(move, moves[0]) for move in moves)
    back = move_ego(turned, rigid.inverse(moves[0]))
    for before, after in zip(clip.frames, back.frames):
        assert torch.allclose(before.global_from_ego, after.global_from_ego)
        assert torch.allclose(before.boxes.corners.sum(1), after.boxes.corners.sum(1))
        assert torch.allclose(before.boxes.sizes, after.boxes.sizes)
    assert torch.allclose(clip.present.rig.ego_from_camera, back.present.rig.ego_from_camera)


def test_defaults_change_nothing(clip):
    same = jitter(clip, {})
    assert torch.equal(same.present.boxes.centers, clip.present.boxes.centers)
    assert torch.equal(same.global_from_ego, clip.global_from_ego)
    assert Photometric()(clip, np.random.default_rng(0)) is clip  # no images, nothing to colour


@pytest.fixture
def image():
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 9, 11), np.uint8))


def test_colour_changes_do_what_they_are_called(image):
    grey = torch.full((3, 2, 2), 100, dtype=torch.uint8)
    assert (recolour(image, 1, 1, 1, 0).int() - image.int()).abs().max() <= 1
    assert recolour(grey, 1.2, 1, 1, 0).unique().tolist() == [120]
    assert abs(recolour(grey, 1, 2, 1, 0).float().mean() - 72.5) < 1  # 27.5 below mid-grey becomes 55 below
    assert recolour(grey, 1, 1, 3, 40).unique().tolist() == [100]  # grey has neither saturation nor hue
    colourless = recolour(image, 1, 1, 0, 0).int()
    assert (colourless - colourless[:1]).abs().max() <= 1
    there_and_back = recolour(recolour(image // 4 + 96, 1, 1, 1, 20), 1, 1, 1, -20).int()
    assert (there_and_back - (image // 4 + 96).int()).abs().max() <= 3
    red = torch.zeros(3, 1, 1, dtype=torch.uint8)
    red[0] = 120
    assert recolour(red, 1, 1, 1, 120).flatten().argmax() != 0
    assert recolour(image, 9, 1, 1, 0).max() == 255  # cut, not wrapped round


@pytest.mark.parametrize(("per", "distinct"), [("clip", 1), ("camera", 2), ("image", 6)])
def test_photometric_draws_are_shared_as_asked(clip, image, per, distinct):
    frames = tuple(replace(frame, images=torch.stack([image, image])) if i < clip.past else frame
                   for i, frame in enumerate(clip.frames))
    coloured = Photometric(per=per)(replace(clip, frames=frames), np.random.default_rng(0))
    looks = torch.stack([picture for frame in coloured.inputs for picture in frame.images])
    assert len(looks.unique(dim=0)) == distinct and not (looks == image).flatten(1).all(1).any()
    assert coloured.frames[-1].images is None
    assert Photometric(probability=0.0)(replace(clip, frames=frames), np.random.default_rng(0)).frames is frames


def test_mistakes_give_one_sentence():
    with pytest.raises(ValueError, match="per = clip, camera or image"):
        Photometric(per="frame")
    with pytest.raises(ValueError, match="scale: expected a number or"):
        BEVJitter(scale=(2, 1))


def test_a_lattice_covers_the_images(tiny):
    clip = NuScenesClips(tiny, "v1.0-mini", 2, images=dict(size=(64, 96)))[0]
    masked = [GridMask(1.0)(clip, np.random.default_rng(seed)) for seed in range(20)]
    fill = torch.tensor([124, 116, 104], dtype=torch.uint8).view(3, 1, 1)
    shares = []
    for changed in masked:
        covered = [(frame.images == fill).all(dim=1) | (before.images == fill).all(dim=1)
                   for frame, before in zip(changed.inputs, clip.inputs)]
        touched = torch.stack([(frame.images != before.images).any(dim=1)
                               for frame, before in zip(changed.inputs, clip.inputs)])
        assert (touched <= torch.stack(covered)).all()  # what is changed is covered
        shares.append(touched.float().mean().item())
    assert np.mean(shares) == pytest.approx(0.25, abs=0.06) and len(set(shares)) > 10
    assert GridMask(0.0)(clip, np.random.default_rng(0)) is clip
    with pytest.raises(ValueError, match="between 0 and 1"):
        GridMask(ratio=1.0)
