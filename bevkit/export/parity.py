"""Streams clips through ONNX Runtime and through PyTorch side by side and says how far apart they end up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from bevkit.export.graph import Tensors, inputs_of, instants_of, next_state
from bevkit.export.vehicle import vehicle_decoder
from bevkit.models.architectures import Architecture
from bevkit.models.coders.boxes import boxes_of
from bevkit.structures import BEVBatch, BEVMaps, Detections3D, FutureInstances

Result = Any  # FutureInstances, Detections3D or BEVMaps, both sides alike
UNEQUAL_BOXES = 0.02  # the part of boxes that rounding may change: scores at a threshold, boxes at a rival's edge
ROUNDING = 1e-5  # relative error of float32 through a deep network: no graph of other operators comes nearer


@dataclass
class Parity:
    """The comparison over all instants of all clips.

    Attributes:
        instants: how many were compared.
        tolerance: of errors.
        errors: of each output, the largest |onnx - torch| over the largest |torch|.
        stray: of each output, the largest part of its values at an instant that are farther apart than the tolerance.
        cells: cells of the decoded maps that were compared; 0 where the model decodes to something else.
        unequal_cells: of these, cells whose instance ids or map layers differ.
        instances: instances that PyTorch found, summed over instants; 0 makes equal maps an empty statement.
        boxes: boxes that either side decoded; 0 where the model decodes to something else, or finds nothing.
        unequal_boxes: of these, boxes without a like one on the other side (`unlike`).
        vehicle: instants whose outputs the vehicle's program decoded too; 0 where it has no such decoder.
        vehicle_unequal: of these, instants where it made other maps or boxes of ONNX Runtime's outputs than PyTorch.
    """

    tolerance: float = 1e-3
    instants: int = 0
    errors: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    stray: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    cells: int = 0
    unequal_cells: int = 0
    instances: int = 0
    boxes: int = 0
    unequal_boxes: int = 0
    vehicle: int = 0
    vehicle_unequal: int = 0

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
            if not expected.is_floating_point():
                continue  # numbers of queries are names, which are compared as what they are decoded to
            scale = expected.abs().max().clamp(min=torch.finfo(torch.float32).tiny)
            apart = (onnx_side[name] - expected).abs() / scale
            error = apart.max().item()
            stray = int((~(apart <= self.tolerance)).sum()) / apart.numel()  # NaN is one
            self.stray[name] = max(self.stray[name], stray)
            self.errors[name] = float(np.maximum(self.errors[name], error))  # a NaN stays; max() may drop it

    @property
    def agrees(self) -> bool:
        """Whether all outputs are within the tolerance."""
        return self.worst <= self.tolerance

    @property
    def decoded_alike(self) -> bool:
        """Whether what is decoded is the same as far as rounding allows: a score may fall on a threshold's other side.

        Both sides are decoded by one decoder: where outputs differ by rounding alone, so do the boxes made of them,
        however many those are (random weights make ties of thousands). Maps have to be equal. True also where nothing
        was decoded.
        """
        boxes_alike = self.unequal_boxes <= UNEQUAL_BOXES * self.boxes or self.worst <= ROUNDING
        return self.unequal_cells == 0 and self.vehicle_unequal == 0 and boxes_alike

    def add_results(self, torch_side: Result, onnx_side: Result, vehicle_side: Result | None) -> None:
        """Adds what PyTorch made of its own outputs, and PyTorch and the vehicle of ONNX Runtime's."""
        if isinstance(torch_side, FutureInstances):
            self.cells += torch_side.ids.numel()
            self.unequal_cells += int((torch_side.ids != onnx_side.ids).sum())
            self.instances += int(len(torch_side.ids[torch_side.ids > 0].unique()))
        elif isinstance(torch_side, BEVMaps):
            self.cells += torch_side.inside.numel()
            self.unequal_cells += int((torch_side.inside != onnx_side.inside).sum())
        elif isinstance(torch_side, Detections3D):
            self.boxes += len(torch_side.boxes) + len(onnx_side.boxes)
            self.unequal_boxes += unlike(torch_side, onnx_side) + unlike(onnx_side, torch_side)
        if vehicle_side is not None:
            self.vehicle += 1
            self.vehicle_unequal += not same(vehicle_side, onnx_side)

    def numbers(self) -> dict[str, Any]:
        """What a report wants, as plain numbers."""
        return dict(tolerance=self.tolerance, instants=self.instants,
                    relative_error=dict(self.errors), stray=dict(self.stray), maps_equal=self.maps_equal,
                    cells=self.cells, unequal_cells=self.unequal_cells, instances=self.instances, boxes=self.boxes,
                    unequal_boxes=self.unequal_boxes, vehicle=self.vehicle, vehicle_unequal=self.vehicle_unequal)


def unlike(these: Detections3D, others: Detections3D) -> int:
    """Counts boxes without one of the same class, score (0.01) and nine numbers (0.05 m, rad, m/s) among others.

    Where objects have paths, these have to be alike too (0.05 m, and 0.01 of their scores).
    """
    if not len(these.boxes) or not len(others.boxes):
        return len(these.boxes)
    difference = (boxes_of(these.boxes)[:, None] - boxes_of(others.boxes)).abs()  # [A A' 9]
    difference[..., 6] = torch.minimum(difference[..., 6], (2 * torch.pi - difference[..., 6]).abs())
    alike = (difference < 0.05).all(dim=-1) & ((these.scores[:, None] - others.scores).abs() < 0.01)
    alike &= these.boxes.labels[:, None] == others.boxes.labels
    for name, tolerance in (("paths", 0.05), ("path_scores", 0.01)):
        ours, theirs = getattr(these, name), getattr(others, name)
        if (ours is None) != (theirs is None):
            return len(these.boxes)
        if ours is not None:  # [A K F 2] or [A K]
            alike &= ((ours[:, None] - theirs).abs() < tolerance).flatten(2).all(dim=2)
    return int((~alike.any(dim=1)).sum())


def same(vehicle: Result, twin: Result) -> bool:
    """Says whether the vehicle decoded the same outputs to the same maps, or to as many and the same boxes.

    Boxes are sets: of two with one score either may come first.
    """
    if isinstance(twin, FutureInstances):
        return torch.equal(vehicle.ids, twin.ids)
    if isinstance(twin, BEVMaps):
        return torch.equal(vehicle.inside, twin.inside)
    return len(vehicle.boxes) == len(twin.boxes) and unlike(vehicle, twin) == unlike(twin, vehicle) == 0


class OnnxStep:
    """Runs one instant of an exported graph with ONNX Runtime on the CPU."""

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        options.enable_cpu_mem_arena = False  # gigabytes of kept features: what is free is wanted by PyTorch's side
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.outputs = [output.name for output in self.session.get_outputs()]

    def __call__(self, inputs: Tensors) -> Tensors:
        """Turns named inputs into named outputs."""
        arrays = {name: np.ascontiguousarray(value.numpy()) for name, value in inputs.items()}
        return dict(zip(self.outputs, map(torch.from_numpy, self.session.run(None, arrays))))


@torch.no_grad()
def compare(model: Architecture, path: Path, clips: Iterable[BEVBatch], tolerance: float = 1e-3) -> Parity:
    """Streams clips (batches of one clip, as loaded) through both sides, each with its own past.

    Args:
        model: in evaluation mode; it runs as in training, not in its exportable form.
        path: ONNX file of the model.
        clips: each begins a new scene.
        tolerance: as `Parity` has it.
    """
    step, twin, vehicle = OnnxStep(path), model.exportable(), vehicle_decoder(path)
    parity = Parity(tolerance)
    for clip in clips:
        torch_state, onnx_state = None, None
        for instant in instants_of(clip):
            normalised = model.data_preprocessor({"batch": instant})["batch"]
            seen, torch_state = model.look_on(normalised, torch_state, None)
            inputs, motion = inputs_of(twin, instant, onnx_state)
            outputs = step(inputs)
            onnx_state = next_state(twin, inputs, outputs, motion)
            raw = model.raw_of(model.given(seen, inputs, outputs))
            newest = model.exported_past(model.newest_of(torch_state.bev))
            kept = {"new_past": newest, "new_memory": torch_state.memory}
            names = [name for name in step.outputs if name not in kept]
            reduced = model.exported_raw(raw)
            expected = dict(zip(names, reduced)) | {name: kept[name] for name in step.outputs if name in kept}
            parity.add_outputs(expected, outputs)
            if getattr(model.head, "coder", None) is not None:
                values = [outputs[name] for name in names]
                got = model.head.predict(type(reduced)(*values) if hasattr(reduced, "_fields") else tuple(values))
                parity.add_results(model.head.predict(raw)[0], got[0], vehicle and vehicle(outputs))
    return parity
