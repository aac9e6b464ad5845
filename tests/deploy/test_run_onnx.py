"""The vehicle's loop, without torch and bevkit, gives the maps of `DenseBEV.stream`, frame by frame."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from run_onnx import Stream

from bevkit.export.artefact import write_artefact
from bevkit.export.graph import instants_of, random_clip
from bevkit.export.parity import unlike
from bevkit.export.report import markdown
from bevkit.geometry import rigid
from bevkit.models.coders.boxes import detections
from bevkit.structures.classes import CLASSES
from tests.export.tiny import CAMERAS, DETECTORS, IMAGE_SIZE, tiny_detector

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


@pytest.mark.parametrize("name", DETECTORS)
@torch.no_grad()
def test_detectors_stream_as_in_the_toolkit(name, tmp_path):
    model = tiny_detector(name)
    drive = random_clip(model.grid, CAMERAS, IMAGE_SIZE, frames=3, seed=3)
    drive = replace(drive, timestamps=torch.tensor([[7.0, 7.5, 8.7]], dtype=torch.float64))  # frames were missed
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
    code = f"import sys; sys.path.insert(0, {str(DEPLOY)!r}); import run_onnx, build_engine; " \
           "assert not {'torch', 'bevkit', 'onnxruntime', 'tensorrt'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_level_model_plans_anew_when_the_tilt_changes_enough(artefact, monkeypatch):
    plans = []
    monkeypatch.setattr("run_onnx.view_inputs", lambda *arguments: plans.append(arguments) or {"view_taps": 0})
    vehicle = Stream(artefact[0] / "model.onnx", None, None, run=lambda inputs: {}, replan_angle=0.01)
    vehicle.manifest["level_ego"] = True
    for pitch, expected in ((0.0, 1), (0.008, 1), (0.02, 2), (0.015, 2), (0.0, 3)):
        pose = rigid.motion_matrix(torch.tensor([50.0, 3.0, 0.0, 0.0, pitch, 0.7 + pitch], dtype=torch.float64))
        vehicle._view(pose.numpy())
        assert len(plans) == expected
