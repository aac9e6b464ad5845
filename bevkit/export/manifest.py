"""Tells the author of a vehicle's program all that an ONNX file cannot say about itself."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import onnx
import torch

import bevkit
from bevkit.export.graph import meaning_of
from bevkit.export.onnx import OPSET
from bevkit.models.architectures import Architecture, DenseBEV, SparseDetector
from bevkit.models.coders import (
    CenterPointCoder,
    ForecastCoder,
    InstanceCenterCoder,
    InstanceFlowCoder,
    InstanceQueryCoder,
    MapCoder,
    QueryBoxCoder,
)
from bevkit.models.temporal import AlignAndStack, HistoryStack, RecurrentMemory, SpatioTemporalFusion
from bevkit.models.view_transformers import BEVFormer, ForwardBackward, LiftSplat, MatrixVT
from bevkit.models.view_transformers.forward_backward import VISIBLE_MARGIN

FORMAT = 3  # raised when a program that reads manifests would have to change

FIRST_INSTANT = ("At a scene's first instant past and memory are zeros, poses and times of the past are the present "
                 "ones, and temporal_known and temporal_motion_known are 0; they are 1 at every other instant.")
KEEP_PAST = ("Keep new_past in place of the oldest of past, which stays in its order; after a scene's first instant in "
             "place of all of it.")


@singledispatch
def settings(part: object, plan: object = None) -> dict[str, Any]:
    """Returns what a vehicle's program must know of a part to make its plan or to decode its outputs."""
    return {} if part is None else {"type": type(part).__name__}


@settings.register
def _(part: LiftSplat, plan: Any) -> dict[str, Any]:
    slots, (groups, group_size), members = plan.taps.shape[3], plan.groups.shape[1:], plan.members.shape[2]
    return dict(type="LiftSplat", **_frustum(part), aggregate_depth=part.aggregation is not None,
                camera_aware=part.depth_net.plan_length > 0,
                tables=dict(slots=slots, members=members, group_size=group_size, groups=groups))


@settings.register
def _(part: MatrixVT, plan: object = None) -> dict[str, Any]:
    return dict(type="MatrixVT", **_frustum(part), maps=part.maps, center_cell=part.center_cell,
                camera_aware=part.depth_net.plan_length > 0)


@settings.register
def _(part: BEVFormer, plan: Any) -> dict[str, Any]:
    center = part.rotate_center
    return dict(type="BEVFormer", pixel_origin=part.pixel_origin, heights=part.heights.tolist(), margin=0.0,
                seen=_seen(plan), motion=dict(rotate_center=None if center is None else list(center)))


@settings.register
def _(part: ForwardBackward, plan: Any) -> dict[str, Any]:
    lift = settings(part.lift, plan)
    return dict(type="ForwardBackward", image_size=lift["image_size"], pixel_origin=part.pixel_origin,
                heights=part.grid.centers("z").tolist(), margin=VISIBLE_MARGIN, seen=_seen(plan), lift=lift,
                camera_aware=lift["camera_aware"])


def _frustum(part: LiftSplat | MatrixVT) -> dict[str, Any]:
    step = float(part.depths[1] - part.depths[0]) if len(part.depths) > 1 else 0.0
    return dict(image_size=list(part.image_size), stride=part.stride, frustum=part.frustum, indexing=part.indexing,
                depths=[float(part.depths[0]), step, len(part.depths)])


def _seen(plan: Any) -> dict[str, int] | None:
    """Returns the room in the tables of `SeenQueries`; None where every camera looks at every cell."""
    return dict(room=plan.queries.shape[2], depth=plan.slots.shape[1]) if hasattr(plan, "slots") else None


@settings.register
def _(part: AlignAndStack, plan: object = None) -> dict[str, Any]:
    return dict(type="AlignAndStack", instants=part.instants, warp=part.warp)


@settings.register
def _(part: SpatioTemporalFusion, plan: object = None) -> dict[str, Any]:
    return settings(part.align)  # the plan is of the alignment alone


@settings.register
def _(part: RecurrentMemory, plan: object = None) -> dict[str, Any]:
    return dict(type="RecurrentMemory", instants=part.instants)


@settings.register
def _(part: HistoryStack, plan: object = None) -> dict[str, Any]:
    return dict(type="HistoryStack", instants=part.instants, heights=part.heights, low_edge=part.low_edge)


@settings.register
def _(part: InstanceFlowCoder, plan: object = None) -> dict[str, Any]:
    return dict(type="InstanceFlowCoder", center_threshold=part.center_threshold, nms_kernel=part.nms_kernel,
                max_centers=part.max_centers)


@settings.register
def _(part: InstanceCenterCoder, plan: object = None) -> dict[str, Any]:
    return dict(type="InstanceCenterCoder", center_threshold=part.center_threshold, nms_kernel=part.nms_kernel,
                max_centers=part.max_centers, match_within=part.match_within, reuse_ids=part.reuse_ids)


@settings.register
def _(part: InstanceQueryCoder, plan: object = None) -> dict[str, Any]:
    return dict(type="InstanceQueryCoder", threshold=part.threshold)


@settings.register
def _(part: CenterPointCoder, plan: object = None) -> dict[str, Any]:
    return dict(type="CenterPointCoder", tasks=[list(task) for task in part.tasks], nms=[dict(one) for one in part.nms],
                max_peaks=part.max_peaks, max_boxes=part.max_boxes, max_before_nms=part.max_before_nms,
                score_threshold=part.score_threshold, center_range=list(part.center_range))


@settings.register
def _(part: ForecastCoder, plan: object = None) -> dict[str, Any]:
    boxes: dict[str, Any] = settings.dispatch(CenterPointCoder)(part)
    return boxes | dict(type="ForecastCoder", steps=part.steps)


@settings.register
def _(part: MapCoder, plan: object = None) -> dict[str, Any]:
    return dict(type="MapCoder", layers=list(part.layers), threshold=part.threshold)


@settings.register
def _(part: QueryBoxCoder, plan: object = None) -> dict[str, Any]:
    return dict(type="QueryBoxCoder", classes=list(part.classes), max_boxes=part.max_boxes,
                score_threshold=part.score_threshold, center_range=list(part.center_range),
                relax_threshold=part.relax_threshold)


@settings.register
def _(part: SparseDetector, plan: object = None) -> dict[str, Any]:
    return dict(type="SparseDetector", instants=part.instants)


def manifest(model: Architecture, graph: onnx.GraphProto, view_plan: tuple, precision: str, cameras: list[str]
             ) -> dict[str, Any]:
    """Describes an exported graph as plain numbers and words.

    Args:
        model: the exportable twin.
        graph: as written.
        view_plan: an example of it.
        precision: ``"fp32"`` or ``"fp16"``.
        cameras: their names in the order of the images.
    """
    def port(value: onnx.ValueInfoProto) -> dict[str, Any]:
        kind = value.type.tensor_type
        return dict(name=value.name, dtype=onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name,
                    shape=[size.dim_value for size in kind.shape.dim], meaning=meaning_of(value.name))

    dense, normalise = isinstance(model, DenseBEV), model.data_preprocessor
    grid = model.grid if dense else None  # a sparse model looks into images, by one plan of its own
    inputs = [port(value) for value in graph.input]  # the images are the first
    return dict(
        format=FORMAT, bevkit=bevkit.__version__, torch=torch.__version__, opset=OPSET, precision=precision,
        inputs=inputs, outputs=[port(value) for value in graph.output],
        images=dict(cameras=cameras, channels="RGB", range=[0, 255], normalised_inside=dict(
            mean=normalise.mean.flatten().tolist(), std=normalise.std.flatten().tolist())),
        grid=dict(x=list(grid.x), y=list(grid.y), z=list(grid.z), shape=list(grid.shape)) if grid else None,
        level_ego=model.level_ego if dense else False,
        view=dict(settings(model.view_transformer if dense else model, view_plan),
                  image_size=inputs[0]["shape"][-2:]),
        temporal=settings(model.temporal if dense else model),
        stream=dict(past=model.past, memory=model.memory, instants=model.instants, newest_first=model.newest_first,
                    keep=KEEP_PAST if model.past else "",
                    first_instant=FIRST_INSTANT if model.instants else "There is no past to keep."),
        decode=settings(getattr(model.head, "coder", None)),
    )
