"""Writes a model's step as ONNX with standard operators only, and refuses what TensorRT would not build."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable

import onnx
import torch
from torch import Tensor, nn

OPSET = 18  # read by TensorRT 10.3 (JetPack 6) and later, and what torch's exporter writes without conversion

# What the models here may need out of the operators that TensorRT 10 and 11 build without a plugin.
ALLOWED = frozenset("""
    Abs Add And ArgMax ArgMin AveragePool BatchNormalization Cast Ceil Clip Concat Constant ConstantOfShape Conv
    ConvTranspose Cos CumSum DepthToSpace DequantizeLinear Div Einsum Elu Equal Erf Exp Expand Flatten Floor Gather
    GatherElements GatherND Gemm GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual GridSample HardSigmoid HardSwish
    Identity InstanceNormalization LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax MatMul Max MaxPool Min
    Mod Mul Neg Not Or PRelu Pad Pow QuantizeLinear Range Reciprocal ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd
    ReduceSum Relu Reshape Resize Round ScatterElements ScatterND Shape Sigmoid Sign Sin Slice Softmax Softplus
    SpaceToDepth Split Sqrt Squeeze Sub Sum Tanh Tile TopK Transpose Trilu Unsqueeze Where Xor
""".split())
LARGEST_TOPK = 3840


def trace(graph: nn.Module, inputs: dict[str, Tensor], outputs: Iterable[str]) -> onnx.ModelProto:
    """Turns a module of tensors into ONNX by torch.export, all shapes fixed; returns it as `checked` does.

    Args:
        graph: takes the values of ``inputs`` in order; float32.
        inputs: names and example values.
        outputs: names in order.
    """
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns about its own deprecations while it traces
        program = torch.onnx.export(graph, tuple(inputs.values()), dynamo=True, opset_version=OPSET, verbose=False,
                                    input_names=list(inputs), output_names=list(outputs), optimize=True)
    return checked(program.model_proto)


def checked(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns a graph with the type and shape of every tensor, after onnx.checker and `refusals` found no fault.

    Raises:
        ValueError: the graph holds something that TensorRT does not build; says what and where.
    """
    model = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    onnx.checker.check_model(model, full_check=True)
    problems = refusals(model)
    if problems:
        raise ValueError(f"export: expected standard operators of fixed shape, got {'; '.join(problems[:5])}"
                         f"{f' and {len(problems) - 5} more' if len(problems) > 5 else ''}; "
                         "rewrite these places of the model")
    return model


def operators(model: onnx.ModelProto) -> dict[str, int]:
    """Counts the operators of a graph, most frequent first."""
    return dict(Counter(node.op_type for node in model.graph.node).most_common())


def shapes_of(model: onnx.ModelProto) -> dict[str, tuple[int | None, ...]]:
    """Returns the shape of every named tensor, None for a size that is not fixed."""
    graph = model.graph
    shapes = {value.name: tuple(size.dim_value if size.HasField("dim_value") else None
                                for size in value.type.tensor_type.shape.dim)
              for value in (*graph.input, *graph.output, *graph.value_info)}
    return shapes | {weight.name: tuple(weight.dims) for weight in graph.initializer}


def refusals(model: onnx.ModelProto) -> list[str]:
    """Says what in a graph TensorRT 10 and 11 would not build without plugins; empty when all is well."""
    shapes = shapes_of(model)
    problems = [f"{function.domain}::{function.name}, a function of its own" for function in model.functions]
    for node in model.graph.node:
        place = f"{node.op_type} at {node.name or node.output[0]}"
        attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        if node.domain not in ("", "ai.onnx"):
            problems.append(f"{place} of domain {node.domain}")
        elif node.op_type not in ALLOWED:
            problems.append(f"{place}, no operator of the allowed set")
        elif node.op_type in ("ScatterElements", "ScatterND") and attributes.get("reduction", b"none") != b"none":
            problems.append(f"{place} with reduction {attributes['reduction'].decode()}")
        elif node.op_type == "GridSample" and len(shapes.get(node.input[0], ())) != 4:
            problems.append(f"{place} of {len(shapes.get(node.input[0], ()))} dimensions instead of 4")
        elif node.op_type == "TopK" and (shapes.get(node.output[0], (None,))[-1] or 0) > LARGEST_TOPK:
            problems.append(f"{place} of more than {LARGEST_TOPK} elements")
        problems += [f"{place} whose output {name} has no fixed shape" for name in node.output
                     if name and None in shapes.get(name, (None,))]
    return problems
