"""Turns a float32 ONNX graph into a strongly typed half-precision one: every operator's type is written in the graph.

TensorRT 11 has no other way to half precision, TensorRT 10 reads the same file with its strongly-typed flag.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

HALF, SINGLE = TensorProto.FLOAT16, TensorProto.FLOAT

# Where features are made; all that comes before (calibration, ego motion, normalisation of images) stays single.
FEATURE_MAKERS = frozenset(("Conv", "ConvTranspose", "Gemm", "MatMul"))
# Stay single: sums over thousands of terms, exponentials, and GridSample, whose positions must share its features' type
# and would be off by up to 1/20 cell on a map of 200 cells in half precision.
KEPT_SINGLE = frozenset(("CumSum", "Exp", "GridSample", "LayerNormalization", "Log", "LogSoftmax", "Pow", "ReduceL2",
                         "ReduceMean", "ReduceProd", "ReduceSum", "Reciprocal", "Softmax", "Sqrt"))
# Take the type of what they move.
MOVERS = frozenset(("Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity",
                    "Pad", "Reshape", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze",
                    "Where"))
ALWAYS_SINGLE_INPUTS = {"Resize": (1, 2)}  # positions of the inputs that the standard wants in float32
LARGEST_HALF = float(np.finfo(np.float16).max)


def to_half(model: onnx.ModelProto, features: Iterable[str] = ("past",)) -> onnx.ModelProto:
    """Returns a copy that computes features in half precision by explicit casts; inputs and outputs stay float32.

    Args:
        model: with the type of every tensor (`bevkit.export.onnx.checked` returns one).
        features: inputs that are features, not calibration.
    """
    return _Halver(model, set(features)).run()


class _Halver:
    def __init__(self, model: onnx.ModelProto, features: set[str]) -> None:
        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        graph = self.model.graph
        self.features = features
        self.weights = {weight.name: weight for weight in graph.initializer}
        self.types = {value.name: value.type.tensor_type.elem_type
                      for value in (*graph.input, *graph.output, *graph.value_info)}
        self.types |= {weight.name: weight.data_type for weight in graph.initializer}
        self.outputs = {value.name for value in graph.output}
        self.nodes: list[onnx.NodeProto] = []
        self.twins: dict[tuple[str, int], str] = {}  # (tensor, type) -> its name in that type
        self.places = self._places(graph)
        self.gathered: set[str] = set()  # rows that a table names, and sums of such rows alone

    @staticmethod
    def _places(graph: onnx.GraphProto) -> set[str]:
        """Names all that leads from the last product to where a GridSample looks: places, which no half can hold."""
        maker = {name: node for node in graph.node for name in node.output}
        waiting, found = [node.input[1] for node in graph.node if node.op_type == "GridSample"], set()
        while waiting:
            name = waiting.pop()
            node = maker.get(name)
            if name not in found and node is not None and node.op_type not in FEATURE_MAKERS:
                found.add(name)
                waiting += node.input
        return found

    def run(self) -> onnx.ModelProto:
        graph = self.model.graph
        for node in graph.node:
            self._rewrite(node)
        used = {name for node in self.nodes for name in node.input}
        weights = [weight for weight in self.weights.values() if weight.name in used | self.outputs]
        for field, values in ((graph.node, self.nodes), (graph.initializer, weights), (graph.value_info, [])):
            del field[:]
            field.extend(values)
        return self.model

    def _rewrite(self, node: onnx.NodeProto) -> None:
        floating = [name for name in node.input if self.types.get(name) in (HALF, SINGLE)]
        if any(name in self.features for name in floating) or node.op_type in FEATURE_MAKERS:
            self.features.update(node.output)
        if node.op_type == "Cast" or not floating:
            self.nodes.append(node)
            return
        wanted = self._type_for(node, floating)
        kept = ALWAYS_SINGLE_INPUTS.get(node.op_type, ())
        inputs = [self._in_type(name, wanted) if name in floating and index not in kept else name
                  for index, name in enumerate(node.input)]
        del node.input[:]
        node.input.extend(inputs)
        casts = []
        for index, name in enumerate(node.output):
            if self.types.get(name) != SINGLE or wanted == SINGLE:
                continue
            if name in self.outputs:  # callers hand in and take out float32
                node.output[index] = f"{name}_half"
                casts.append(onnx.helper.make_node("Cast", [node.output[index]], [name], f"{name}_single", to=SINGLE))
                self.twins[name, HALF] = node.output[index]
            else:
                self.types[name] = HALF
        self.nodes += [node, *casts]

    def _type_for(self, node: onnx.NodeProto, floating: list[str]) -> int:
        if node.op_type == "Gather" or (node.op_type == "Add" and self.gathered.issuperset(node.input)):
            self.gathered.update(node.output)
        if self.places.intersection(node.output):
            return SINGLE
        if node.op_type in KEPT_SINGLE or not any(name in self.features for name in node.output):
            return SINGLE
        if node.op_type == "Add" and node.output[0] in self.gathered:
            return SINGLE  # a cell's sum over the slots that fall into it, as bev_pool takes it
        if node.op_type in MOVERS:
            return HALF if any(self.types[name] == HALF for name in floating) else SINGLE
        return HALF

    def _in_type(self, name: str, wanted: int) -> str:
        if self.types[name] == wanted:
            return name
        if (name, wanted) not in self.twins:
            twin = f"{name}_{'half' if wanted == HALF else 'single'}"
            if name in self.weights:
                values = numpy_helper.to_array(self.weights[name])
                values = np.where(np.isfinite(values), values.clip(-LARGEST_HALF, LARGEST_HALF), values)
                self.weights[twin] = numpy_helper.from_array(values.astype(np.float16), twin)
            else:
                self.nodes.append(onnx.helper.make_node("Cast", [name], [twin], f"cast_{twin}", to=wanted))
            self.types[twin] = wanted
            self.twins[name, wanted] = twin
        return self.twins[name, wanted]
