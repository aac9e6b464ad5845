"""Writes everything a vehicle needs of a model into one folder, and checks it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bevkit.export import tensorrt
from bevkit.export.graph import StepGraph, inputs_of, instants_of
from bevkit.export.manifest import manifest
from bevkit.export.onnx import checked, operators, trace
from bevkit.export.parity import compare
from bevkit.export.precision import to_half
from bevkit.files import write_atomically
from bevkit.models.architectures import Architecture
from bevkit.structures import BEVBatch

# Largest relative error of an output that a precision may show; half precision keeps 11 bits through a hundred layers.
TOLERANCE = {"fp32": 1e-3, "fp16": 3e-2}
PRECISIONS = tuple(TOLERANCE)


def write_artefact(model: Architecture, clips: Sequence[BEVBatch], out: Path, precision: str = "fp32",
                   cameras: list[str] | None = None, with_tensorrt: bool = True,
                   say: Callable[[str], None] = lambda step: None) -> dict[str, Any]:
    """Exports a model to ``out``/model.onnx with its manifest.json, and compares it with PyTorch.

    Args:
        model: its weights are what is exported; it is set to evaluation.
        clips: batches of one clip, as loaded, with as many input frames as the model takes; the first one is traced,
            all are compared.
        out: folder; what it holds of these names is replaced.
        precision: ``"fp32"``, or ``"fp16"``: features in half precision by explicit casts.
        cameras: names, for the manifest.
        with_tensorrt: build an engine with TensorRT for RTX, where it is installed.
        say: told what is being done.

    Returns:
        The report: ``passed``, parity numbers, operators, sizes and times (the keys are explained in deploy/README.md).
    """
    if precision not in TOLERANCE:
        raise ValueError(f"precision: expected one of {PRECISIONS}, got {precision!r}")
    out.mkdir(parents=True, exist_ok=True)
    twin, path = model.exportable(), out / "model.onnx"
    first = next(instants_of(clips[0]))
    inputs, _ = inputs_of(twin, first, None)
    view_plan = twin.view_plan(first.rig.flatten(), first.global_from_ego[:, 0])

    say("tracing the model and writing ONNX")
    start = time.perf_counter()
    graph = StepGraph(twin, len(view_plan))
    written = trace(graph, inputs, graph.output_names(inputs))
    del inputs  # a sparse model's past is gigabytes
    if precision == "fp16":
        written = checked(to_half(written))
    for earlier in ("manifest.json", "report.json", "report.md"):  # they speak of the graph that is replaced now
        (out / earlier).unlink(missing_ok=True)
    write_atomically(path, written.SerializeToString())
    seconds = time.perf_counter() - start
    cameras = cameras or [f"camera_{index}" for index in range(first.images.shape[2])]
    write_json(out / "manifest.json", manifest(twin, written.graph, view_plan, precision, cameras))

    say("running ONNX Runtime and PyTorch side by side")
    parity = compare(model, path, clips, TOLERANCE[precision])
    report = dict(precision=precision,
                  onnx=dict(file=path.name, bytes=path.stat().st_size, nodes=len(written.graph.node),
                            operators=operators(written), seconds=seconds),
                  parity=parity.numbers())
    if with_tensorrt:
        say("building an engine with TensorRT for RTX")
    report["tensorrt"] = engine_report(path) if with_tensorrt else dict(status="left out")
    report["passed"] = parity.agrees and report["tensorrt"]["status"] != "refused" \
        and (precision != "fp32" or parity.decoded_alike)
    return report


def engine_report(path: Path) -> dict[str, Any]:
    """Builds an engine with TensorRT for RTX and drops it; returns its numbers, or why there is none."""
    if not tensorrt.tensorrt_is_here():
        return dict(status="not installed", reason=tensorrt.MISSING)
    try:
        return dict(status="built", **asdict(tensorrt.build(path)))
    except ValueError as refusal:
        return dict(status="refused", reason=str(refusal))


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes a dict of plain values as JSON, whole or not at all."""
    write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())
