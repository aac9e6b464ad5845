"""The cached index survives whatever happens to it; mmdet3d's info files tell the same world as the tables."""

import os
import pickle
import signal
import threading
import time
from dataclasses import fields

import numpy as np
import pytest
import torch

import bevkit.datasets.nuscenes_tables as tables
from bevkit.datasets import NuScenesClips, infos
from bevkit.datasets.infos import SceneIndex, open_index
from bevkit.datasets.mmdet3d_infos import read_infos
from bevkit.geometry import rigid
from bevkit.structures.classes import CLASSES

VERSION = "v1.0-mini"


def same(a: SceneIndex, b: SceneIndex) -> bool:
    return all(np.array_equal(getattr(a, item.name), getattr(b, item.name)) for item in fields(SceneIndex))


@pytest.fixture
def builds(monkeypatch):
    """Counts how often the tables are read."""
    calls, read = [], tables.read_index
    monkeypatch.setattr(tables, "read_index", lambda *args: (calls.append(args), read(*args))[1])
    return calls


def test_index_is_built_once_and_again_when_the_tables_change(tiny, builds):
    first = open_index(tiny, VERSION)
    assert same(first, open_index(tiny, VERSION)) and len(builds) == 1
    path = tiny / VERSION / "sample_annotation.json"
    path.write_text(path.read_text().replace("4.5", "5.25"))
    assert np.isin(5.25, open_index(tiny, VERSION).sizes) and len(builds) == 2
    assert len(list((tiny / ".bevkit").iterdir())) == 1  # the superseded one is gone


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "text", "format"])
def test_damaged_cache_is_rebuilt(tiny, builds, damage, monkeypatch):
    first = open_index(tiny, VERSION)
    path, = (tiny / ".bevkit").iterdir()
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[data.index(first.global_from_ego.tobytes())] ^= 255
    if damage == "format":
        with monkeypatch.context() as older:
            older.setattr(infos, "FORMAT", infos.FORMAT - 1)
            infos.save(first, path)
    else:
        path.write_bytes({"truncate": data[: len(data) // 2], "flip": data, "empty": b"", "text": b"hello"}[damage])
    assert same(first, open_index(tiny, VERSION)) and len(builds) == 2
    assert same(first, infos.load(path))


def test_a_build_killed_at_any_moment_costs_a_rebuild(tiny, builds):
    """Twenty builders die at random; after each, what lies in the cache is whole or absent."""
    wanted = tables.read_index(tiny, VERSION)
    chance = np.random.default_rng(0)
    killed = 0
    for _ in range(20):
        child = os.fork()
        if child == 0:
            while True:
                for path in (tiny / ".bevkit").glob("*.npz"):
                    path.unlink()
                open_index(tiny, VERSION)
        time.sleep(chance.uniform(0.001, 0.06))
        os.kill(child, signal.SIGKILL)
        killed += os.WIFSIGNALED(os.waitpid(child, 0)[1])
        for path in (tiny / ".bevkit").glob("*.npz"):
            assert same(wanted, infos.load(path))
    assert killed == 20 and same(wanted, open_index(tiny, VERSION))
    for path in (tiny / ".bevkit").glob(".*.tmp"):  # leavings go when they are old enough to be nobody's
        os.utime(path, (0, 0))
    infos._remove_superseded(tiny / ".bevkit", VERSION, next((tiny / ".bevkit").glob("*.npz")))
    assert not list((tiny / ".bevkit").glob(".*.tmp"))


def test_two_builds_at_once_agree(tiny, builds):
    found = []
    threads = [threading.Thread(target=lambda: found.append(infos.open_index(tiny, VERSION))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and all(same(found[0], other) for other in found)
    assert [path.suffix for path in (tiny / ".bevkit").iterdir()] == [".npz"]


def test_write_protected_data_is_cached_elsewhere(tiny, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    tiny.chmod(0o555)
    try:
        open_index(tiny, VERSION)
    finally:
        tiny.chmod(0o755)
    assert not (tiny / ".bevkit").exists() and len(list((tmp_path / "cache" / "bevkit").glob("*/*.npz"))) == 1


def test_broken_tables_give_one_sentence(tiny):
    folder = tiny / VERSION
    whole = (folder / "sample_annotation.json").read_text()
    (folder / "sample_annotation.json").write_text(whole[:-40])
    with pytest.raises(ValueError, match="sample_annotation.json is damaged .*; copy it again"):
        open_index(tiny, VERSION)
    (folder / "sample_annotation.json").write_text(whole.replace('"scene-0061-car1"', '"nobody"'))
    with pytest.raises(ValueError, match="instance.json: token 'nobody' .* do not belong together"):
        open_index(tiny, VERSION)
    (folder / "ego_pose.json").unlink()
    with pytest.raises(FileNotFoundError, match="table .*ego_pose.json is missing; copy all tables"):
        open_index(tiny, VERSION)


# ---- mmdet3d info files, written here from the index as mmdet3d's converters write them


def lidar_pose(index: SceneIndex) -> torch.Tensor:
    """A lidar that is turned and shifted against the ego, so that a forgotten extrinsic shows."""
    quaternion = torch.tensor([0.7071, 0.01, -0.02, -0.7071], dtype=torch.float64)
    return rigid.rigid_from(rigid.rotation_from_quaternion(quaternion), torch.tensor([0.9, 0.1, 1.8]).double())


def in_lidar(index: SceneIndex, i: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    part = slice(*index.box_start[i:i + 2])
    turn = rigid.inverse(lidar_pose(index))
    centers = rigid.transform(turn, torch.from_numpy(index.centers[part])).numpy()
    heading = np.stack((np.cos(index.yaws[part]), np.sin(index.yaws[part]), 0 * index.yaws[part]))
    turned = turn[:3, :3].numpy() @ heading
    velocity = turn[:3, :3].numpy() @ np.pad(index.velocities[part], ((0, 0), (0, 1))).T
    return centers, index.sizes[part], np.arctan2(turned[1], turned[0]), velocity[:2].T


def names(index: SceneIndex, i: int) -> list[str]:
    labels = index.labels[slice(*index.box_start[i:i + 2])]
    return [CLASSES[label] if label >= 0 else "static_object.bicycle_rack" for label in labels]


def old_infos(index: SceneIndex, wide: bool) -> dict:
    from scipy.spatial.transform import Rotation

    def quaternion(matrix):
        x, y, z, w = Rotation.from_matrix(matrix).as_quat()
        return [w, x, y, z]

    rows, ego_from_lidar = [], lidar_pose(index).numpy()
    for i, token in enumerate(index.tokens):
        centers, sizes, yaws, velocity = in_lidar(index, i)
        boxes = np.concatenate((centers, sizes[:, [1, 0, 2]], -yaws[:, None] - np.pi / 2), 1) if wide else \
            np.concatenate((centers, sizes, yaws[:, None]), 1)
        scene = index.scenes[np.searchsorted(index.scene_start, i, side="right") - 1].decode()
        cams = {}
        for n, camera in enumerate(index.camera_names):
            lidar_from_camera = np.linalg.inv(ego_from_lidar) @ index.ego_from_camera[i, n]
            cams[camera] = dict(data_path=f"./data/nuscenes/{index.image_paths[i, n].decode()}",
                                sensor2lidar_rotation=lidar_from_camera[:3, :3],
                                sensor2lidar_translation=lidar_from_camera[:3, 3], cam_intrinsic=index.intrinsics[i, n])
        rows.append(dict(
            token=token.decode(), timestamp=int(index.timestamps[i]), cams=cams,
            lidar_path=f"./data/nuscenes/samples/LIDAR_TOP/{scene}__LIDAR_TOP__{index.timestamps[i]}.pcd.bin",
            lidar2ego_rotation=quaternion(ego_from_lidar[:3, :3]), lidar2ego_translation=ego_from_lidar[:3, 3].tolist(),
            ego2global_rotation=quaternion(index.global_from_ego[i, :3, :3]),
            ego2global_translation=index.global_from_ego[i, :3, 3].tolist(), gt_boxes=boxes, gt_velocity=velocity,
            gt_names=np.array(names(index, i)), num_lidar_pts=index.sensor_points[slice(*index.box_start[i:i + 2])],
            valid_flag=np.ones(len(boxes), bool), sweeps=[]))
    return dict(infos=rows[::-1], metadata=dict(version=VERSION))


def modern_infos(index: SceneIndex) -> dict:
    rows, ego_from_lidar = [], lidar_pose(index).numpy()
    labels = {name: i for i, name in enumerate(CLASSES[::-1])}
    for i, row in enumerate(old_infos(index, False)["infos"][::-1]):
        images = {name: dict(img_path=os.path.basename(camera["data_path"]), cam2img=camera["cam_intrinsic"].tolist(),
                             lidar2cam=(np.linalg.inv(index.ego_from_camera[i, n]) @ ego_from_lidar).tolist())
                  for n, (name, camera) in enumerate(row["cams"].items())}
        instances = [dict(bbox_3d=box.tolist(), velocity=velocity.tolist(), num_lidar_pts=int(points),
                          bbox_label_3d=labels.get(name, -1), bbox_label=labels.get(name, -1), bbox_3d_isvalid=True)
                     for box, velocity, points, name in zip(row["gt_boxes"], row["gt_velocity"], row["num_lidar_pts"],
                                                            row["gt_names"])]
        rows.append(dict(token=row["token"], timestamp=row["timestamp"] / 1e6, images=images, instances=instances,
                         ego2global=index.global_from_ego[i].tolist(),
                         lidar_points=dict(lidar_path=os.path.basename(row["lidar_path"]),
                                           lidar2ego=ego_from_lidar.tolist())))
    return dict(metainfo=dict(categories=labels, dataset="nuscenes", version=VERSION, info_version="1.1"),
                data_list=rows)


@pytest.mark.parametrize("kind", ["wide", "long", "modern"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_info_files_tell_what_the_tables_tell(tiny, kind, protocol):
    index = open_index(tiny, VERSION)
    path = tiny / "nuscenes_infos_train.pkl"
    content = modern_infos(index) if kind == "modern" else old_infos(index, kind == "wide")
    path.write_bytes(pickle.dumps(content, protocol))
    found = read_infos(path)
    for name in ("tokens", "scene_start", "timestamps", "image_paths", "cameras", "labels", "box_start",
                 "sensor_points", "vehicle"):
        assert np.array_equal(getattr(found, name), getattr(index, name)), name
    assert found.scene_names == [f"from-{scene}"[:13] for scene in index.scene_names]
    for name in ("global_from_ego", "intrinsics", "ego_from_camera", "centers", "sizes"):
        assert np.allclose(getattr(found, name), getattr(index, name), atol=1e-6), name
    # The lidar is a little tilted, and heading and velocity are kept in its plane: second order in the tilt.
    assert np.allclose(np.exp(1j * found.yaws), np.exp(1j * index.yaws), atol=3e-3)
    assert np.allclose(found.velocities, index.velocities, atol=1e-2)
    clips = NuScenesClips(tiny, VERSION, 2, infos=path, with_images=False)
    assert len(clips) == 12
    with pytest.raises(ValueError, match="no instance tokens.*use the nuScenes tables"):
        NuScenesClips(tiny, VERSION, 2, 1, infos=path, with_images=False)


def test_info_files_of_forks_may_have_tracks(tiny):
    index = open_index(tiny, VERSION)
    content = old_infos(index, True)
    for i, row in enumerate(content["infos"][::-1]):
        row["scene_name"] = index.scene_names[int(i >= 8)]
        row["instance_tokens"] = [f"t{k}" for k in index.track_ids[slice(*index.box_start[i:i + 2])]]
    path = tiny / "infos.pkl"
    path.write_bytes(pickle.dumps(content))
    found = read_infos(path, tracks=True)
    assert found.scene_names == index.scene_names and np.array_equal(found.track_ids, index.track_ids)
    assert len(NuScenesClips(tiny, VERSION, 3, 4, infos=path, with_images=False)) == 2


class Bomb:
    def __reduce__(self):
        return os.system, ("touch bang",)


@pytest.mark.parametrize(("content", "sentence"), [
    (pickle.dumps(dict(infos=[Bomb()])), r"refused: .* it asks for posix.system"),
    (pickle.dumps(dict(infos=[torch.zeros(2)])), r"refused: .* it asks for torch"),
    (pickle.dumps(dict(infos=[]))[:-5], "is damaged"),
    (b"", "is damaged"),
    (pickle.dumps([1, 2]), "expected a dict with 'infos' or 'data_list'"),
    (pickle.dumps(dict(infos=[dict(token="a")])), "an entry lacks 'lidar2ego_rotation'"),
    (pickle.dumps(dict(infos=[])), "holds no keyframes"),
])
def test_foreign_pickles_give_one_sentence(tmp_path, content, sentence):
    path = tmp_path / "infos.pkl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=sentence):
        read_infos(path)
    assert not os.path.exists("bang")
    with pytest.raises(FileNotFoundError, match="info file .* is missing"):
        read_infos(tmp_path / "none.pkl")
