"""Laws of the synthetic world: the devkit reads it, boxes sit on what is drawn, nobody drives through anybody."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from nuscenes.nuscenes import NuScenes
from nuscenes.utils.geometry_utils import points_in_box, view_points
from nuscenes.utils.splits import create_splits_scenes

from bevkit.datasets.synthetic import make_world
from bevkit.datasets.synthetic.actors import VEHICLES
from bevkit.datasets.synthetic.names import scene_names
from bevkit.datasets.synthetic.record import Recorder
from bevkit.datasets.synthetic.rig import quaternion
from bevkit.datasets.synthetic.world import World

SMALL = {"scenes": 2, "frames": 4, "seed": 3, "image_size": (160, 90), "progress": False}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(tmp_path_factory.mktemp("world") / "two", workers=2, **SMALL)


@pytest.fixture(scope="session")
def tables(folder: Path) -> NuScenes:
    return NuScenes("v1.0-mini", str(folder), verbose=False)


@pytest.fixture(scope="session")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Recorder:
    return Recorder(tmp_path_factory.mktemp("scene"), "scene-0103", 3, (320, 180), 16)


@pytest.fixture(scope="session")
def town(recorder: Recorder) -> World:
    return recorder.world


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_devkit_reads_every_measurement(tables: NuScenes) -> None:
    assert len(tables.scene) == 2 and len(tables.sample) == 8 and len(tables.sample_data) == 8 * 7
    assert len(tables.category) == 23 and len(tables.attribute) == 8
    for row in tables.sample_data:
        path, boxes, intrinsics = tables.get_sample_data(row["token"])
        if row["channel"] == "LIDAR_TOP":
            points = np.fromfile(path, np.float32).reshape(-1, 5)
            assert len(points) > 5000 and set(np.unique(points[:, 4])) <= set(range(32))
        else:
            assert cv2.imread(path).shape == (90, 160, 3)
            assert np.asarray(intrinsics).shape == (3, 3)


def test_splits_find_their_scenes(tables: NuScenes) -> None:
    splits, names = create_splits_scenes(), {scene["name"] for scene in tables.scene}
    assert names & set(splits["mini_train"]) and names & set(splits["mini_val"])
    version, large = scene_names(60, None)
    assert version == "v1.0-trainval" and len(set(large)) == 60
    assert len(set(large) & set(splits["val"])) == 12 and len(set(large) & set(splits["train"])) == 48


def test_the_map_covers_the_way_of_the_car(tables: NuScenes) -> None:
    for scene in tables.scene:
        mask = next(m for m in tables.map if scene["log_token"] in m["log_tokens"])["mask"]
        sample = tables.get("sample", scene["first_sample_token"])
        pose = tables.get("ego_pose", tables.get("sample_data", sample["data"]["LIDAR_TOP"])["ego_pose_token"])
        assert mask.is_on_mask(*pose["translation"][:2])[0]


def test_chains_lead_from_first_to_last(tables: NuScenes) -> None:
    for instance in tables.instance:
        token, count, before = instance["first_annotation_token"], 0, ""
        while token:
            row = tables.get("sample_annotation", token)
            assert row["prev"] == before and row["instance_token"] == instance["token"]
            before, token, count = token, row["next"], count + 1
        assert before == instance["last_annotation_token"] and count == instance["nbr_annotations"]
    for channel in ("CAM_BACK", "LIDAR_TOP"):
        rows = [row for row in tables.sample_data if row["channel"] == channel]
        for row in rows:
            if row["next"]:
                after = tables.get("sample_data", row["next"])
                assert after["prev"] == row["token"] and after["channel"] == channel
                assert 0.49e6 < after["timestamp"] - row["timestamp"] < 0.51e6


def test_every_sensor_has_its_own_moment_and_pose(tables: NuScenes) -> None:
    for sample in tables.sample:
        rows = [tables.get("sample_data", token) for token in sample["data"].values()]
        delays = [row["timestamp"] - sample["timestamp"] for row in rows]
        assert len(set(delays)) == 7 and -60_000 < min(delays) and max(delays) <= 1000
        for row in rows:
            assert tables.get("ego_pose", row["ego_pose_token"])["timestamp"] == row["timestamp"]


def test_lidar_counts_are_the_devkits(tables: NuScenes) -> None:
    for sample in tables.sample[::3]:
        path, boxes, _ = tables.get_sample_data(sample["data"]["LIDAR_TOP"])
        points = np.fromfile(path, np.float32).reshape(-1, 5)[:, :3].T
        for box in boxes:
            row = tables.get("sample_annotation", box.token)
            assert row["num_lidar_pts"] == points_in_box(box, points).sum()
    assert sum(row["num_lidar_pts"] > 20 for row in tables.sample_annotation) > 20


def corners_in_camera(recorder: Recorder, actor: int, poses: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """An actor's box corners [8 3] in camera axes."""
    signs = np.array([(x, y, z) for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
    c, s = np.cos(poses[actor, 2]), np.sin(poses[actor, 2])
    corners = (signs * recorder.stage.sizes[actor]) @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
    return (corners + recorder.stage.centres(poses)[actor] - camera[:3, 3]) @ camera[:3, :3]


def test_boxes_sit_on_the_pixels_of_their_actor(recorder: Recorder) -> None:
    """What the camera drew as an actor lies inside the actor's projected box; a whole vehicle fills half of it."""
    filled = []
    for moment, sensor in ((m, s) for m in (1.0, 4.0) for s in recorder.rig[:6]):
        poses, camera = recorder.world.poses(moment), recorder.world.ego(moment) @ sensor.ego_from_sensor
        picture = recorder.cameras[sensor.channel].shoot(camera, poses, np.random.default_rng(0))
        for actor in np.unique(picture.owner[picture.owner >= 0]):
            corners = corners_in_camera(recorder, actor, poses, camera)
            if corners[:, 2].min() < 0.5:
                continue
            pixels = view_points(corners.T, sensor.intrinsics, normalize=True)[:2].T
            hull = cv2.convexHull(pixels.astype(np.float32))
            rows, columns = np.nonzero(picture.owner == actor)
            far = max(-cv2.pointPolygonTest(hull, (float(x), float(y)), True) for x, y in zip(columns, rows))
            assert far < 2.5, f"{recorder.world.actors[actor].kind} is drawn {far:.1f} pixels outside its box"
            in_view = (pixels > 0).all() and (pixels < (319, 179)).all()
            unhidden = picture.seen[actor] > 0.95 * picture.whole[actor]
            if in_view and unhidden and cv2.contourArea(hull) > 100:
                if recorder.world.actors[actor].kind in ("car", "truck", "bus", "trailer"):
                    filled.append(len(rows) / cv2.contourArea(hull))
    assert filled and min(filled) > 0.5


def test_a_camera_that_sees_nobody_takes_a_picture(recorder: Recorder) -> None:
    sensor, poses = recorder.rig[0], recorder.world.poses(1.0)
    camera = recorder.world.ego(1.0) @ sensor.ego_from_sensor
    camera[:2, 3] += 10_000  # m, out of the town
    picture = recorder.cameras[sensor.channel].shoot(camera, poses, np.random.default_rng(0))
    assert (picture.owner == -1).all() and not picture.seen
    assert picture.image.shape == (180, 320, 3)


def test_motion_is_plausible(town: World) -> None:
    step = np.diff(town.track, axis=0) / 0.1  # T A 3
    speed = np.linalg.norm(step[..., :2], axis=-1)
    driving = np.array([a.kind in VEHICLES for a in town.actors])
    assert speed.max() < 15 and speed[:, ~driving].max() < 2.5
    assert np.abs(np.diff(speed[:, driving], axis=0)).max() / 0.1 < 9
    assert np.abs(step[:, driving, 2]).max() < 2
    ego = np.linalg.norm(np.diff(town.ego_track[:, :2], axis=0), axis=1) / 0.1
    assert ego.mean() > 1 and ego.max() < 15
    heading = np.arctan2(step[..., 1], step[..., 0]) - town.track[:-1, :, 2]
    vehicles = np.array([a.kind in ("car", "truck", "bus") for a in town.actors])
    slip = np.abs((heading[:, vehicles] + np.pi) % (2 * np.pi) - np.pi)[speed[:, vehicles] > 2]
    assert slip.mean() < 0.05 and slip.max() < 0.6


def test_no_vehicle_drives_through_another(town: World) -> None:
    solid = [k for k, a in enumerate(town.actors) if a.kind in ("car", "truck", "bus", "trailer", "construction")]
    for moment in (0.0, 3.0, 7.0):
        poses = town.poses(moment)
        shapes = [((float(poses[k, 0]), float(poses[k, 1])), town.actors[k].size[:2], float(np.degrees(poses[k, 2])))
                  for k in solid]
        apart = np.linalg.norm(poses[solid, None, :2] - poses[None, solid, :2], axis=-1)
        for a, b in np.argwhere(np.triu(apart < 12, 1)):
            overlap = cv2.rotatedRectangleIntersection(shapes[a], shapes[b])[1]
            assert overlap is None or cv2.contourArea(cv2.convexHull(overlap)) < 0.4


def test_the_street_is_alive(town: World) -> None:
    kinds = {actor.kind for actor in town.actors}
    assert {"car", "truck", "bus", "trailer", "construction", "adult", "motorcycle", "bicycle"} <= kinds
    ego = town.ego(4.0)[:2, 3]
    near = np.abs(town.poses(4.0)[:, :2] - ego).max(1) < 50
    vehicles = np.array([a.kind in VEHICLES for a in town.actors])
    assert (near & vehicles).sum() >= 6 and (near & vehicles & (town.speeds(4.0) > 1)).sum() >= 2


def test_visibility_tells_hidden_from_seen(tables: NuScenes) -> None:
    levels = {row["visibility_token"] for row in tables.sample_annotation}
    assert {"1", "4"} <= levels <= {"1", "2", "3", "4"}


def test_quaternions_turn_as_the_devkit_does(tables: NuScenes) -> None:
    from pyquaternion import Quaternion
    for seed in range(20):
        rotation = Quaternion.random().rotation_matrix if seed else np.diag([1.0, -1.0, -1.0])
        assert np.allclose(Quaternion(quaternion(rotation)).rotation_matrix, rotation)


def test_a_killed_build_goes_on_and_ends_the_same(folder: Path, tmp_path: Path) -> None:
    """Killed in the middle of its second scene, then completed: the bytes of an undisturbed run with other workers."""
    out = tmp_path / "killed"
    code = f"from bevkit.datasets.synthetic import make_world; make_world({str(out)!r}, workers=1, **{SMALL!r})"
    root = str(Path(__file__).parents[2])
    process = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": root})
    while process.poll() is None and len(list(out.glob("samples/*/*.jpg"))) < 27:  # 24 images are one scene
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert (out / ".scenes" / "scene-0061.json").exists() and not (out / "v1.0-mini").exists()
    first = next(out.glob("samples/CAM_FRONT/*.jpg")).stat().st_mtime_ns
    make_world(out, workers=1, **SMALL)
    assert contents(out) == contents(folder)
    assert first in {path.stat().st_mtime_ns for path in out.glob("samples/CAM_FRONT/*.jpg")}  # and not done twice


def test_a_finished_world_is_left_alone(folder: Path, tmp_path: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    make_world(folder, workers=2, **SMALL)
    assert before == {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    with pytest.raises(ValueError, match="seed: expected 4, got 3.*another folder"):
        make_world(folder, **{**SMALL, "seed": 4})
    (tmp_path / "v1.0-mini").mkdir()
    with pytest.raises(ValueError, match="was not made here"):
        make_world(tmp_path, **SMALL)


@pytest.mark.parametrize(
    "wrong",
    [{"scenes": 0}, {"scenes": 900}, {"scenes": 11, "version": "v1.0-mini"}, {"frames": 0}, {"image_size": (4, 4)},
     {"image_size": 400}, {"version": "v2"}, {"workers": 0}],
)
def test_nonsense_is_refused_before_anything_is_written(tmp_path: Path, wrong: dict) -> None:
    with pytest.raises(ValueError, match="expected"):
        make_world(tmp_path / "none", **{**SMALL, **wrong})
    assert not (tmp_path / "none").exists()


def test_official_evaluation_runs_and_gives_truth_full_marks(folder: Path, tables: NuScenes, tmp_path: Path) -> None:
    from nuscenes.eval.common.config import config_factory
    from nuscenes.eval.detection.evaluate import DetectionEval
    from nuscenes.eval.detection.utils import category_to_detection_name, detection_name_to_rel_attributes
    held_out = set(create_splits_scenes()["mini_val"])
    results = {}
    for sample in tables.sample:
        if tables.get("scene", sample["scene_token"])["name"] not in held_out:
            continue
        results[sample["token"]] = []
        for token in sample["anns"]:
            row = tables.get("sample_annotation", token)
            if not row["num_lidar_pts"]:  # the devkit drops such truth, but not such answers
                continue
            name = category_to_detection_name(row["category_name"])
            attributes = [tables.get("attribute", a)["name"] for a in row["attribute_tokens"]]
            assert all(a in detection_name_to_rel_attributes(name) for a in attributes)
            velocity = tables.box_velocity(token)[:2]
            results[sample["token"]].append({
                "sample_token": sample["token"], "translation": row["translation"], "size": row["size"],
                "rotation": row["rotation"], "velocity": np.nan_to_num(velocity).tolist(), "detection_name": name,
                "detection_score": 0.9, "attribute_name": attributes[0] if attributes else ""})
    meta = {f"use_{name}": False for name in ("camera", "lidar", "radar", "map", "external")}
    (tmp_path / "results.json").write_text(json.dumps({"meta": meta, "results": results}))
    config, answers = config_factory("detection_cvpr_2019"), str(tmp_path / "results.json")
    metrics, _ = DetectionEval(tables, config, answers, "mini_val", str(tmp_path), verbose=False).evaluate()
    assert metrics.mean_dist_aps["car"] > 0.99
    shutil.rmtree(tmp_path / "plots", ignore_errors=True)
