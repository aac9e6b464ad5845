"""FIERY exports: the graph, the plan of its fusion and the decoding in the vehicle give what the toolkit gives."""

import numpy as np
import pytest
import torch
from stream import Stream

from bevkit.export.artefact import write_artefact
from bevkit.export.graph import instants_of, random_clip
from tests.export.tiny import CAMERAS, IMAGE_SIZE, TINY, tiny_model

PREDICTORS = {
    "FIERY": dict(predictor=dict(type="ConvGRUPredictor", units=2, bottlenecks=1)),
    "BEVerse": dict(distribution=dict(type="LatentDistribution", stages=2, spatial=True),
                    predictor=dict(type="FlowWarpPredictor")),
}


@pytest.mark.parametrize("name", PREDICTORS)
@torch.no_grad()
def test_a_stream_in_the_vehicle_is_the_stream_of_the_toolkit(name, tmp_path):
    model = tiny_model(
        grid=dict(TINY["grid"], x=(-12.0, 12.0, 1.0), y=(-10.0, 10.0, 1.0)),
        temporal=dict(type="SpatioTemporalFusion", past=2, channels=12),
        head=dict(type="FieryHead", future=2, latent_dim=4, **PREDICTORS[name],
                  decoder=dict(type="ResNetUNet", stages=(8, 12, 16), blocks=(1, 1, 1)),
                  coder=dict(type="InstanceCenterCoder", nms_kernel=5, center_threshold=0.4)))
    report = write_artefact(model, [random_clip(model.grid, CAMERAS, IMAGE_SIZE, frames=3)], tmp_path,
                            with_tensorrt=False)
    assert report["passed"] and report["parity"]["instances"] > 0
    assert report["parity"]["vehicle"] == 3 and report["parity"]["vehicle_unequal"] == 0

    drive = random_clip(model.grid, CAMERAS, IMAGE_SIZE, frames=4, seed=3)
    rig = drive.rig.flatten()[0]
    vehicle, state, found = Stream(tmp_path / "model.onnx", rig.image_from_camera.numpy(),
                                   rig.ego_from_camera.numpy()), None, 0
    for instant in instants_of(drive):
        raw, state = model.stream(model.data_preprocessor({"batch": instant})["batch"], state)
        ids, outputs = vehicle(instant.images[0, 0].numpy(), instant.global_from_ego[0, 0].numpy())
        for output, expected in raw._asdict().items():
            np.testing.assert_allclose(outputs[output], expected.numpy(), rtol=1e-3, atol=1e-3, err_msg=output)
        np.testing.assert_array_equal(ids, model.head.predict(raw)[0].ids.numpy())
        found = max(found, int(ids.max()))
    assert found > 1
