"""The sparse road: images -> features -> queries that look into them -> boxes. There is no map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bevkit.geometry import rigid
from bevkit.models.architectures.base import Architecture, Plan, StepOutput, as_history, single
from bevkit.models.layers.sparse_decoder import SparseViews, StreamedMaps
from bevkit.ops.deformable_attention import Shapes
from bevkit.ops.multi_view_sampling import stack_maps, stack_views, unstacked
from bevkit.registry import MODELS
from bevkit.structures import BEVBatch, BEVGrid, CameraRig, EgoMotion, TemporalState


class ViewPlan(NamedTuple):
    """projection [M N 3 4] takes metres in the ego frame to (u d, v d, d), fractions of an image and depth; float32."""

    projection: Tensor


class PastPlan(NamedTuple):
    """Of S past instants, newest first; float32.

    known: [B], 0 where a scene begins.
    projection: [B S N 3 4] as `ViewPlan`'s, from the present ego frame.
    ages: [B S] seconds.
    """

    known: Tensor
    projection: Tensor
    ages: Tensor


@MODELS.register_module()
class SparseDetector(Architecture):
    """Any image encoder with a head of queries that look into the images of T frames (SparseBEV, ICCV 2023).

    Features of past frames are kept as they were made: a stream makes those of each frame once.

    Args:
        image_encoder, head: configs of the parts (MODELS registry).
        frames_in_graph: how many frames of a training clip, the present and those before it, get gradients into the
            image encoder; None: all.
        ahead: how many of the head's frames lie after the present, for labelling recordings; such a model takes clips
            and has neither streams nor exports.
        data_preprocessor: normalisation; the default is ImageNet's.
    """

    memory = 0
    newest_first = True

    def __init__(self, image_encoder: dict[str, Any], head: dict[str, Any], frames_in_graph: int | None = None,
                 ahead: int = 0, data_preprocessor: dict[str, Any] | None = None) -> None:
        super().__init__(data_preprocessor)
        self.image_encoder = MODELS.build(image_encoder)
        if len(set(self.image_encoder.channels)) != 1:
            raise ValueError(f"image_encoder: expected levels of equal channels, got {self.image_encoder.channels}; "
                             "use a neck such as FPN")
        if frames_in_graph is not None and frames_in_graph < 1:
            raise ValueError(f"frames_in_graph: expected 1 or more, or None for all, got {frames_in_graph}")
        self.head = MODELS.build(head, default_args=dict(in_channels=self.image_encoder.channels[0],
                                                         levels=len(self.image_encoder.channels)))
        if not 0 <= ahead < self.head.frames:
            raise ValueError(f"ahead: expected 0 to {self.head.frames - 1} of the head's {self.head.frames} frames, of "
                             f"which one is the present, got {ahead}")
        self.frames_in_graph, self.ahead = frames_in_graph, ahead

    @property
    def grid(self) -> BEVGrid:
        """The ground on which its boxes stand, in cells of a 128th: what pictures show. The model has no map."""
        (x_low, x_high), (y_low, y_high), z = self.head.bounds.tolist()
        return BEVGrid(x=(x_low, x_high, (x_high - x_low) / 128), y=(y_low, y_high, (y_high - y_low) / 128),
                       z=(*z, z[1] - z[0]))

    @property
    def past(self) -> int:
        """S, number of past frames whose features an instant reads."""
        return self.head.frames - 1 - self.ahead

    @property
    def instants(self) -> int:
        return self.past

    def exportable(self) -> SparseDetector:
        self._expect_no_future()
        return super().exportable()

    def exported_past(self, past: Tensor) -> Tensor:
        return past.permute(0, 1, 3, 4, 2)  # [B S cells G C/G] -> [B S G C/G cells], as standard operators want it

    def given(self, seen: SparseViews, inputs: dict[str, Tensor], outputs: dict[str, Tensor]) -> SparseViews:
        """Lets the queries look at the features of an exported graph.

        Queries decide by what they have read where they look next, and in which camera: rounding alone makes single
        ones leap (of V2-99's 1,600 33 where features differ by 1e-5, none at 1e-7). On the same features none does.
        """
        if not self.past:
            return seen
        present, before = (unstacked(values.flatten(0, 2), seen.shapes)  # [B*S*G C/G cells]
                           for values in (outputs["new_past"], inputs["past"]))
        return seen._replace(values=StreamedMaps(present, before, inputs["temporal_known"]))

    # ---- calibration: no weights -------------------------------------------------------------------------------

    @staticmethod
    def projection_of(rig: CameraRig) -> Tensor:
        """Returns how the images [* N] of rigs see their ego frames: [* N 3 4] float64, as in `ViewPlan`."""
        height, width = rig.image_size
        scale = torch.diag(torch.tensor([1 / width, 1 / height, 1.0], dtype=torch.float64))
        pixels = scale.to(rig.image_from_camera.device) @ rig.image_from_camera.double()
        return pixels @ rigid.inverse(rig.ego_from_camera.double())[..., :3, :]

    def view_plan(self, rig: CameraRig, global_from_ego: Tensor) -> ViewPlan:
        plan: ViewPlan = single(ViewPlan(self.projection_of(rig)))
        return plan

    def temporal_plan(self, motion: EgoMotion) -> Plan:
        """Plans how the present ego frame is seen by the images of R past instants (`PastPlan`); empty without any."""
        if not self.past:
            return ()
        if motion.projection is None:
            raise ValueError("motion: expected the projections of past images, which are read anew, got none")
        order = range(self.past - 1, -1, -1)
        return single(PastPlan((~motion.fresh).float(), *self._seen_from(self.past, order, motion.global_from_ego,
                                                                         motion.timestamps, motion.projection)))

    @staticmethod
    def _seen_from(present: int, others: Sequence[int], poses: Tensor, seconds: Tensor, projection: Tensor
                   ) -> tuple[Tensor, Tensor]:
        """Returns how images of other instants see the present ego frame [B S N 3 4], and their ages [B S]; float64.

        Args: poses [B T 4 4], seconds [B T] and projection [B T N 3 4] of all instants.
        """
        order = list(others)
        moved = rigid.inverse(poses[:, order]) @ poses[:, present: present + 1]
        return projection[:, order] @ moved.unsqueeze(2), seconds[:, present: present + 1] - seconds[:, order]

    # ---- weights: no calibration -------------------------------------------------------------------------------

    def levels_of(self, images: Tensor) -> list[Tensor]:
        """Turns images [M N 3 h w] into features [M N C H W] of L scales."""
        return [level.unflatten(0, images.shape[:2]) for level in self.image_encoder(images.flatten(0, 1))]

    def features_of(self, images: Tensor) -> tuple[Tensor, Shapes]:
        """Turns images [M N 3 h w] into stacked features [M cells G C/G] and their shapes."""
        return stack_views(self.levels_of(images), self.head.groups)

    @staticmethod
    def frames_of(view_plan: Plan, temporal_plan: Plan) -> tuple[Tensor, Tensor]:
        """Joins the plans: projection [B T N 3 4] and ages [B T], the present first."""
        projection, = view_plan
        projection, ages = projection.unsqueeze(1), projection.new_zeros(len(projection), 1)
        if temporal_plan:
            _, before, seconds = temporal_plan
            projection, ages = torch.cat((projection, before), dim=1), torch.cat((ages, seconds), dim=1)
        return projection, ages

    def step(self, images: Tensor, view_plan: Plan, past: Tensor, memory: Tensor, temporal_plan: Plan) -> StepOutput:
        """Runs one instant by standard operators: past features [B S G C/G cells], newest first, are read in place."""
        levels = self.levels_of(images)
        present, shapes = stack_maps(levels, self.head.groups)  # [B G C/G cells]
        known = temporal_plan[0] if temporal_plan else present.new_ones(len(present))
        before = unstacked(past.flatten(0, 2), shapes) if self.past else []
        maps = StreamedMaps(unstacked(present.flatten(0, 1), shapes), before, known)
        raw = self.head(SparseViews(maps, shapes, *self.frames_of(view_plan, temporal_plan)))
        return StepOutput(raw, present.unsqueeze(1), memory)

    # ---- clips and streams -------------------------------------------------------------------------------------

    def look(self, batch: BEVBatch) -> SparseViews:
        """Looks at whole clips; the decoder is given the present, the past newest first, the future nearest first."""
        if (batch.past, batch.ahead) != (1 + self.past, self.ahead):
            raise ValueError(f"batch: expected clips of {1 + self.past} input frames and {self.ahead} ahead, got "
                             f"{batch.past} and {batch.ahead}; set the data set's past={1 + self.past} and "
                             f"ahead={self.ahead}")
        present, instants = self.past, batch.past + batch.ahead
        order = [*range(present, -1, -1), *range(present + 1, instants)]
        learning = min(self.frames_in_graph or instants, instants)
        parts = []
        for indices, history in ((order[learning:], True), (order[:learning], False)):
            if not indices:
                continue
            with as_history([self.image_encoder], history):
                values, shapes = self.features_of(batch.images[:, indices].flatten(0, 1))
            parts.insert(0, values.unflatten(0, (len(batch), len(indices))))
        projection, ages = self._seen_from(present, order, batch.global_from_ego, batch.timestamps,
                                           self.projection_of(batch.rig))
        return SparseViews(torch.cat(parts, dim=1).flatten(0, 1), shapes, projection.float(), ages.float())

    def look_on(self, batch: BEVBatch, state: TemporalState | None, fresh: Tensor | None
                ) -> tuple[SparseViews, TemporalState]:
        self._expect_no_future()
        present, shapes = self.features_of(batch.images[:, 0])
        if fresh is None or state is None:
            fresh = torch.full((len(batch),), state is None, device=present.device)
        state = state or self._empty(batch, present)
        motion = self.motion_of(batch, state, fresh)
        plan, view_plan = self.temporal_plan(motion), self.view_plan(batch.rig[:, 0], batch.global_from_ego[:, 0])
        past = state.bev
        if fresh.any():  # the present stands in for the past; not asked for nothing: gigabytes would be copied
            past = torch.where(fresh.view(-1, 1, 1, 1, 1), present.unsqueeze(1), past)
        values = torch.cat((present.unsqueeze(1), past), dim=1)  # [B T cells G C/G]
        views = SparseViews(values.flatten(0, 1), shapes, *self.frames_of(view_plan, plan))
        assert motion.projection is not None
        return views, TemporalState(values[:, :self.past], state.memory, motion.global_from_ego[:, 1:],
                                    motion.timestamps[:, 1:], motion.projection[:, 1:])

    def _expect_no_future(self) -> None:
        if self.ahead:
            raise ValueError(f"model: expected no frames ahead in a stream or an export, got ahead={self.ahead}; a "
                             "vehicle does not see the future: use clips")

    def motion_of(self, batch: BEVBatch, state: TemporalState, fresh: Tensor) -> EgoMotion:
        return state.motion(batch.global_from_ego[:, 0], batch.timestamps[:, 0], fresh,
                            self.projection_of(batch.rig[:, 0]))

    def raw_of(self, seen: SparseViews) -> tuple[Tensor, ...]:
        raw: tuple[Tensor, ...] = self.head(seen)
        return raw

    def losses_of(self, seen: SparseViews, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = self.head.learn(seen, targets)
        return losses

    def empty_state(self, batch: BEVBatch) -> TemporalState:
        with torch.no_grad():
            return self._empty(batch, self.features_of(batch.images[:, 0])[0])

    def _empty(self, batch: BEVBatch, present: Tensor) -> TemporalState:
        """Returns a past of zeros in the shape of the present's features [B cells G C/G]."""
        poses, times = batch.global_from_ego[:, :1], batch.timestamps[:, :1]
        return TemporalState(present.new_zeros(len(batch), self.past, *present.shape[1:]),
                             present.new_zeros(len(batch), 0, *present.shape[-2:]), poses.expand(-1, self.past, -1, -1),
                             times.expand(-1, self.past),
                             self.projection_of(batch.rig)[:, :1].expand(-1, self.past, -1, -1, -1))
