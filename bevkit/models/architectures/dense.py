"""The dense road: images -> features -> BEV -> fusion over time -> BEV encoder -> head."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Sequence
from contextlib import AbstractContextManager
from inspect import signature
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bevkit.geometry import rigid
from bevkit.models.architectures.base import Architecture, Plan, StepOutput, as_history, fields_of, single
from bevkit.models.temporal import RecurrentFusion, WindowFusion
from bevkit.models.view_transformers import RecurrentViewTransformer, ViewOutput
from bevkit.registry import MODELS
from bevkit.structures import BEVBatch, BEVGrid, CameraRig, EgoMotion, TemporalState, Trace


class Seen(NamedTuple):
    """The intermediates of an instant, as in `Trace`, without poses; bev [B S+1 C Y X] has the past."""

    features: tuple[Tensor, ...]
    depth: Tensor | None
    bev: Tensor
    fused: Tensor
    foreground: Tensor | None


class Pass(NamedTuple):
    """What clips or instants led to: raw outputs, and the intermediates for those who train."""

    raw: tuple[Tensor, ...]
    trace: Trace


@MODELS.register_module()
class DenseBEV(Architecture):
    """Any image encoder, view transformer, temporal fusion, BEV encoder and head, joined on one grid.

    Args:
        grid: dict with x, y, z as (low, high, step) in metres; handed to every part that asks for one.
        image_encoder, view_transformer, head: configs of the parts (MODELS registry).
        temporal, bev_encoder: likewise, or None to leave them out.
        frame_encoder: likewise, for the map of every single frame before the fusion (BEVDet4D's pre-processing).
        auxiliaries: configs of training-only parts; each has ``loss(trace, targets)``, and none is exported.
        frames_in_graph: how many input frames of a training clip, the last ones, get gradients; those before run as in
            a test (no gradients, no dropout, batch norms at rest). None: all; a view transformer that reads its own
            last map takes 1, as BEVFormer trains.
        level_ego: express cameras in the level ego frame (FIERY's "flat" ego: yaw only), as PowerBEV's weights expect.
        data_preprocessor: normalisation; the default is ImageNet's.
    """

    def __init__(self, grid: dict[str, Any], image_encoder: dict[str, Any], view_transformer: dict[str, Any],
                 head: dict[str, Any], temporal: dict[str, Any] | None = None,
                 bev_encoder: dict[str, Any] | None = None, frame_encoder: dict[str, Any] | None = None,
                 auxiliaries: Sequence[dict[str, Any]] = (), frames_in_graph: int | None = None,
                 level_ego: bool = False, data_preprocessor: dict[str, Any] | None = None) -> None:
        super().__init__(data_preprocessor)
        self.grid = BEVGrid(**grid)
        self.level_ego = level_ego
        self.image_encoder = MODELS.build(image_encoder)
        # Each part is told what the one before it produces, so that a number stands in the config once.
        self.view_transformer = MODELS.build(view_transformer, default_args=dict(
            grid=self.grid, in_channels=self.image_encoder.channels[0], stride=self.image_encoder.strides[0]))
        if frame_encoder is not None and self.recurrent:
            raise ValueError(f"frame_encoder: expected None with {type(self.view_transformer).__name__}, which reads "
                             "its own last map; encode the fused map instead (bev_encoder)")
        if frames_in_graph is not None and frames_in_graph < 1:
            raise ValueError(f"frames_in_graph: expected 1 or more, or None for all, got {frames_in_graph}")
        self.frames_in_graph = frames_in_graph or (1 if self.recurrent else None)
        self.frame_encoder = self._next_part(frame_encoder, self.view_transformer.channels)
        self.temporal = self._next_part(temporal, self.map_channels)
        channels = self.map_channels if self.temporal is None else self.temporal.channels - self.temporal.side_channels
        self.bev_encoder = self._next_part(bev_encoder, channels)
        channels = self.bev_encoder.channels if self.bev_encoder is not None else channels
        self.head = self._next_part(head, channels, **self._side_of(head))
        self.auxiliaries = nn.ModuleList(self._auxiliary(config) for config in auxiliaries)

    def _next_part(self, config: dict[str, Any] | None, in_channels: int, **more: int) -> nn.Module | None:
        if config is None:
            return None
        return MODELS.build(config, default_args=dict(grid=self.grid, in_channels=in_channels, **more))

    def _auxiliary(self, config: dict[str, Any]) -> nn.Module:
        """Builds a training-only part; one that works on the maps of the frames is told of them."""
        known = dict(grid=self.grid, in_channels=self.map_channels)
        asked = signature(MODELS.get(config["type"])).parameters
        return MODELS.build(config, default_args={name: value for name, value in known.items() if name in asked})

    def _side_of(self, head: dict[str, Any]) -> dict[str, int]:
        """What the head must be told of channels that the fusion hands to it past the BEV encoder."""
        side = self.temporal.side_channels if self.temporal is not None else 0
        if side and "side_channels" not in signature(MODELS.get(head["type"])).parameters:
            raise ValueError(f"temporal: expected a fusion without side channels for a {head['type']}, got {side}; set "
                             "temporal.time_channels=0, or take a head that reads them, as CenterPointHead does")
        return {"side_channels": side} if side else {}

    @property
    def recurrent(self) -> bool:
        """Whether the view transformer reads its own map of the instant before."""
        return isinstance(self.view_transformer, RecurrentViewTransformer)

    @property
    def map_channels(self) -> int:
        """C of the map of one frame."""
        return self.view_transformer.channels if self.frame_encoder is None else self.frame_encoder.channels

    @property
    def past(self) -> int:
        """S, number of past maps that an instant reads beside the present."""
        return max(self.view_transformer.past, self.temporal.past if isinstance(self.temporal, WindowFusion) else 0)

    @property
    def memory(self) -> int:
        """M, channels of what a recurrent fusion keeps; 0 without one."""
        return self.temporal.memory if isinstance(self.temporal, RecurrentFusion) else 0

    @property
    def instants(self) -> int:
        """R, number of past instants whose poses an instant reads."""
        return max(self.past, self.temporal.instants if self.temporal is not None else 0)

    # ---- calibration: no weights -------------------------------------------------------------------------------

    def view_plan(self, rig: CameraRig, global_from_ego: Tensor) -> Plan:
        if self.level_ego:
            rig = rig.moved((rigid.inverse(rigid.level(global_from_ego)) @ global_from_ego).to(rig.ego_from_camera))
        return single(self.view_transformer.plan(rig))

    def temporal_plan(self, motion: EgoMotion) -> Plan:
        """Plans all that reads the past, over R past instants and the present.

        The plan is ``known`` [B], 0 where a scene begins, if the fusion keeps something; the view transformer's motion
        plan, if it is recurrent; and the fusion's; named, so that the inputs of an exported graph have names.
        """
        parts = {"known": (~motion.fresh).float()} if self._keeps else {}
        if self.recurrent:
            view = self.motion_plan(motion)
            parts.update(zip((f"motion_{name}" for name in fields_of(view)), view))
        fusion = self.fusion_plan(motion)
        parts.update(zip(fields_of(fusion), fusion))
        return namedtuple("Plan", parts)(*parts.values())

    @property
    def _keeps(self) -> bool:
        """Whether the fusion keeps something from instant to instant, which a beginning scene has to make up."""
        return self.temporal is not None and self.temporal.instants > 0

    def fusion_plan(self, motion: EgoMotion) -> Plan:
        """Plans the fusion over the newest of the instants; empty without a fusion."""
        if self.temporal is None:
            return ()
        return single(self.temporal.plan(motion.newest(self.temporal.instants)))

    def motion_plan(self, motion: EgoMotion) -> Plan:
        """Plans what a recurrent view transformer makes of its last map, over the newest two of the instants."""
        return single(self.view_transformer.motion_plan(motion.newest(1)))

    # ---- weights: no calibration -------------------------------------------------------------------------------

    def bev_of(self, images: Tensor, view_plan: Plan, past: Tensor | None = None, motion: Plan = ()
               ) -> tuple[ViewOutput, tuple[Tensor, ...]]:
        """Lifts images [M N 3 h w] to (bev [M C Y X] and what led to it, features).

        A recurrent view transformer also wants the map before, past [M 1 C Y X], and its motion plan.
        """
        features = self.image_encoder(images.flatten(0, 1))
        if self.recurrent:
            return self.view_transformer(features, *view_plan, past=past, motion=motion), features
        view = self.view_transformer(features, *view_plan)
        if self.frame_encoder is not None:
            view = view._replace(bev=self.frame_encoder(view.bev))
        return view, features

    def fuse(self, bev: Tensor, past: Tensor, memory: Tensor, plan: Plan) -> tuple[Tensor, Tensor]:
        """Joins the present [B C Y X] with the past [B S C Y X] or the memory [B M Y X]: (fused, new memory)."""
        if isinstance(self.temporal, RecurrentFusion):
            return self.temporal(bev, memory, *plan)
        if isinstance(self.temporal, WindowFusion):
            return self.temporal(bev, past[:, past.shape[1] - self.temporal.past:], *plan), memory
        return bev, memory

    def parted(self, fused: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Parts the fused map into what the BEV encoder takes and what the head is given beside it, if anything."""
        side = self.temporal.side_channels if self.temporal is not None else 0
        return (fused[:, :-side], (fused[:, -side:],)) if side else (fused, ())

    def head_of(self, fused: Tensor, targets: dict[str, Tensor] | None = None) -> tuple[tuple[Tensor, ...], Tensor]:
        """Turns the fused map into (raw outputs, the map that the head was given [B C' Y X]).

        Args: targets, in training alone, for a head whose ``forward`` takes some (FIERY's looks at the future).
        """
        fused, sides = self.parted(fused)
        if self.bev_encoder is not None:
            fused = self.bev_encoder(fused)
        told = {"targets": targets} if targets and "targets" in signature(self.head.forward).parameters else {}
        return self.head(fused, *sides, **told), fused

    def step(self, images: Tensor, view_plan: Plan, past: Tensor, memory: Tensor, temporal_plan: Plan) -> StepOutput:
        """Runs one instant: images [B N 3 h w], past maps [B S C Y X], memory [B M Y X], the plans."""
        return self._step(images, view_plan, past, memory, temporal_plan)[0]

    def _step(self, images: Tensor, view_plan: Plan, past: Tensor, memory: Tensor, temporal_plan: Plan
              ) -> tuple[StepOutput, Seen]:
        """Runs one instant, and returns what it saw on the way."""
        known, motion, fusion_plan = self._parts_of(temporal_plan)
        view, features = self.bev_of(images, view_plan, past[:, -1:], motion)
        if known is not None:
            past, memory = self._made_up(known, view.bev, past, memory)
        fused, memory = self.fuse(view.bev, past, memory, fusion_plan)
        maps = view.bev.unsqueeze(1)
        if self.past:
            maps = torch.cat((past, maps), dim=1)  # [B S+1 C Y X]
        raw, encoded = self.head_of(fused)
        seen = Seen(features, view.depth, maps, encoded, view.foreground)
        return StepOutput(raw, maps[:, -1:], memory), seen

    def _parts_of(self, temporal_plan: Plan) -> tuple[Tensor | None, Plan, Plan]:
        """Takes a temporal plan apart: known or None, the view transformer's motion plan, the fusion's plan."""
        first = int(self._keeps)
        middle = first + (self.view_transformer.motion_inputs if self.recurrent else 0)
        return temporal_plan[0] if first else None, temporal_plan[first:middle], temporal_plan[middle:]

    def _made_up(self, known: Tensor, bev: Tensor, past: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Lets the present [B C Y X] stand in for past and memory where a scene begins (``known`` [B] is 0)."""
        there = known.view(-1, 1, 1, 1) > 0
        if self.past:
            past = torch.where(there.unsqueeze(1), past, bev.unsqueeze(1))
        if isinstance(self.temporal, RecurrentFusion):
            memory = torch.where(there, memory, self.temporal.begin(bev))
        return past, memory

    def exportable(self) -> DenseBEV:
        """Returns a twin as `Architecture` has it, with the exportable form of the view transform."""
        twin = super().exportable()
        twin.view_transformer = self.view_transformer.exportable()
        return twin

    # ---- clips and streams -------------------------------------------------------------------------------------

    def run_clip(self, batch: BEVBatch) -> tuple[tuple[Tensor, ...], Trace]:
        """Runs a batch of clips whose images are normalised; returns raw outputs and the intermediates."""
        if batch.ahead:
            raise ValueError(f"batch: expected no input frames after the present, got {batch.ahead}; leave the data "
                             "set's ahead at 0")
        window = 1 + (self.temporal.past if isinstance(self.temporal, WindowFusion) else 0)
        longer = self.recurrent or bool(self.memory)
        if batch.past < window or batch.past > window and not longer:
            raise ValueError(f"batch: expected clips of {window} input frames{' or more' if longer else ''}, got "
                             f"{batch.past}; set the data set's past={window}")
        motion = self._motion_of(batch)
        history = batch.past - min(self.frames_in_graph or batch.past, batch.past)
        view, features, bev = (self._bev_one_by_one if self.recurrent else self._bev_at_once)(batch, motion, history)
        raw, encoded = self.run_maps(bev, motion, history, batch.targets if self.training else None)
        return raw, Trace(features, view.depth, bev, encoded, motion.global_from_ego, view.foreground)

    def run_maps(self, bev: Tensor, motion: EgoMotion, history: int = 0, targets: dict[str, Tensor] | None = None
                 ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Fuses the maps of a clip's frames [B T C Y X]; returns (raw outputs, the map that the head was given).

        Args: motion over the same T frames; the first ``history`` of them get no gradients; targets as `head_of`.
        """
        return self.head_of(self._fused_over(bev, motion, history), targets)

    def _motion_of(self, batch: BEVBatch) -> EgoMotion:
        """The motion over the input frames; clips begin as scenes do."""
        fresh = torch.ones(len(batch), dtype=torch.bool, device=batch.global_from_ego.device)
        return EgoMotion(batch.global_from_ego[:, :batch.past], batch.timestamps[:, :batch.past], fresh)

    def _until(self, motion: EgoMotion, time: int) -> EgoMotion:
        """The motion of a clip up to one of its frames, over R past instants; before the first the ego was at rest."""
        indices = [max(index, 0) for index in range(time - self.instants, time + 1)]
        fresh = motion.fresh if time == 0 else torch.zeros_like(motion.fresh)
        return EgoMotion(motion.global_from_ego[:, indices], motion.timestamps[:, indices], fresh)

    def _bev_at_once(self, batch: BEVBatch, motion: EgoMotion, history: int
                     ) -> tuple[ViewOutput, tuple[Tensor, ...], Tensor]:
        """Lifts all frames together, those without gradients first; bev [B T C Y X], the rest of the frames after."""
        maps = []
        for first, last in ((0, history), (history, batch.past)):
            if first == last:
                continue
            poses = motion.global_from_ego[:, first:last].flatten(0, 1)
            with self._as_history(last == history):
                view, features = self.bev_of(batch.images[:, first:last].flatten(0, 1),
                                             self.view_plan(batch.rig[:, first:last].flatten(), poses))
            maps.append(view.bev.unflatten(0, (len(batch), last - first)))
        return view, features, torch.cat(maps, dim=1)

    def _bev_one_by_one(self, batch: BEVBatch, motion: EgoMotion, history: int
                        ) -> tuple[ViewOutput, tuple[Tensor, ...], Tensor]:
        """Lifts the frames in order, each with the map before it; view and features are those of the last."""
        maps: list[Tensor] = []
        for time in range(batch.past):
            past = maps[-1] if maps else batch.images.new_zeros(len(batch), *self.map_shape)
            plan = self.view_plan(batch.rig[:, time], motion.global_from_ego[:, time])
            with self._as_history(time < history):
                view, features = self.bev_of(batch.images[:, time], plan, past.unsqueeze(1),
                                             self.motion_plan(self._until(motion, time)))
            maps.append(view.bev)
        return view, features, torch.stack(maps, dim=1)

    def _fused_over(self, bev: Tensor, motion: EgoMotion, history: int) -> Tensor:
        """Fuses the maps [B T C Y X] of a clip for its last frame; a recurrent fusion runs through all of them."""
        if not isinstance(self.temporal, RecurrentFusion):
            return self.fuse(bev[:, -1], bev[:, :-1], bev[:, 0, :0], self.fusion_plan(motion))[0]
        memory = self.temporal.begin(bev[:, 0])
        for time in range(bev.shape[1]):
            with self._as_history(time < history):
                fused, memory = self.fuse(bev[:, time], bev[:, :0], memory,
                                          self.fusion_plan(self._until(motion, time)))
        return fused

    def _as_history(self, history: bool) -> AbstractContextManager[None]:
        parts = (self.image_encoder, self.view_transformer, self.frame_encoder, self.temporal)
        return as_history([part for part in parts if part is not None], history)

    @property
    def map_shape(self) -> tuple[int, int, int]:
        """(C, Y, X) of the map of one frame."""
        return (self.map_channels, *self.grid.shape)

    def empty_state(self, batch: BEVBatch) -> TemporalState:
        poses, times = batch.global_from_ego[:, :1], batch.timestamps[:, :1]
        return TemporalState(batch.images.new_zeros(len(batch), self.past, *self.map_shape),
                             batch.images.new_zeros(len(batch), self.memory, *self.grid.shape),
                             poses.expand(-1, self.instants, -1, -1), times.expand(-1, self.instants))

    def look(self, batch: BEVBatch) -> Pass:
        return Pass(*self.run_clip(batch))

    def look_on(self, batch: BEVBatch, state: TemporalState | None, fresh: Tensor | None) -> tuple[Pass, TemporalState]:
        poses = batch.global_from_ego[:, 0]
        if fresh is None or state is None:
            fresh = torch.full((len(batch),), state is None, device=poses.device)
        state = state or self.empty_state(batch)
        motion = self.motion_of(batch, state, fresh)
        output, seen = self._step(batch.images[:, 0], self.view_plan(batch.rig.flatten(), poses), state.bev,
                                  state.memory, self.temporal_plan(motion))
        after = TemporalState(seen.bev[:, 1:], output.memory, motion.global_from_ego[:, 1:], motion.timestamps[:, 1:])
        poses = motion.global_from_ego[:, -seen.bev.shape[1]:]
        trace = Trace(seen.features, seen.depth, seen.bev, seen.fused, poses, seen.foreground)
        return Pass(output.raw, trace), after

    @torch.no_grad()
    def sample_futures(self, batch: BEVBatch, count: int, seed: int = 0) -> list[list[Any]]:
        """Preprocesses a batch as loaded and draws possible futures: for each of ``count`` draws one result a clip.

        The head must know of several (have ``samples``), as `FieryHead` does. The same seed draws the same futures.
        """
        seen = self.look(**self.data_preprocessor({"batch": batch}))
        generator = torch.Generator(seen.trace.fused.device).manual_seed(seed)
        return [self.head.predict(raw) for raw in self.head.samples(seen.trace.fused, count, generator)]

    def raw_of(self, seen: Pass) -> tuple[Tensor, ...]:
        return seen.raw

    def losses_of(self, seen: Pass, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = self.head.loss(seen.raw, targets)
        for auxiliary in self.auxiliaries:
            losses.update(auxiliary.loss(seen.trace, targets))
        return losses
