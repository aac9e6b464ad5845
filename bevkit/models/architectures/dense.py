"""The dense road: images -> features -> BEV -> fusion over time -> BEV encoder -> head."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from bevkit.geometry import rigid
from bevkit.models.architectures.preprocessor import BEVPreprocessor
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
        level_ego: express cameras in the level ego frame (FIERY's "flat" ego: yaw only), as PowerBEV's weights expect.
        data_preprocessor: normalisation; the default is ImageNet's.
    """

    def __init__(self, grid: dict[str, Any], image_encoder: dict[str, Any], view_transformer: dict[str, Any],
                 head: dict[str, Any], temporal: dict[str, Any] | None = None,
                 bev_encoder: dict[str, Any] | None = None, level_ego: bool = False,
                 data_preprocessor: dict[str, Any] | None = None) -> None:
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

    def _next_part(self, config: dict[str, Any] | None, in_channels: int) -> nn.Module | None:
        if config is None:
            return None
        return MODELS.build(config, default_args=dict(grid=self.grid, in_channels=in_channels))

    @property
    def past(self) -> int:
        """Number of past instants that the temporal fusion wants beside the present."""
        return self.temporal.past if self.temporal is not None else 0

    # ---- calibration: no weights -------------------------------------------------------------------------------

    def view_plan(self, rig: CameraRig, global_from_ego: Tensor) -> Plan:
        """Plans the view transform of M rigs (leading axis [M]) with their poses [M 4 4]."""
        if self.level_ego:
            rig = rig.moved((rigid.inverse(rigid.level(global_from_ego)) @ global_from_ego).to(rig.ego_from_camera))
        return self.view_transformer.plan(rig)

    def temporal_plan(self, global_from_ego: Tensor) -> Plan:
        """Plans the fusion over poses [B S+1 4 4], oldest first, the present last."""
        return self.temporal.plan(global_from_ego) if self.temporal is not None else ()

    # ---- weights: no calibration -------------------------------------------------------------------------------

    def bev_of(self, images: Tensor, view_plan: Plan) -> tuple[Tensor, tuple[Tensor, ...], Tensor | None]:
        """Lifts images [M N 3 h w] to (bev [M C Y X], features, depth)."""
        features = self.image_encoder(images.flatten(0, 1))
        view = self.view_transformer(features, *view_plan)
        return view.bev, features, view.depth

    def future_of(self, bev: Tensor, past: Tensor | None, temporal_plan: Plan
                  ) -> tuple[tuple[Tensor, ...], Tensor, Tensor | None]:
        """Turns the present BEV [B C Y X] and the past [B S C Y X] into (raw outputs, fused BEV, new past)."""
        fused, new_past = self.temporal(bev, past, *temporal_plan) if self.temporal is not None else (bev, None)
        if self.bev_encoder is not None:
            fused = self.bev_encoder(fused)
        return self.head(fused), fused, new_past

    def step(self, images: Tensor, view_plan: Plan, past: Tensor | None, temporal_plan: Plan) -> StepOutput:
        """Runs one instant: images [B N 3 h w], the past BEVs [B S C Y X], the plans. This is what is exported."""
        bev, _, _ = self.bev_of(images, view_plan)
        raw, _, new_past = self.future_of(bev, past, temporal_plan)
        return StepOutput(raw, new_past)

    # ---- clips and streams -------------------------------------------------------------------------------------

    def run_clip(self, batch: BEVBatch) -> tuple[tuple[Tensor, ...], Trace]:
        """Runs a batch of clips whose images are normalised; returns raw outputs and the intermediates."""
        frames = batch.past
        if frames != self.past + 1:
            raise ValueError(f"batch: expected clips of {self.past + 1} input frames, got {frames}; "
                             f"set the data set's past={self.past + 1}")
        poses = batch.global_from_ego[:, :frames]  # [B T 4 4]
        view_plan = self.view_plan(batch.rig.flatten(), poses.flatten(0, 1))
        bev, features, depth = self.bev_of(batch.images.flatten(0, 1), view_plan)
        bev = bev.unflatten(0, (len(batch), frames))  # [B T C Y X]
        raw, fused, _ = self.future_of(bev[:, -1], bev[:, :-1], self.temporal_plan(poses))
        return raw, Trace(features, depth, bev, fused)

    def stream(self, batch: BEVBatch, state: TemporalState | None) -> tuple[tuple[Tensor, ...], TemporalState | None]:
        """Runs one instant (clips of one frame) of B streams; ``state`` None means that a scene begins.

        At the beginning of a scene the present stands in for the missing past, as if the ego had been at rest.
        """
        poses, times = batch.global_from_ego[:, :1], batch.timestamps[:, :1]
        bev, _, _ = self.bev_of(batch.images[:, 0], self.view_plan(batch.rig.flatten(), poses[:, 0]))
        if self.temporal is None:
            return self.future_of(bev, None, ())[0], None
        if state is None:
            state = TemporalState(bev.unsqueeze(1).expand(-1, self.past, -1, -1, -1),
                                  poses.expand(-1, self.past, -1, -1), times.expand(-1, self.past))
        poses = torch.cat((state.global_from_ego, poses), dim=1)  # [B S+1 4 4]
        times = torch.cat((state.timestamps, times), dim=1)
        raw, _, new_past = self.future_of(bev, state.bev, self.temporal_plan(poses))
        return raw, TemporalState(new_past, poses[:, 1:], times[:, 1:])

    def forward(self, batch: BEVBatch, mode: str = "tensor") -> Any:
        """Follows mmengine: ``loss`` gives a dict of losses, ``predict`` a list of results, ``tensor`` raw outputs."""
        raw, _ = self.run_clip(batch)
        if mode == "loss":
            if not batch.targets:
                raise ValueError("batch: expected targets for the loss, got none; give the data set a target_coder")
            return self.head.loss(raw, batch.targets)
        if mode == "predict":
            return self.head.predict(raw)
        if mode == "tensor":
            return raw
        raise ValueError(f"mode: expected loss, predict or tensor, got {mode!r}")

    @torch.no_grad()
    def predict(self, batch: BEVBatch) -> list[Any]:
        """Preprocesses a batch as loaded and returns one result a clip."""
        return self(**self.data_preprocessor({"batch": batch}), mode="predict")
