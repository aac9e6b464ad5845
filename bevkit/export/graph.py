"""One instant of a model as a function of tensors only: what is exported, with a name for each tensor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from bevkit.models.architectures import Architecture
from bevkit.models.architectures.base import StepOutput
from bevkit.structures import BEVBatch, BEVGrid, CameraRig, EgoMotion, TemporalState

Tensors = dict[str, Tensor]

MEANINGS = {
    "images": "RGB in 0..255 [1 N 3 h w], cameras in the order of the rig; normalisation is inside of the graph",
    "past": "BEV maps [1 S C Y X] of the S instants before, oldest first, each in its own ego frame, or image features "
            "[1 S G C/G cells], newest first, of a sparse model",
    "new_past": "of the present [1 1 ..], to be kept: in place of the oldest of the past, of all where a scene begins",
    "memory": "what the fusion keeps [1 M Y X], in the ego frame of the instant before: the last new_memory",
    "new_memory": "the memory to hand in at the next instant",
    "view": "where the cameras look: compute it once, and again when the calibration changes",
    "temporal": "how the ego moved: compute it at each instant from the R+1 newest poses and times",
    "raw": "raw head output; decode it",
}


def named(prefix: str, tensors: tuple[Tensor, ...]) -> Tensors:
    """Names the tensors of a plan or of raw outputs: by the fields of a named tuple, else by their position."""
    fields = getattr(tensors, "_fields", None) or [str(index) for index in range(len(tensors))]
    return {f"{prefix}{field}": tensor for field, tensor in zip(fields, tensors)}


def meaning_of(name: str) -> str:
    """Says in one phrase what an input or output of the graph is."""
    return MEANINGS.get(name) or MEANINGS.get(name.split("_")[0]) or MEANINGS["raw"]


class StepGraph(nn.Module):
    """`Architecture.step` of one stream, with images in 0..255 and its tensors in a flat, fixed order.

    Inputs are images, the view plan, then, where the model has them, past, memory and the temporal plan. Outputs are
    the raw head outputs, then likewise new_past and new_memory.

    Args:
        model: what its `exportable` returns.
        view_inputs: number of tensors of the view plan.
    """

    def __init__(self, model: Architecture, view_inputs: int) -> None:
        super().__init__()
        self.model = model
        self.view_inputs = view_inputs
        self.kept = [name for name, size in (("past", model.past), ("memory", model.memory)) if size]
        # A fusion of the present alone still takes a past of no instants and a plan, which no ego motion changes.
        here = EgoMotion.of(torch.eye(4, dtype=torch.float64)[None, None])
        self.no_motion: tuple[Tensor, ...] = () if model.instants else model.temporal_plan(here)

    def step(self, images: Tensor, *tensors: Tensor) -> StepOutput:
        """Runs one instant; the raw outputs, as they are exported, keep their names."""
        normalise = self.model.data_preprocessor
        view_plan = tensors[: self.view_inputs]
        rest = tensors[self.view_inputs:]
        nothing = images.new_zeros(1, 0, 1, 1)
        kept = {"past": nothing[:, :, None], "memory": nothing, **dict(zip(self.kept, rest))}
        images = (images - normalise.mean) / normalise.std
        output = self.model.step(images, view_plan, **kept, temporal_plan=rest[len(self.kept):] or self.no_motion)
        return output._replace(raw=self.model.exported_raw(output.raw))

    def forward(self, images: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        output = self.step(images, *tensors)
        kept = {"past": output.newest, "memory": output.memory}
        return (*output.raw, *(kept[name] for name in self.kept))

    @torch.no_grad()
    def output_names(self, inputs: Tensors) -> list[str]:
        """Names the outputs in order, by a run on example inputs."""
        return [*named("", self.step(*inputs.values()).raw), *(f"new_{name}" for name in self.kept)]


def inputs_of(model: Architecture, instant: BEVBatch, state: TemporalState | None) -> tuple[Tensors, EgoMotion]:
    """Makes the named inputs of the graph, in its order, for one instant (a batch of one clip of one frame, as loaded).

    ``state`` None means that a scene begins: the ego has been at rest, and what was kept is zeros.

    Returns:
        (inputs, the motion that the temporal plan was made of).
    """
    pose, fresh = instant.global_from_ego[:, 0], torch.tensor([state is None])
    images = instant.images[:, 0].float()
    past = None if state is None else state.bev
    if state is None:
        state = model.empty_state(replace(instant, images=images[:, None]))
        past = model.exported_past(state.bev)
    motion = model.motion_of(instant, state, fresh)
    inputs = {"images": images, **named("view_", model.view_plan(instant.rig.flatten(), pose))}
    if model.past:
        inputs["past"] = past
    if model.memory:
        inputs["memory"] = state.memory
    if model.instants:
        inputs.update(named("temporal_", model.temporal_plan(motion)))
    return inputs, motion


def next_state(model: Architecture, inputs: Tensors, outputs: Tensors, motion: EgoMotion) -> TemporalState:
    """Makes the state for the next instant of the named inputs and outputs of the graph."""
    kept = [outputs[name] for name in ("new_past", "new_memory") if name in outputs]
    nothing = torch.zeros(1, 0, *(kept[0].shape[-2:] if kept else (1, 1)))
    past = nothing[:, :, None]
    if model.past:
        past = model.kept_with(inputs["past"], outputs["new_past"], bool(motion.fresh))
    return TemporalState(past, outputs.get("new_memory", nothing),
                         motion.global_from_ego[:, 1:], motion.timestamps[:, 1:],
                         None if motion.projection is None else motion.projection[:, 1:])


def instants_of(batch: BEVBatch) -> Iterator[BEVBatch]:
    """Cuts a batch of clips into its input instants, oldest first: batches of clips of one frame."""
    for index in range(batch.past):
        part = slice(index, index + 1)
        yield replace(batch, images=batch.images[:, part], rig=batch.rig[:, part], targets={},
                      global_from_ego=batch.global_from_ego[:, part], timestamps=batch.timestamps[:, part],
                      boxes=[row[part] for row in batch.boxes], meta=[row[part] for row in batch.meta])


def ring_rig(cameras: int, image_size: tuple[int, int], frames: int = 1) -> CameraRig:
    """Makes a level rig of like cameras (70 degrees wide) that look around: leading axes [1 frames]."""
    height, width = image_size
    focal = width / 2 / torch.tan(torch.deg2rad(torch.tensor(35.0, dtype=torch.float64)))
    intrinsics = torch.eye(3, dtype=torch.float64)
    intrinsics[0, 0] = intrinsics[1, 1] = focal
    intrinsics[0, 2], intrinsics[1, 2] = (width - 1) / 2, (height - 1) / 2
    yaw = torch.arange(cameras, dtype=torch.float64) * (2 * torch.pi / cameras)
    cos, sin, zero, one = yaw.cos(), yaw.sin(), torch.zeros_like(yaw), torch.ones_like(yaw)
    # Columns are the camera's right, down and forward in ego axes (x forward, y left, z up), then its place.
    rows = (sin, zero, cos, 1.5 * cos, -cos, zero, sin, 1.5 * sin, zero, -one, zero, 1.5 * one, zero, zero, zero, one)
    ego_from_camera = torch.stack(rows, dim=-1).reshape(cameras, 4, 4)
    lead = (1, frames, cameras)
    return CameraRig(intrinsics.float().expand(*lead, 3, 3), torch.eye(3).expand(*lead, 3, 3),
                     ego_from_camera.float().expand(*lead, 4, 4), image_size)


def random_clip(grid: BEVGrid, cameras: int, image_size: tuple[int, int], frames: int, seed: int = 0) -> BEVBatch:
    """Makes a clip of noise images on a ring of cameras that drives a gentle left turn across the grid."""
    noise = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (1, frames, cameras, 3, *image_size), generator=noise, dtype=torch.uint8)
    poses = torch.eye(4, dtype=torch.float64).repeat(1, frames, 1, 1)
    times = torch.arange(frames, dtype=torch.float64)
    yaw = 0.05 * times
    poses[0, :, 0, 0], poses[0, :, 0, 1] = yaw.cos(), -yaw.sin()
    poses[0, :, 1, 0], poses[0, :, 1, 1] = yaw.sin(), yaw.cos()
    poses[0, :, 0, 3] = 0.03 * (grid.x[1] - grid.x[0]) * times
    return BEVBatch(images, ring_rig(cameras, image_size, frames), poses, 0.5 * times[None],
                    boxes=[[None] * frames], targets={}, meta=[[{}] * frames])
