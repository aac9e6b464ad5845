"""Clips against the devkit's own answers, their number, their edges, and their independence of workers."""

import json
import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from bevkit.datasets import NuScenesClips
from bevkit.datasets.infos import open_index
from bevkit.geometry import rigid
from bevkit.structures import BEVClip, collate_clips
from bevkit.structures.classes import ATTRIBUTES, CLASSES
from tests.datasets.tables import write_tables


@pytest.fixture(scope="module", params=["v1.0-mini", "v1.0-front", "v1.0-meta"])
def devkit(request, nuscenes_real, tmp_path_factory):
    """The devkit's database and bevkit's index of the same version."""
    from nuscenes.nuscenes import NuScenes

    cache = tmp_path_factory.mktemp("cache")
    return NuScenes(request.param, str(nuscenes_real), verbose=False), \
        open_index(nuscenes_real, request.param, cache), cache


def test_boxes_equal_the_devkits(devkit):
    from nuscenes.eval.detection.utils import category_to_detection_name
    from pyquaternion import Quaternion

    database, index, _ = devkit
    for i, token in enumerate(index.tokens):
        sample = database.get("sample", token.decode())
        lidar = database.get("sample_data", sample["data"]["LIDAR_TOP"])
        pose = database.get("ego_pose", lidar["ego_pose_token"])
        assert np.allclose(index.global_from_ego[i, :3, 3], pose["translation"])
        assert index.timestamps[i] == lidar["timestamp"]
        boxes = slice(*index.box_start[i:i + 2])
        rows = [database.get("sample_annotation", name) for name in sample["anns"]]
        assert len(rows) == boxes.stop - boxes.start
        turn = Quaternion(pose["rotation"]).inverse
        for j, row in zip(range(boxes.start, boxes.stop), rows):
            box = database.get_box(row["token"])
            box.velocity = database.box_velocity(row["token"])
            box.translate(-np.array(pose["translation"]))
            box.rotate(turn)
            heading = box.orientation.rotation_matrix[:, 0]
            assert np.allclose(index.centers[j], box.center)
            assert np.allclose(index.sizes[j], box.wlh[[1, 0, 2]])
            assert np.isclose(index.yaws[j], np.arctan2(heading[1], heading[0]))
            assert np.allclose(index.velocities[j], box.velocity[:2], equal_nan=True)
            name = category_to_detection_name(row["category_name"])
            assert index.labels[j] == (-1 if name is None else CLASSES.index(name))
            assert index.vehicle[j] == ("vehicle" in row["category_name"])
            assert database.instance[index.track_ids[j] - 1]["token"] == row["instance_token"]
            assert index.sensor_points[j] == row["num_lidar_pts"] + row["num_radar_pts"]
            assert index.visibility[j] == 0
            named = [database.get("attribute", token)["name"] for token in row["attribute_tokens"]]
            assert index.attributes[j] == (ATTRIBUTES.index(named[0]) if named else -1)


def test_rig_projects_where_the_devkit_projects(devkit, nuscenes_real):
    """A point fixed in the world, seen by a camera at its own firing time."""
    from nuscenes.utils.geometry_utils import view_points
    from pyquaternion import Quaternion

    database, _, cache = devkit
    clips = NuScenesClips(nuscenes_real, database.version, with_images=False, cache_dir=cache)
    for i in range(0, len(clips), 7):
        frame = clips[i].present
        sample = database.get("sample", frame.meta["sample_token"])
        pixels, depth, _ = frame.rig.project(frame.boxes.centers)
        for n, channel in enumerate(frame.meta["cameras"]):
            data = database.get("sample_data", sample["data"][channel])
            pose = database.get("ego_pose", data["ego_pose_token"])
            mount = database.get("calibrated_sensor", data["calibrated_sensor_token"])
            points = rigid.transform(frame.global_from_ego, frame.boxes.centers).numpy().T
            for step in (pose, mount):
                points = Quaternion(step["rotation"]).inverse.rotation_matrix @ (
                    points - np.array(step["translation"])[:, None])
            wanted = view_points(points, np.array(mount["camera_intrinsic"]), normalize=True)[:2].T
            front = depth[n].numpy() > 1
            assert np.allclose(depth[n].numpy(), points[2])
            assert np.allclose(pixels[n].numpy()[front], wanted[front], atol=1e-6)


def test_real_data_gives_batches(nuscenes_real, tmp_path):
    options = dict(past=3, future=4, images=dict(size=(64, 120)), cache_dir=tmp_path)
    front = NuScenesClips(nuscenes_real, "v1.0-front", **options)
    assert len(front) == 34
    assert len(NuScenesClips(nuscenes_real, "v1.0-front", keyframes=(0, 30), **options)) == 24
    held_out = NuScenesClips(nuscenes_real, "v1.0-front", keyframes=(30, 40), **options)
    assert [clip.frames[0].meta["keyframe"] for clip in held_out] == [30, 31, 32, 33]
    batch = next(iter(DataLoader(front, batch_size=2, num_workers=2, collate_fn=collate_clips)))["batch"]
    assert batch.images.shape == (2, 3, 1, 3, 64, 120)
    boxes = front[1].frames[6].boxes
    assert torch.equal(batch.boxes[1][6].centers, boxes.centers)
    assert torch.equal(batch.boxes[1][6].track_ids, boxes.track_ids)
    mini = NuScenesClips(nuscenes_real, "v1.0-mini", at_scene_start="repeat", at_scene_end="unknown", **options)
    assert len(mini) == 3 and mini[0].inputs[0].images.shape == (6, 3, 64, 120)
    assert len(NuScenesClips(nuscenes_real, "v1.0-mini", past=2, cache_dir=tmp_path)) == 1
    with pytest.raises(FileNotFoundError, match="228 of 240 images of v1.0-meta are missing"):
        NuScenesClips(nuscenes_real, "v1.0-meta", cache_dir=tmp_path)


@pytest.mark.parametrize(("past", "future", "clips"), [(1, 0, 14), (3, 0, 10), (3, 4, 2), (1, 5, 4)])
def test_length_counts_whole_clips_inside_scenes(tiny, past, future, clips):
    data = NuScenesClips(tiny, "v1.0-mini", past, future, with_images=False)
    assert len(data) == clips == len(list(data))
    for clip in data:
        assert isinstance(clip, BEVClip) and clip.past == past and len(clip.frames) == past + future
        assert len({frame.meta["scene_name"] for frame in clip.frames}) == 1
        steps = np.diff([frame.timestamp for frame in clip.frames])
        assert np.allclose(steps, 0.5)


def test_scenes_splits_keyframes_and_cameras_choose(tiny):
    def length(**options):
        return len(NuScenesClips(tiny, "v1.0-mini", with_images=False, **options))

    assert (length(split="mini_train"), length(split="mini_val"), length(scenes=["scene-0103"])) == (8, 6, 6)
    assert length(keyframes=(2, 4)) == 4 and length(keyframes=(6, None)) == 2
    data = NuScenesClips(tiny, "v1.0-mini", cameras=["CAM_BACK"])
    assert data[0].present.meta["cameras"] == ("CAM_BACK",) and data[0].present.images.shape[0] == 1
    both = NuScenesClips(tiny, "v1.0-mini", cameras=["CAM_BACK", "CAM_FRONT"])[0].present
    assert torch.equal(both.images[0], data[0].present.images[0])


def test_custom_splits_beside_the_tables(tiny):
    (tiny / "v1.0-mini" / "splits.json").write_text(json.dumps({"mine": ["scene-0103"]}))
    assert len(NuScenesClips(tiny, "v1.0-mini", split="mine", with_images=False)) == 6


def test_scene_edges_can_be_filled(tiny):
    data = NuScenesClips(tiny, "v1.0-mini", 3, 4, at_scene_start="repeat", at_scene_end="unknown", with_images=False)
    assert len(data) == 14
    first, last = data[0], data[7]
    assert [frame.meta["keyframe"] for frame in first.frames] == [0, 0, 0, 1, 2, 3, 4]
    assert [frame.meta["keyframe"] for frame in last.frames] == [5, 6, 7, -1, -1, -1, -1]
    assert all(frame.boxes is None for frame in last.frames[3:]) and last.frames[2].boxes is not None
    assert np.allclose(np.diff([frame.timestamp for frame in last.frames]), 0.5)


def test_frames_ahead_are_inputs_too(tiny):
    data = NuScenesClips(tiny, "v1.0-mini", 2, 3, ahead=2, at_scene_start="repeat", at_scene_end="repeat")
    clip = data[0]
    assert len(clip.inputs) == 4 and all(frame.images is not None for frame in clip.inputs)
    assert clip.frames[4].images is None and clip.present is clip.frames[1]
    last = data[int(np.searchsorted(data.clip_scenes(), 1)) - 1]  # of the first scene
    assert {frame.meta["sample_token"] for frame in last.frames[1:]} == {last.present.meta["sample_token"]}
    batch = collate_clips([clip, last])["batch"]
    assert batch.past == 2 and batch.ahead == 2 and batch.images.shape[1] == 4


def test_keyframes_go_missing_and_older_ones_take_their_places(tiny):
    options = dict(version="v1.0-mini", past=3, at_scene_start="repeat", with_images=False)
    whole, holed = NuScenesClips(tiny, **options), NuScenesClips(tiny, **options, missed=0.5)
    assert len(holed) == len(whole)
    different = 0
    for index in range(len(whole)):
        usual, clip = ([frame.meta["keyframe"] for frame in data[index].inputs] for data in (whole, holed))
        assert clip[-1] == usual[-1] and clip == sorted(clip) and len(clip) == 3  # the present never goes missing
        assert all(one < other for one, other in zip(clip, clip[1:]) if one != clip[0])  # only the oldest stands in
        different += clip != usual
        assert clip == [frame.meta["keyframe"] for frame in holed[index].inputs]  # drawn by the index
    assert different > len(whole) / 3


def test_missing_facts_are_unknown(tmp_path):
    root = write_tables(tmp_path, lidar=False, images=False)
    clip = NuScenesClips(root, "v1.0-mini", 1, 1, with_images=False)[0]
    boxes = clip.present.boxes
    assert boxes.visibility.tolist() == [3, 0, 0] and boxes.attributes.tolist() == [5, -1, -1]
    assert boxes.labels.tolist() == [0, 0, -1] and boxes.vehicle.tolist() == [True, True, False]
    # Without LIDAR_TOP the pose is that of CAM_FRONT, 20 ms later.
    assert torch.isclose(clip.present.global_from_ego[0, 3], torch.tensor(100 + 4 * 0.02, dtype=torch.float64))
    unlabelled = write_tables(tmp_path / "test", "v1.0-test", labels=False, images=False)
    assert NuScenesClips(unlabelled, "v1.0-test", with_images=False)[0].present.boxes is None


def test_velocity_carries_boxes_to_the_next_keyframe(tiny):
    clip = NuScenesClips(tiny, "v1.0-mini", 1, 1, with_images=False)[3]
    now, then = clip.frames
    moved = now.boxes.centers.clone()
    moved[:, :2] += 0.5 * now.boxes.velocities
    there = rigid.inverse(then.global_from_ego) @ now.global_from_ego
    assert torch.allclose(rigid.transform(there, moved), then.boxes.centers, atol=1e-9)


def test_random_changes_depend_on_seed_epoch_and_index_alone(tiny):
    options = dict(past=2, images=dict(size=(24, 40), zoom=(1.0, 1.3), flip=0.5, rotate=(-5, 5)),
                   pipeline=[dict(type="Photometric"), dict(type="BEVJitter", rotate=(-20, 20), flip_y=0.5)])
    data = NuScenesClips(tiny, "v1.0-mini", **options)

    def epoch(loader):
        return [(clip.present.images, clip.present.rig.image_from_camera, clip.global_from_ego)
                for clips in loader for clip in clips]

    def equal(a, b):
        return all(torch.equal(x, y) for one, other in zip(a, b) for x, y in zip(one, other))

    alone = [(data[i].present.images, data[i].present.rig.image_from_camera, data[i].global_from_ego)
             for i in reversed(range(len(data)))][::-1]
    workers = DataLoader(data, batch_size=2, num_workers=2, collate_fn=list, persistent_workers=True)
    first = epoch(workers)
    assert equal(alone, first) and equal(first, epoch(workers))
    data.set_epoch(1)
    second = epoch(workers)
    assert not equal(first, second)
    fresh = NuScenesClips(tiny, "v1.0-mini", **options)
    fresh.set_epoch(1)
    assert equal(second, epoch(DataLoader(fresh, collate_fn=list)))
    assert not equal(first, epoch(DataLoader(NuScenesClips(tiny, "v1.0-mini", seed=1, **options), collate_fn=list)))


def test_target_coder_runs_last(tiny):
    class Count:
        def encode(self, clip):
            return {"boxes": torch.tensor([len(frame.boxes) for frame in clip.frames])}

    data = NuScenesClips(tiny, "v1.0-mini", 1, 2, target_coder=Count())
    assert data[0].targets["boxes"].tolist() == [3, 3, 3]
    assert collate_clips([data[0], data[1]])["batch"].targets["boxes"].shape == (2, 3)


def test_data_set_can_be_sent_to_a_process(tiny):
    data = NuScenesClips(tiny, "v1.0-mini", 2, 1, with_images=False)
    again = pickle.loads(pickle.dumps(data))
    assert torch.equal(again[2].frames[2].boxes.centers, data[2].frames[2].boxes.centers)


@pytest.mark.parametrize(("options", "sentence"), [
    (dict(version="v1.0-nano"), "expected a folder .*v1.0-nano, found v1.0-mini in"),
    (dict(past=0), "past >= 1"),
    (dict(past=9), "no whole clip of 9 past .* longest has 8 keyframes"),
    (dict(split="train_tracks"), "no scene of v1.0-mini is in it; expected one of train, val, mini_train"),
    (dict(scenes=["scene-9"]), "scene-9 not in v1.0-mini; it has scene-0061, scene-0103"),
    (dict(cameras=["CAM_TOP"]), "CAM_TOP not in v1.0-mini; it has CAM_FRONT, CAM_BACK"),
    (dict(at_scene_end="never"), "at_scene_end = skip or unknown or repeat"),
    (dict(future=1, ahead=1, at_scene_end="unknown"), "at_scene_end = skip or repeat"),
    (dict(ahead=1), "0 <= ahead <= future"),
    (dict(missed=1.0), "0 <= missed < 1"),
    (dict(draw_per="frame"), "draw_per = clip or scene"),
])
def test_mistakes_give_one_sentence(tiny, options, sentence):
    with pytest.raises((ValueError, FileNotFoundError), match=sentence):
        NuScenesClips(tiny, **{"version": "v1.0-mini", **options})


def test_missing_images_are_found_before_training(tiny):
    (tiny / "samples" / "CAM_BACK" / "scene-0061-3.jpg").unlink()
    with pytest.raises(FileNotFoundError, match="1 of 28 images .* the first is .*scene-0061-3.jpg"):
        NuScenesClips(tiny, "v1.0-mini")
    assert len(NuScenesClips(tiny, "v1.0-mini", cameras=["CAM_FRONT"])) == 14
