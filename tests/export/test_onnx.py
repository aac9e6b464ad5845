"""What TensorRT would refuse is refused here, by name and place."""

import onnx
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper
from torch import nn

from bevkit.export.onnx import checked, trace


def graph_of(node: onnx.NodeProto, inputs: dict[str, tuple], output: tuple, opset: int = 18) -> onnx.ModelProto:
    ports = [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()]
    out = helper.make_tensor_value_info(node.output[0], *output)
    return helper.make_model(helper.make_graph([node], "g", ports, [out]),
                             opset_imports=[helper.make_opsetid("", opset)])


@pytest.mark.parametrize("node, inputs, output, words", [
    (helper.make_node("NonZero", ["x"], ["y"]), {"x": (TensorProto.FLOAT, [4])}, (TensorProto.INT64, [1, None]),
     "NonZero"),
    (helper.make_node("ScatterElements", ["x", "i", "u"], ["y"], reduction="add"),
     {"x": (TensorProto.FLOAT, [4]), "i": (TensorProto.INT64, [2]), "u": (TensorProto.FLOAT, [2])},
     (TensorProto.FLOAT, [4]), "with reduction add"),
    (helper.make_node("ScatterND", ["x", "i", "u"], ["y"], reduction="max"),
     {"x": (TensorProto.FLOAT, [4]), "i": (TensorProto.INT64, [2, 1]), "u": (TensorProto.FLOAT, [2])},
     (TensorProto.FLOAT, [4]), "with reduction max"),
    (helper.make_node("Det", ["x"], ["y"]), {"x": (TensorProto.FLOAT, [2, 2])}, (TensorProto.FLOAT, []), "Det"),
    (helper.make_node("Relu", ["x"], ["y"]), {"x": (TensorProto.FLOAT, ["N"])}, (TensorProto.FLOAT, ["N"]),
     "no fixed shape"),
    (helper.make_node("GridSample", ["x", "g"], ["y"], mode="linear"),
     {"x": (TensorProto.FLOAT, [1, 1, 2, 2, 2]), "g": (TensorProto.FLOAT, [1, 2, 2, 2, 3])},
     (TensorProto.FLOAT, [1, 1, 2, 2, 2]), "5 dimensions"),
])
def test_refuses(node, inputs, output, words):
    with pytest.raises(ValueError, match=words):
        checked(graph_of(node, inputs, output, opset=20 if node.op_type == "GridSample" else 18))


def test_scatter_without_reduction_is_allowed():
    node = helper.make_node("ScatterElements", ["x", "i", "u"], ["y"])
    checked(graph_of(node, {"x": (TensorProto.FLOAT, [4]), "i": (TensorProto.INT64, [2]),
                            "u": (TensorProto.FLOAT, [2])}, (TensorProto.FLOAT, [4])))


def test_tracing_keeps_names():
    class Sampler(nn.Module):
        def forward(self, x, grid):
            return F.grid_sample(x, grid, align_corners=False)

    inputs = dict(volume=torch.zeros(1, 1, 2, 2), grid=torch.zeros(1, 2, 2, 2))
    model = trace(Sampler(), inputs, ["out"])
    assert [value.name for value in model.graph.input] == ["volume", "grid"]
    assert [value.name for value in model.graph.output] == ["out"]
