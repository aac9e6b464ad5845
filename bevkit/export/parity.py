"""Streams clips through ONNX Runtime and through PyTorch side by side and says how far apart they end up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from bevkit.export.graph import StreamState, Tensors, exportable, first_past, inputs_of, instants_of
from bevkit.models.architectures import DenseBEV
from bevkit.structures import BEVBatch, FutureInstances


@dataclass
class Parity:
    """The comparison over all instants of all clips.

    Attributes:
        instants: how many were compared.
        errors: of each output, the largest |onnx - torch| over the largest |torch|.
        cells: cells of the decoded maps that were compared; 0 where the model decodes to something else.
        unequal_cells: of these, cells whose instance ids differ.
        instances: instances that PyTorch found, summed over instants; 0 makes equal maps an empty statement.
    """

    instants: int = 0
    errors: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    cells: int = 0
    unequal_cells: int = 0
    instances: int = 0

    @property
    def worst(self) -> float:
        """The largest relative error of any output."""
        return float(np.max(list(self.errors.values())))  # NaN stays NaN

    @property
    def maps_equal(self) -> bool | None:
        """Whether all instance maps are equal; None where there were none."""
        return self.unequal_cells == 0 if self.cells else None

    def add_outputs(self, torch_side: Tensors, onnx_side: Tensors) -> None:
        self.instants += 1
        for name, expected in torch_side.items():
            scale = expected.abs().max().clamp(min=torch.finfo(torch.float32).tiny)
            error = ((onnx_side[name] - expected).abs().max() / scale).item()
            # A NaN must not get lost: max() would drop it.
            self.errors[name] = error if not error <= self.errors[name] else self.errors[name]

    def add_maps(self, torch_side: list[FutureInstances], onnx_side: list[FutureInstances]) -> None:
        for expected, got in zip(torch_side, onnx_side):
            self.cells += expected.ids.numel()
            self.unequal_cells += int((expected.ids != got.ids).sum())
            self.instances += int(len(expected.ids[expected.ids > 0].unique()))

    def numbers(self) -> dict:
        """What a report wants, as plain numbers."""
        return dict(instants=self.instants, relative_error=dict(self.errors), maps_equal=self.maps_equal,
                    cells=self.cells, unequal_cells=self.unequal_cells, instances=self.instances)


class OnnxStep:
    """Runs one instant of an exported graph with ONNX Runtime on the CPU."""

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.outputs = [output.name for output in self.session.get_outputs()]

    def __call__(self, inputs: Tensors) -> Tensors:
        """Turns named inputs into named outputs."""
        arrays = {name: np.ascontiguousarray(value.numpy()) for name, value in inputs.items()}
        return dict(zip(self.outputs, map(torch.from_numpy, self.session.run(None, arrays))))


@torch.no_grad()
def compare(model: DenseBEV, path: Path, clips: Iterable[BEVBatch]) -> Parity:
    """Streams clips (batches of one clip, as loaded) through both sides, each with its own past.

    Args:
        model: in evaluation mode; it runs as in training, not in its exportable form.
        path: ONNX file of the model.
        clips: each begins a new scene.
    """
    step, twin, parity = OnnxStep(path), exportable(model), Parity()
    for clip in clips:
        torch_state, onnx_state = None, None
        for instant in instants_of(clip):
            normalised = model.data_preprocessor({"batch": instant})["batch"]
            raw, torch_state = model.stream(normalised, torch_state)
            outputs, onnx_state = advance(step, twin, instant, onnx_state)
            names = outputs.keys() - {"new_past"}
            expected = dict(zip((name for name in step.outputs if name in names), raw))
            if torch_state is not None and model.past:
                expected["new_past"] = torch_state.bev
            parity.add_outputs(expected, outputs)
            if getattr(model.head, "coder", None) is not None:
                values = [outputs[name] for name in step.outputs if name in names]
                got = model.head.predict(type(raw)(*values) if hasattr(raw, "_fields") else tuple(values))
                if all(isinstance(result, FutureInstances) for result in got):
                    parity.add_maps(model.head.predict(raw), got)
    return parity


def advance(step: OnnxStep, twin: DenseBEV, instant: BEVBatch, state: StreamState | None
            ) -> tuple[Tensors, StreamState | None]:
    """Runs one instant of a stream; a scene's first instant runs twice, to have the present stand in for the past."""
    inputs, poses = inputs_of(twin, instant, state)
    if not twin.past:
        return step(inputs), None
    if state is None:
        inputs["past"] = first_past(step(inputs)["new_past"])
    outputs = step(inputs)
    return outputs, StreamState(outputs["new_past"], poses[:, 1:])

