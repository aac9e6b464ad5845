"""The dense road: images -> features -> BEV -> fusion over time -> BEV encoder -> head."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from bevkit.geometry import rigid
from bevkit.models.architectures.preprocessor import BEVPreprocessor
from bevkit.models.view_transformers import RecurrentViewTransformer, ViewOutput
from bevkit.registry import MODELS
from bevkit.structures import BEVBatch, BEVGrid, CameraRig, TemporalState, Trace

Plan = tuple[Tensor, ...]


class StepOutput(NamedTuple):
    """What one instant of a stream gives: raw head outputs and the past for the next instant (None without fusion)."""

    raw: tuple[Tensor, ...]
    past: Tensor | None


@MODELS.register_module()
class DenseBEV(BaseModel):
    """Any image encoder, view transformer, temporal fusion, BEV encoder and head, joined on one grid.

    Args:
        grid: dict with x, y, z as (low, high, step) in metres; handed to every part that asks for one.
        image_encoder, view_transformer, head: configs of the parts (MODELS registry).
        temporal, bev_encoder: likewise, or None to leave them out.
        auxiliaries: configs of training-only parts; each has ``loss(trace, targets)``, and none is exported.
        level_ego: express cameras in the level ego frame (FIERY's "flat" ego: yaw only), as PowerBEV's weights expect.
        data_preprocessor: normalisation; the default is ImageNet's.
    """

    def __init__(self, grid: dict[str, Any], image_encoder: dict[str, Any], view_transformer: dict[str, Any],
                 head: dict[str, Any], temporal: dict[str, Any] | None = None,
                 bev_encoder: dict[str, Any] | None = None, auxiliaries: Sequence[dict[str, Any]] = (),
                 level_ego: bool = False, data_preprocessor: dict[str, Any] | None = None) -> None:
        super().__init__(data_preprocessor=MODELS.build(data_preprocessor) if data_preprocessor else BEVPreprocessor())
        self.grid = BEVGrid(**grid)
        self.level_ego = level_ego
        self.image_encoder = MODELS.build(image_encoder)
        # Each part is told what the one before it produces, so that a number stands in the config once.
        self.view_transformer = MODELS.build(view_transformer, default_args=dict(
            grid=self.grid, in_channels=self.image_encoder.channels[0], stride=self.image_encoder.strides[0]))
        channels = self.view_transformer.channels
        self.temporal = self._next_part(temporal, channels)
        channels = self.temporal.channels if self.temporal is not None else channels
        self.bev_encoder = self._next_part(bev_encoder, channels)
        channels = self.bev_encoder.channels if self.bev_encoder is not None else channels
        self.head = self._next_part(head, channels)
        self.auxiliaries = nn.ModuleList(MODELS.build(config) for config in auxiliaries)

    def _next_part(self, config: dict[str, Any] | None, in_channels: int) -> nn.Module | None:
        if config is None:
            return None
        return MODELS.build(config, default_args=dict(grid=self.grid, in_channels=in_channels))

    @property
    def recurrent(self) -> bool:
        """Whether the view transformer reads its own map of the instant before."""
        return isinstance(self.view_transformer, RecurrentViewTransformer)

    @property
    def past(self) -> int:
        """Number of past maps that an instant reads beside the present."""
        return max(self.view_transformer.past, self.temporal.past if self.temporal is not None else 0)

    # ---- calibration: no weights -------------------------------------------------------------------------------

    def view_plan(self, rig: CameraRig, global_from_ego: Tensor) -> Plan:
        """Plans the view transform of M rigs (leading axis [M]) with their poses [M 4 4]."""
        if self.level_ego:
            rig = rig.moved((rigid.inverse(rigid.level(global_from_ego)) @ global_from_ego).to(rig.ego_from_camera))
        return single(self.view_transformer.plan(rig))

    def temporal_plan(self, global_from_ego: Tensor, fresh: bool = False) -> Plan:
        """Plans all that reads the past, over poses [B S+1 4 4], oldest first, the present last.

        A ``fresh`` scene has just begun. The plan is the view transformer's motion plan, if it is recurrent, and then
        the fusion's; named, so that the inputs of an exported graph have names.
        """
        fusion = self.fusion_plan(global_from_ego)
        if not self.recurrent:
            return fusion
        motion = self.motion_plan(global_from_ego, fresh)
        names = (*(f"motion_{name}" for name in fields_of(motion)), *fields_of(fusion))
        return namedtuple("Plan", names)(*motion, *fusion)

    def fusion_plan(self, global_from_ego: Tensor) -> Plan:
        """Plans the fusion over the newest of the poses [B S+1 4 4]; empty without a fusion."""
        if self.temporal is None:
            return ()
        return single(self.temporal.plan(global_from_ego[:, -1 - self.temporal.past:]))

    def motion_plan(self, global_from_ego: Tensor, fresh: bool) -> Plan:
        """Plans what a recurrent view transformer makes of its last map, over the newest two of the poses."""
        flags = torch.full((len(global_from_ego),), fresh, device=global_from_ego.device)
        return single(self.view_transformer.motion_plan(global_from_ego[:, -2:], flags))

    # ---- weights: no calibration -------------------------------------------------------------------------------

    def bev_of(self, images: Tensor, view_plan: Plan, past: Tensor | None = None, motion: Plan = ()
               ) -> tuple[ViewOutput, tuple[Tensor, ...]]:
        """Lifts images [M N 3 h w] to (bev [M C Y X] and what led to it, features).

        A recurrent view transformer also wants the map before, past [M 1 C Y X], and its motion plan.
        """
        features = self.image_encoder(images.flatten(0, 1))
        if self.recurrent:
            return self.view_transformer(features, *view_plan, past=past, motion=motion), features
        return self.view_transformer(features, *view_plan), features

    def future_of(self, bev: Tensor, past: Tensor | None, temporal_plan: Plan
                  ) -> tuple[tuple[Tensor, ...], Tensor, Tensor | None]:
        """Turns the present BEV [B C Y X] and the past [B S C Y X] into (raw outputs, fused BEV, new past)."""
        fused, new_past = bev, None
        if self.temporal is not None:
            fused, new_past = self.temporal(bev, past[:, past.shape[1] - self.temporal.past:], *temporal_plan)
        if self.recurrent and not (self.temporal is not None and self.temporal.past):
            new_past = bev.unsqueeze(1)  # [B 1 C Y X]
        if self.bev_encoder is not None:
            fused = self.bev_encoder(fused)
        return self.head(fused), fused, new_past

    def step(self, images: Tensor, view_plan: Plan, past: Tensor | None, temporal_plan: Plan) -> StepOutput:
        """Runs one instant: images [B N 3 h w], the past BEVs [B S C Y X], the plans. This is what is exported."""
        motion, temporal_plan = self._motion_and_fusion(temporal_plan)
        newest = past[:, -1:] if past is not None and self.recurrent else None
        view, _ = self.bev_of(images, view_plan, newest, motion)
        raw, _, new_past = self.future_of(view.bev, past, temporal_plan)
        return StepOutput(raw, new_past)

    def _motion_and_fusion(self, temporal_plan: Plan) -> tuple[Plan, Plan]:
        first = self.view_transformer.motion_inputs if self.recurrent else 0
        return temporal_plan[:first], temporal_plan[first:]

    # ---- clips and streams -------------------------------------------------------------------------------------

    def run_clip(self, batch: BEVBatch) -> tuple[tuple[Tensor, ...], Trace]:
        """Runs a batch of clips whose images are normalised; returns raw outputs and the intermediates."""
        stacked = 1 + (self.temporal.past if self.temporal is not None else 0)
        if batch.past < stacked or batch.past > stacked and not self.recurrent:
            raise ValueError(f"batch: expected clips of {stacked} input frames, got {batch.past}; "
                             f"set the data set's past={stacked}")
        poses = batch.global_from_ego[:, :batch.past]  # [B T 4 4]
        view, features, bev = self._bev_one_by_one(batch, poses) if self.recurrent else self._bev_at_once(batch, poses)
        raw, fused, _ = self.future_of(bev[:, -1], bev[:, :-1], self.fusion_plan(poses))
        return raw, Trace(features, view.depth, bev, fused, view.foreground)

    def _bev_at_once(self, batch: BEVBatch, poses: Tensor) -> tuple[ViewOutput, tuple[Tensor, ...], Tensor]:
        view_plan = self.view_plan(batch.rig.flatten(), poses.flatten(0, 1))
        view, features = self.bev_of(batch.images.flatten(0, 1), view_plan)
        return view, features, view.bev.unflatten(0, poses.shape[:2])  # bev [B T C Y X]

    def _bev_one_by_one(self, batch: BEVBatch, poses: Tensor) -> tuple[ViewOutput, tuple[Tensor, ...], Tensor]:
        """Lifts the frames in order, each with the map before it; the past is run as in a test, without gradients."""
        maps: list[Tensor] = []
        for time in range(batch.past):
            before = max(time - 1, 0)
            motion = self.motion_plan(poses[:, [before, time]], fresh=time == 0)
            past = maps[-1] if maps else batch.images.new_zeros(len(batch), *self.map_shape)
            with self._as_history(time < batch.past - 1):
                view, features = self.bev_of(batch.images[:, time], self.view_plan(batch.rig[:, time], poses[:, time]),
                                             past.unsqueeze(1), motion)
            maps.append(view.bev)
        return view, features, torch.stack(maps, dim=1)  # [B T C Y X]

    @contextmanager
    def _as_history(self, history: bool) -> Iterator[None]:
        """Runs what is within for a past frame of a training clip: no gradients, no dropout, batch norms at rest."""
        parts = [part for part in (self.image_encoder, self.view_transformer) if history and part.training]
        for part in parts:
            part.eval()
        try:
            with torch.set_grad_enabled(torch.is_grad_enabled() and not history):
                yield
        finally:
            for part in parts:
                part.train()

    @property
    def map_shape(self) -> tuple[int, int, int]:
        """(C, Y, X) of the view transformer's map."""
        return (self.view_transformer.channels, *self.grid.shape)

    def stream(self, batch: BEVBatch, state: TemporalState | None) -> tuple[tuple[Tensor, ...], TemporalState | None]:
        """Runs one instant (clips of one frame) of B streams; ``state`` None means that a scene begins.

        At the beginning of a scene the present stands in for the missing past, as if the ego had been at rest.
        """
        poses, times = batch.global_from_ego[:, :1], batch.timestamps[:, :1]
        view_plan, fresh = self.view_plan(batch.rig.flatten(), poses[:, 0]), state is None
        if not self.past:
            view, _ = self.bev_of(batch.images[:, 0], view_plan)
            return self.future_of(view.bev, view.bev.unsqueeze(1)[:, :0], self.temporal_plan(poses))[0], None
        if state is None:
            nothing = batch.images.new_zeros(len(batch), self.past, *self.map_shape)
            state = TemporalState(nothing, poses.expand(-1, self.past, -1, -1), times.expand(-1, self.past))
        poses = torch.cat((state.global_from_ego, poses), dim=1)  # [B S+1 4 4]
        times = torch.cat((state.timestamps, times), dim=1)
        motion, fusion_plan = self._motion_and_fusion(self.temporal_plan(poses, fresh))
        view, _ = self.bev_of(batch.images[:, 0], view_plan, state.bev[:, -1:], motion)
        past = view.bev.unsqueeze(1).expand_as(state.bev) if fresh else state.bev
        raw, _, new_past = self.future_of(view.bev, past, fusion_plan)
        return raw, TemporalState(new_past, poses[:, 1:], times[:, 1:])

    def forward(self, batch: BEVBatch, mode: str = "tensor") -> Any:
        """Follows mmengine: ``loss`` gives a dict of losses, ``predict`` a list of results, ``tensor`` raw outputs."""
        raw, trace = self.run_clip(batch)
        if mode == "loss":
            if not batch.targets:
                raise ValueError("batch: expected targets for the loss, got none; give the data set a target_coder")
            losses = self.head.loss(raw, batch.targets)
            for auxiliary in self.auxiliaries:
                losses.update(auxiliary.loss(trace, batch.targets))
            return losses
        if mode == "predict":
            return self.head.predict(raw)
        if mode == "tensor":
            return raw
        raise ValueError(f"mode: expected loss, predict or tensor, got {mode!r}")

    @torch.no_grad()
    def predict(self, batch: BEVBatch) -> list[Any]:
        """Preprocesses a batch as loaded and returns one result a clip."""
        return self(**self.data_preprocessor({"batch": batch}), mode="predict")


def single(plan: Plan) -> Plan:
    """Returns a plan in the precision of the weights: calibration and poses are thought through in float64."""
    values = [tensor.float() if tensor.is_floating_point() else tensor for tensor in plan]
    return type(plan)(*values) if hasattr(plan, "_fields") else tuple(values)


def fields_of(plan: Plan) -> tuple[str, ...]:
    """Names the tensors of a plan: by the fields of a named tuple, else by their position."""
    return getattr(plan, "_fields", None) or tuple(f"part_{index}" for index in range(len(plan)))
