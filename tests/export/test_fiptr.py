"""FipTR's head leaves as standard operators, and the vehicle finds the same instances."""

import json

from bevkit.export.artefact import write_artefact
from bevkit.export.graph import random_clip
from bevkit.models.architectures import DenseBEV
from tests.export.tiny import CAMERAS, IMAGE_SIZE, tiny_model

FUTURE, QUERIES = 2, 12
PARTS = dict(bev_encoder=dict(type="ResidualFPN", stages=(16, 16, 32), blocks=(1, 1, 1), channels=16,
                              block="bottleneck"),
             head=dict(type="FipTRHead", future=FUTURE, queries=QUERIES, layers=2, future_layers=2, heads=4, points=2,
                       ffn_channels=32, coder=dict(type="InstanceQueryCoder")))


def sure_model() -> DenseBEV:
    """A tiny model whose random queries are sure of themselves and of other cells each."""
    model = tiny_model(**PARTS)
    for branch in model.head.decoder.scores:
        branch[-1].bias.data += 5
    for branch in model.head.mask_branches:
        branch.query[-1].weight.data *= 20
    return model


def test_onnx_runtime_and_the_vehicle_agree_with_pytorch(tmp_path):
    model = sure_model()
    report = write_artefact(model, [random_clip(model.grid, CAMERAS, IMAGE_SIZE, frames=3)], tmp_path,
                            with_tensorrt=False)
    parity = report["parity"]
    assert set(parity["relative_error"]) == {"scores", "boxes", "probability", "flow", "new_past"}
    assert max(parity["relative_error"].values()) < 1e-4 and report["passed"]
    assert parity["instances"] > 5 and parity["vehicle"] == 3 and parity["vehicle_unequal"] == 0
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["decode"] == dict(type="InstanceQueryCoder", threshold=0.3)
    shapes = {port["name"]: port["shape"] for port in manifest["outputs"]}
    assert shapes["query"] == [1, FUTURE + 1, *model.grid.shape] and shapes["scores"] == [1, 1, QUERIES, 7]
