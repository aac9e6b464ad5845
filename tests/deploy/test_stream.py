"""The vehicle's loop, without torch and bevkit, gives the maps of `DenseBEV.stream`, frame by frame."""

import json
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from stream import Stream

from bevkit.export.artefact import write_artefact
from bevkit.export.graph import instants_of, random_clip
from bevkit.export.parity import unlike
from bevkit.export.report import markdown
from bevkit.geometry import rigid
from bevkit.models.coders.boxes import detections
from bevkit.structures.classes import CLASSES
from tests.export.tiny import CAMERAS, DETECTORS, IMAGE_SIZE, SPARSE_ORDERS, tiny_detector

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


@torch.no_grad()
def test_a_stream_in_the_vehicle_is_the_stream_of_the_toolkit(artefact, model):
    drive = random_clip(model.grid, CAMERAS, IMAGE_SIZE, frames=4, seed=3)
    rig = drive.rig.flatten()[0]
    vehicle = Stream(artefact[0] / "model.onnx", rig.image_from_camera.numpy(), rig.ego_from_camera.numpy())
    found = 0
    for scene in range(2):  # the second scene begins as fresh as the first
        vehicle.restart()
        state = None
        for instant in instants_of(replace(drive, images=drive.images.flip(1)) if scene else drive):
            raw, state = model.stream(model.data_preprocessor({"batch": instant})["batch"], state)
            ids, outputs = vehicle(instant.images[0, 0].numpy(), instant.global_from_ego[0, 0].numpy())
            np.testing.assert_allclose(outputs["flow"], raw.flow.numpy(), rtol=1e-3, atol=1e-4)
            np.testing.assert_array_equal(ids, model.head.predict(raw)[0].ids.numpy())
            found = max(found, int(ids.max()))
    assert found > 0


@pytest.mark.parametrize("name", [*DETECTORS, *SPARSE_ORDERS])
@torch.no_grad()
def test_detectors_stream_as_in_the_toolkit(name, tmp_path):
    model = tiny_detector(name)
    drive = random_clip(model.grid, CAMERAS, IMAGE_SIZE, frames=6, seed=3)
    seconds = [[7.0, 7.5, 8.7, 9.2, 9.7, 10.2]]  # frames were missed
    drive = replace(drive, timestamps=torch.tensor(seconds, dtype=torch.float64))
    report = write_artefact(model, [random_clip(model.grid, CAMERAS, IMAGE_SIZE, frames=2)], tmp_path,
                            with_tensorrt=False)
    assert report["passed"] and report["parity"]["boxes"] > 20 and report["parity"]["vehicle"] == 2
    assert report["parity"]["vehicle_unequal"] == 0 and "Boxes: " in markdown(report)
    rig = drive.rig.flatten()[0]
    vehicle = Stream(tmp_path / "model.onnx", rig.image_from_camera.numpy(), rig.ego_from_camera.numpy(),
                     rig.intrinsics.numpy())
    for _ in range(2):  # the second scene begins as fresh as the first
        vehicle.restart()
        state = None
        for instant in instants_of(drive):
            raw, state = model.stream(model.data_preprocessor({"batch": instant})["batch"], state)
            pose = instant.global_from_ego[0, 0].numpy()
            (boxes, scores, names), outputs = vehicle(instant.images[0, 0].numpy(), pose, float(instant.timestamps))
            for output, expected in raw._asdict().items():
                np.testing.assert_allclose(outputs[output], expected.numpy(), rtol=1e-3, atol=1e-3, err_msg=output)
            twin = model.head.predict(raw)[0]
            labels = torch.tensor([CLASSES.index(label) for label in names], dtype=torch.int64)
            got = detections(torch.from_numpy(boxes), torch.from_numpy(scores), labels)
            assert unlike(got, twin) + unlike(twin, got) <= 0.02 * (len(boxes) + len(twin.boxes))


def test_the_loop_needs_neither_torch_nor_bevkit():
    code = f"import sys; sys.path.insert(0, {str(DEPLOY)!r}); import stream, build_engine; " \
           "assert not {'torch', 'bevkit', 'onnxruntime', 'tensorrt'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_level_model_plans_anew_when_the_tilt_changes_enough(artefact, monkeypatch):
    plans = []
    monkeypatch.setattr("stream.view_inputs", lambda *arguments: plans.append(arguments) or {"view_taps": 0})
    vehicle = Stream(artefact[0] / "model.onnx", None, None, run=lambda inputs: {}, replan_angle=0.01)
    vehicle.manifest["level_ego"] = True
    for pitch, expected in ((0.0, 1), (0.008, 1), (0.02, 2), (0.015, 2), (0.0, 3)):
        pose = rigid.motion_matrix(torch.tensor([50.0, 3.0, 0.0, 0.0, pitch, 0.7 + pitch], dtype=torch.float64))
        vehicle._view(pose.numpy())
        assert len(plans) == expected


class Drive:
    """A vehicle on a straight road and a stand-in for the engine that notes what it is given."""

    def __init__(self, artefact, **options):
        manifest = json.loads((artefact[0] / "manifest.json").read_text())
        self.seen, shapes = [], {port["name"]: port["shape"] for port in manifest["outputs"]}
        self.shape = manifest["inputs"][0]["shape"][1:]

        def run(inputs):
            self.seen.append(inputs)
            return {name: np.full(shape, len(self.seen), dtype=np.float32) for name, shape in shapes.items()}

        self.stream = Stream(artefact[0] / "model.onnx", None, None, run=run, **options)
        self.stream._view = lambda pose: {}

    def __call__(self, time, place, images=None):
        pose = np.eye(4)
        pose[0, 3] = place
        self.stream(np.zeros(self.shape) if images is None else images, pose, time)
        return self.seen[-1]


@pytest.mark.parametrize(("time", "place", "why"), [(3.1, 5.0, "nothing was seen"), (0.4, 5.0, "clock"),
                                                    (1.0, 300.0, "jumped 295.0 m")])
def test_what_cannot_be_one_drive_begins_a_new_scene(artefact, time, place, why):
    drive = Drive(artefact)
    assert drive(0.0, 0.0)["temporal_known"] == 0 and drive(0.5, 5.0)["temporal_known"] == 1
    inputs = drive(time, place)
    assert inputs["temporal_known"] == 0 and why in drive.stream.began and not inputs["past"].any()
    assert np.allclose(inputs["temporal_motion"], 0), "the ego was at rest before"
    assert drive(time + 0.5, place)["temporal_known"] == 1


def test_a_missed_frame_is_made_up_for_by_the_pose(artefact):
    drive = Drive(artefact)
    drive(0.0, 0.0)
    inputs = drive(1.0, 10.0)
    assert inputs["temporal_known"] == 1 and np.isclose(inputs["temporal_motion"][0, -1, 0], -10)


def test_a_quick_stream_keeps_its_past_at_the_pace_of_training(artefact):
    drive = Drive(artefact, keep_every=0.5)
    newest = [drive(0.1 * step, 0.1 * step)["past"][0, -1].max() for step in range(12)]
    # The past is what run 1 gave, until run 6, half a second later, is kept.
    assert newest == [0, 1, 1, 1, 1, 1, 6, 6, 6, 6, 6, 11]
    assert np.isclose(drive(1.2, 1.2)["temporal_motion"][0, -1, 0], -0.2, atol=1e-6)


def test_a_camera_without_an_image_shows_the_mean_colour(artefact):
    drive = Drive(artefact)
    mean = drive.stream.manifest["images"]["normalised_inside"]["mean"]
    whole = np.full(drive.shape, 7.0)
    images = drive(0.0, 0.0, [whole[0], None, whole[2]])["images"][0]
    assert (images[[0, 2]] == 7).all() and np.allclose(images[1], np.reshape(mean, (3, 1, 1)))
    for wrong, what in (([None] * 3, "not None"), (whole[:2], "3 cameras"), (whole[:, :, 1:], "each camera")):
        with pytest.raises(ValueError, match=what):
            drive(0.5, 0.0, wrong)


def test_an_instant_that_fails_leaves_the_past_as_it_was(artefact):
    drive = Drive(artefact)
    drive(0.0, 0.0)
    state, run = drive.stream.state, drive.stream.run

    def broken(inputs):
        raise RuntimeError("the engine is gone")

    for wrong, error, why in ((broken, RuntimeError, "engine"), (lambda inputs: {}, KeyError, "segmentation")):
        drive.stream.run = wrong  # the engine raises, or gives what cannot be decoded
        with pytest.raises(error, match=why):
            drive(0.5, 5.0)
        assert drive.stream.state is state and drive.stream.last[1] == 0.0
    with pytest.raises(ValueError, match="timestamp: expected seconds, got nan"):
        drive(float("nan"), 5.0)
    drive.stream.run = run
    assert np.isclose(drive(1.0, 10.0)["temporal_motion"][0, -1, 0], -10)


def test_a_thousand_instants_take_no_more_memory_than_ten(artefact):
    drive = Drive(artefact)
    tracemalloc.start()
    held = []
    for step in range(1000):
        drive(0.5 * step, 5.0 * step)
        drive.seen.clear()
        if step in (9, 999):
            held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert held[1] - held[0] < 1e5


def test_a_rig_of_other_cameras_is_refused(artefact):
    poses = np.broadcast_to(np.eye(4), (CAMERAS, 4, 4))
    for intrinsics, extrinsics, what in ((np.eye(3), poses, r"image_from_camera: .*got \[3, 3\]"),
                                         (poses[:, :3, :3], poses[:1], r"ego_from_camera: .*got \[1, 4, 4\]")):
        with pytest.raises(ValueError, match=what):
            Stream(artefact[0] / "model.onnx", intrinsics, extrinsics, run=lambda inputs: {})


def test_a_manifest_of_another_format_is_refused(artefact, tmp_path):
    manifest = json.loads((artefact[0] / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(dict(manifest, format=1)))
    with pytest.raises(ValueError, match="format 3, got 1"):
        Stream(tmp_path / "model.onnx", None, None, run=lambda inputs: {})
